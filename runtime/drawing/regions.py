"""From a map to regions: the box and mask that a weakly supervised localiser answers with.

Class activation maps are turned into boxes by a threshold and the largest connected part that lies above it (Zhou et
al., 2016; Choe et al., 2020, whose MaxBoxAcc sweeps the threshold).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.runtime.frames.opencv import cv2

RegionRule = Literal["otsu"] | float
"""Which part of a map counts: Otsu's threshold, or all that reaches this share of the map's maximum (0.15 or 0.2 in the
literature)."""

FLAT = 1e-6
"""A map whose values differ by less than this share of its maximum has no region: it is constant, but for rounding."""

TOLERANCE = 1.0
"""How far an outline may lie from the mask's edge, px; a polygon of every px of the edge is some ten times as long."""


@dataclass(frozen=True, eq=False)
class Region:
    """Describes a connected part of a map that lies above the threshold.

    Example:
        >>> from aerocam.runtime import Explainer, read_picture
        >>> with Explainer("model.cam.onnx") as explainer:
        ...     explanation = explainer(read_picture("photo.png"))
        >>> (region,) = explanation.regions("otsu")[0]  # the largest one of the first target
        >>> region.box, region.mask.shape
        ((47, 15, 65, 33), (64, 96))

    Attributes:
        box: (x0, y0, x1, y1) in whole px, edges: x1 and y1 are one past the last px, x1 - x0 is the width.
        area: Number of px.
        mean: Of the map's values inside, 0 to 1.
        peak: The largest of them.
        inside: bool (y1 - y0, x1 - x0): which px of the box belong to it.
        frame_size: (H, W) of the map in px.
    """

    box: tuple[int, int, int, int]
    area: int
    mean: float
    peak: float
    inside: NDArray[np.bool_]
    frame_size: tuple[int, int]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return which px of the whole map belong to it, bool (H, W); a new array."""
        whole = np.zeros(self.frame_size, np.bool_)
        x0, y0, x1, y1 = self.box
        whole[y0:y1, x0:x1] = self.inside
        return whole

    @functools.cached_property
    def contours(self) -> list[NDArray[np.int32]]:
        """Return the outline and those of holes, int32 (n, 1, 2) each: x, y of px on the edge, as OpenCV draws them."""
        outlines, _ = cv2.findContours(
            self.inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=self.box[:2]
        )
        return list(outlines)

    def record(self) -> dict[str, Any]:
        """Return the region ready for JSON.

        `polygons` are outline and holes as lists of [x, y], to 1 px; filled by the even-odd rule they are the mask.
        """
        outlines = [cv2.approxPolyDP(contour, TOLERANCE, True)[:, 0].tolist() for contour in self.contours]
        shown = {"box": list(self.box), "area": self.area, "mean": round(self.mean, 4), "peak": round(self.peak, 4)}
        return {**shown, "polygons": outlines}


def find_regions(
    map_: NDArray[np.float32],
    rule: RegionRule = "otsu",
    *,
    largest: bool = True,
    within: tuple[int, int, int, int] | None = None,
) -> list[Region]:
    """Find the connected parts of a map above a threshold; px that touch at a corner are connected.

    Args:
        map_: float32 (H, W) in [0, 1], such as `explanation.map[0]`.
        rule: `otsu`, on 256 levels from the map's minimum to its maximum; the upper class is what counts. Or a share of
            the map's maximum, above 0 and up to 1; what equals the threshold counts.
        largest: Only the part with the most px.
        within: (top, left, bottom, right) in px, the part of the map that counts, such as `placement.region`: what the
            model does not see must not move Otsu's threshold. None: all of it.

    Returns:
        By area, the largest first; among equal ones that with the higher peak, then that which begins further up, then
        further left. Empty for a map that is constant or nowhere above 0.

    Raises:
        UsageError: The map or the rule is none of these.
    """
    check_rule(rule)
    if map_.ndim != 2 or not np.issubdtype(map_.dtype, np.floating) or not map_.size:
        raise UsageError(f"map: found {map_.dtype} {map_.shape}, expected one map, float32 (H, W); give map[0]")
    top, left, bottom, right = within or (0, 0, *map_.shape)
    seen = np.ascontiguousarray(map_[top:bottom, left:right], np.float32)
    low, high = float(seen.min()), float(seen.max())
    if not np.isfinite([low, high]).all():
        raise UsageError("map: found NaN or infinite values, expected 0 to 1; give the normalised map")
    if high <= 0 or high - low <= FLAT * high:
        return []
    above = _above_otsu(seen, low, high) if rule == "otsu" else (seen >= np.float32(rule * high)).astype(np.uint8)
    regions = _parts(above, seen, (top, left), (map_.shape[0], map_.shape[1]), largest)
    return sorted(regions, key=_order)[: 1 if largest else None]


def check_rule(rule: RegionRule) -> None:
    """Make sure that there is such a rule.

    Raises:
        UsageError: The rule is neither `otsu` nor a share.
    """
    if rule != "otsu" and not (isinstance(rule, (int, float)) and 0 < rule <= 1):
        raise UsageError(f"`regions={rule!r}`: expected otsu or a share of the map's maximum such as 0.2")


def _above_otsu(seen: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return 1 where the map is in the upper class, uint8 (H, W)."""
    levels = cv2.convertScaleAbs(seen - np.float32(low), alpha=255 / (high - low))
    above: NDArray[np.uint8] = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    return above


def _parts(
    above: NDArray[np.uint8],
    seen: NDArray[np.float32],
    corner: tuple[int, int],
    frame_size: tuple[int, int],
    largest: bool,
) -> list[Region]:
    """Return the connected parts where `above` is 1, or the largest; `corner` is (top, left) of `seen`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    parts = []
    for number in range(1, count):  # 0 is what lies below
        if largest and areas[number] < areas[1:].max():
            continue
        x, y, width, height = (int(value) for value in stats[number, : cv2.CC_STAT_AREA])
        part = slice(y, y + height), slice(x, x + width)
        inside = labels[part] == number
        values = seen[part][inside]
        x0, y0 = x + corner[1], y + corner[0]
        box = (x0, y0, x0 + width, y0 + height)
        mean = float(values.mean(dtype=np.float64))
        parts.append(Region(box, int(areas[number]), mean, float(values.max()), inside, frame_size))
    return parts


def _order(region: Region) -> tuple[int, float, int, int]:
    """Return what regions are sorted by."""
    return -region.area, -region.peak, region.box[1], region.box[0] + int(region.inside[0].argmax())
