"""Whether the map lies where the target is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Case, Floats, Truth
from aerocam.benchmarks.evaluation.metrics.masking import check, check_count, constant, finite, numbers
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric
from aerocam.errors import UsageError
from aerocam.geometry import Box
from aerocam.runtime.drawing.regions import RegionRule, find_regions
from aerocam.runtime.frames.opencv import cv2

NAN = float("nan")
NO_TRUTH = "NaN where the map is not finite or no px of the picture is the target's"


@metric(
    "pointing_game",
    group="localisation",
    direction="higher",
    definition="1 where one of the px that have the map's maximum lies in a true box, or within `tolerance` px of one"
    f" (between px centres), else 0; a constant map points nowhere: 0; {NO_TRUTH}; mean over pictures.",
    source="Zhang et al., Top-down Neural Attention by Excitation Backprop, 2016, which allows 15 px; the default"
    " equals Quantus' PointingGame on the boxes' px, but for constant maps, which hit there",
    needs=("box",),
)
def pointing_game(case: Case, tolerance: float = 0.0) -> Value:
    """Return 1 if the map's maximum lies in a true box, else 0; `METRICS` has the definition."""
    from scipy import ndimage

    there = _boxed(case)
    if there is None:
        return NAN
    near = ndimage.distance_transform_edt(~there) <= tolerance if tolerance > 0 else there
    return float(not constant(case.map) and bool((near & (case.map == case.map.max())).any()))


@metric(
    "energy_pointing_game",
    group="localisation",
    direction="higher",
    definition=f"The sum of the map inside the true boxes divided by its sum; NaN where that is 0; {NO_TRUTH}; mean"
    " over pictures.",
    source="Wang et al., Score-CAM, 2020; equals Quantus' RelevanceMassAccuracy on the boxes' px",
    needs=("box",),
)
def energy_pointing_game(case: Case) -> Value:
    """Return the share of the map's mass inside the true boxes; `METRICS` has the definition."""
    return _mass(case.map, _boxed(case))


@metric(
    "relevance_mass",
    group="localisation",
    direction="higher",
    definition=f"The sum of the map on the true mask divided by its sum; NaN where that is 0; {NO_TRUTH}; mean over"
    " pictures.",
    source="Arras et al., CLEVR-XAI, 2022; equals Quantus' RelevanceMassAccuracy",
    needs=("mask",),
)
def relevance_mass(case: Case) -> Value:
    """Return the share of the map's mass on the true mask; `METRICS` has the definition."""
    return _mass(case.map, _masked(case))


@metric(
    "relevance_rank",
    group="localisation",
    direction="higher",
    definition="Of the K px with the map's largest values, K the number of px of the true mask, the share that lies on"
    " it; of px that equal the K-th value as many count as there is room for, in the share that lies on the mask (so"
    f" that a constant map has the mask's share of the picture); {NO_TRUTH}; mean over pictures.",
    source="Arras et al., CLEVR-XAI, 2022; equals Quantus' RelevanceRankAccuracy on maps without equal values",
    needs=("mask",),
)
def relevance_rank(case: Case) -> Value:
    """Return the share of the map's largest values that lies on the true mask; `METRICS` has the definition."""
    there = _masked(case)
    if there is None:
        return NAN
    count = int(there.sum())
    least = np.partition(case.map, -count, axis=None)[-count]
    above, equal = case.map > least, case.map == least
    room = count - int(above.sum())
    return float((there[above].sum() + room * there[equal].mean()) / count)


@metric(
    "iou",
    group="localisation",
    direction="higher",
    definition="Intersection over union of the true mask and the map's region: all px of the upper class of Otsu's"
    " threshold (256 levels), or that reach a share of the map's maximum, or only their largest connected part; a"
    f" constant map has no region: 0; {NO_TRUTH}; mean over pictures.",
    source="The regions are those of aerocam.runtime's find_regions; medcam binarises by Otsu likewise",
    needs=("mask",),
)
def iou(case: Case, threshold: RegionRule = "otsu", parts: str = "all") -> Value:
    """Return the intersection over union of the map's region and the true mask; `METRICS` has the definition."""
    check("parts", parts, ("largest", "all"))
    there = _masked(case)
    if there is None:
        return NAN
    covered = np.zeros(there.shape, np.bool_)
    for region in find_regions(case.map, threshold, largest=parts == "largest"):
        covered |= region.mask
    return float((covered & there).sum() / (covered | there).sum())


@metric(
    "box_iou",
    group="localisation",
    direction="higher",
    definition="The best intersection over union of a true box and the box around the largest connected part of the map"
    f" that reaches a share of its maximum, or is above Otsu's threshold; a constant map has no box: 0; {NO_TRUTH};"
    " mean over pictures.",
    source="Zhou et al., Learning Deep Features for Discriminative Localization, 2016, with its share of 0.2",
    needs=("box",),
)
def box_iou(case: Case, threshold: RegionRule = 0.2) -> Value:
    """Return the best intersection over union of the map's box and a true box; `METRICS` has the definition."""
    if _boxed(case) is None:
        return NAN
    boxes = np.array([region.box for region in find_regions(case.map, threshold)], float).reshape(-1, 4)
    return best_iou(boxes, case.truth.boxes)


def best_threshold(values: Sequence[Any]) -> float:
    """Return MaxBoxAcc of a set: per delta the best share of pictures that reach it at one threshold, averaged."""
    rows = [value for value in values if isinstance(value, dict)]
    if not rows:
        return NAN
    overlaps = np.array([row["iou"] for row in rows])
    return float(np.mean([(overlaps >= delta).mean(axis=0).max() for delta in rows[0]["deltas"]]))


@metric(
    "max_box_acc_v2",
    group="localisation",
    direction="higher",
    definition="The mean over deltas of the largest share, over thresholds t = 0, 1/steps, ... of the map's maximum, of"
    " pictures whose best intersection over union of a box and a true box is at least delta; boxes are around each"
    " connected part (8 neighbours) of the px >= t, or only around the largest; at t = 0 and for a map of zeros the box"
    " is the picture; pictures whose map is not finite or whose boxes lie outside have no value.",
    source="Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, 2020, extended in 2021",
    needs=("box",),
    gather=best_threshold,
    variant="V2: all parts, three deltas; parts='largest', deltas=(0.5,): MaxBoxAcc of 2020",
)
def max_box_acc_v2(
    case: Case, deltas: Sequence[float] = (0.3, 0.5, 0.7), steps: int = 100, parts: str = "all"
) -> Value:
    """Return the best overlap at each threshold, and MaxBoxAcc of this picture alone; `METRICS` has the definition."""
    check("parts", parts, ("largest", "all"))
    check_count("steps", steps)
    deltas = numbers("deltas", deltas, 0, 1)
    if _boxed(case) is None:
        return NAN
    peak, shares = float(case.map.max()), [step / steps for step in range(steps)]
    boxes = [
        parts_above(case.map, share * peak, parts == "largest") if share * peak > 0 else whole_picture(case.map)
        for share in shares
    ]
    row = {"threshold": shares, "iou": [best_iou(one, case.truth.boxes) for one in boxes], "deltas": list(deltas)}
    return {"value": best_threshold([row]), **row}


def _boxed(case: Case) -> NDArray[np.bool_] | None:
    """Return the px inside the true boxes, bool (H, W); None if there are none, or the map is not finite."""
    return _there(case.map, inside(case.truth.boxes, (case.map.shape[0], case.map.shape[1])))


def _masked(case: Case) -> NDArray[np.bool_] | None:
    """Return the true mask, bool (H, W); None if it is absent or empty, or the map is not finite."""
    truth: Truth = case.truth
    if truth.mask is not None and truth.mask.shape != case.map.shape:
        raise UsageError(f"mask: found {truth.mask.shape}, expected {case.map.shape}, the model's input")
    return None if truth.mask is None else _there(case.map, truth.mask)


def _there(map_: Floats, there: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the target's px; None if there are none, or the map is not finite."""
    return there if there.any() and finite(map_) else None


def _mass(map_: Floats, there: NDArray[np.bool_] | None) -> float:
    """Return the share of a map's sum that lies on some px; NaN without px, or if the sum is 0."""
    whole = float(map_.sum(dtype=np.float64)) if there is not None else 0.0
    return float(map_[there].sum(dtype=np.float64)) / whole if whole > 0 else NAN


Boxes = NDArray[np.float64]


def inside(boxes: Sequence[Box], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the px whose centres lie in one of the boxes, bool (H, W)."""
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5
    held = np.zeros(size, np.bool_)
    for x0, y0, x1, y1 in boxes:
        held |= (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
    return held


def whole_picture(map_: Floats) -> Boxes:
    """Return the box around all of a map (H, W): (1, 4)."""
    return np.array([[0, 0, map_.shape[1], map_.shape[0]]], float)


def parts_above(map_: Floats, threshold: float, largest: bool) -> Boxes:
    """Return the boxes around the connected parts of a map (H, W) that reach a threshold, or the largest's: (n, 4)."""
    above = (map_ >= np.float32(threshold)).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(above, connectivity=8)[2][1:]  # the first is what lies below
    if largest and len(stats):
        stats = stats[[stats[:, cv2.CC_STAT_AREA].argmax()]]
    corner, extent = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    return np.hstack([corner, corner + extent]).astype(float)


def best_iou(candidates: Boxes, true: Sequence[Box]) -> float:
    """Return the largest intersection over union of a map's box (n, 4) and a true one; 0 without any."""
    if not len(candidates) or not len(true):
        return 0.0
    a, b = candidates[:, None], np.asarray(true, float)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (a, b)]
    return float((shared / (areas[0] + areas[1] - shared)).max())
