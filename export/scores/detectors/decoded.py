"""Layouts that leave the decoding of boxes to the host, in a way that is the same for every model of their kind.

Each function finds its layout among a model's outputs, appends what decodes it, and returns the site of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detectors import scales
from aerocam.export.scores.detectors.columns import BOX, Table, image_size, score_site
from aerocam.export.scores.detectors.scales import FEWEST, Groups, Prediction
from aerocam.export.scores.registry import Hints, ScoreSite

BINS = (8, 11, 16, 17)
"""Bins per side that boxes are distributions over: PicoDet, NanoDet, YOLOv8 and later, GFL."""

SIZES, OFFSETS = ("wh", "size", "side", "dim"), ("off", "reg")
"""Parts of the names that CenterNet's outputs have."""

FACES = (((8, 2), (16, 6)), ((16, 2), (32, 6)), ((8, 2), (16, 2), (32, 6)), ((4, 1),))
"""Stride and anchors per cell, scale by scale, of MediaPipe's detectors: short range and palms, back camera, pose, full
range."""

FEWEST_KEYPOINTS = 4


def find_distributions(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of NanoDet, PicoDet, and of YOLOv8's heads: scores and a distribution over bins per side.

    Class scores and sides are outputs of their own at each stride, or columns of one table, as NanoDet exports them.
    A side is the mean of its distribution in cells, from the middle of the cell; NanoDet-Plus, of four scales in one
    table, counts from the cell's corner.
    """
    kinds = {columns: kind for columns, kind in scales.groups(model).items() if columns > 1}
    op = Builder(model.graph, "table")
    if len(kinds) == 2 and len(next(iter(kinds.values()))) >= FEWEST:
        sides = _sides(kinds)
        if sides is None:
            return None
        (classes,) = (kind for columns, kind in kinds.items() if columns != sides)
        shares, spread = (scales.joined(op, [scale.rows(op) for scale in kind]) for kind in (classes, kinds[sides]))
        grids, offset = scales.grids_of(classes), 0.5
    else:
        table = _in_one_table(model)
        if table is None:
            return None
        output, count, grids = table
        columns = static_shape(output)[2]
        shares, spread = op.slice_axis(output, 2, 0, count), op.slice_axis(output, 2, count, columns)
        offset = 0.0 if len(grids) == 4 else 0.5
    middles, steps = scales.cells_of(grids, [1] * len(grids), offset)
    bins = static_shape(spread)[2] // BOX
    mass = op.Softmax(op.reshape(spread, 1, len(middles[0]), BOX, bins), axis=-1)
    means = op.MatMul(mass, op.constant(np.arange(bins, dtype=np.float32)[:, None]))
    lengths = op.Mul(op.reshape(means, 1, len(middles[0]), BOX), op.constant(steps))
    corners = [op.Sub(op.constant(middles), op.slice_axis(lengths, 2, 0, 2))]
    corners.append(op.Add(op.constant(middles), op.slice_axis(lengths, 2, 2, 4)))
    strides = ", ".join(str(stride) for _, stride in grids)
    evidence = f"class scores, and distributions over {bins} bins for each side of a box, at strides {strides}"
    return _site(op, "nanodet", shares, op.Concat(*corners, axis=2), manifest.Boxes("", 2, form="xyxy"), evidence)


def _sides(kinds: Groups) -> int | None:
    """Return which of two numbers of columns are distributions: the one that no sigmoid has made."""
    fitting = [columns for columns in kinds if columns % BOX == 0 and columns // BOX in BINS]
    if len(fitting) == 2:
        fitting = [columns for columns in fitting if not all(_is_activated(scale) for scale in kinds[columns])]
    return fitting[0] if len(fitting) == 1 else None


def _is_activated(scale: Prediction) -> bool:
    return Table(scale.value, scale.axis).is_activated(0, scale.columns)


def _in_one_table(model: ir.Model) -> tuple[ir.Value, int, list[tuple[tuple[int, int], int]]] | None:
    """Return a table (1, cells of all scales, classes + 4 * bins) of sigmoids and distributions, classes and grids."""
    size = image_size(model)
    for output in model.graph.outputs if 0 not in size else ():
        if not (is_static(output) and is_float(output)) or len(static_shape(output)) != 3:
            continue
        table = Table(output, 2)
        for strides in ((8, 16, 32), (8, 16, 32, 64)):
            grids = [(scales.grid_at(size, stride), stride) for stride in strides]
            if sum(rows * cells for (rows, cells), _ in grids) != table.anchors:
                continue
            for count in (table.columns - BOX * bins for bins in BINS):
                if count > 0 and table.is_activated(0, count) and table.is_linear(count, table.columns):
                    return output, count, grids
    return None


def find_centres(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return CenterNet's site: a map of every class's centres, sizes in cells, and offsets of centres from cells.

    A cell counts where its class has the largest score of its eight neighbours, so that nothing is left to suppress.
    """
    found = [scale for scale in scales.predictions(model) if len(static_shape(scale.value)) == 4]
    if len(found) != 3 or len({scale.stride for scale in found}) != 1:
        return None
    heat, pairs = _heat(found)
    if heat is None or [pair.columns for pair in pairs] != [2, 2]:
        return None
    sizes, offsets = _sizes_first(pairs, hints)
    op, (rows, cells), columns = Builder(model.graph, "table"), heat.grid, heat.columns
    logits = heat.value
    if _is_activated(heat) and (node := heat.value.producer()) is not None and node.op_type == "Sigmoid":
        logits = node.inputs[0]  # type: ignore[assignment]
    first = heat.axis == 1
    planes = heat.value if first else op.Transpose(heat.value, perm=[0, 3, 1, 2])
    peaks = op.MaxPool(planes, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    lowest = 0.0 if logits is not heat.value else -100.0
    kept = op.Where(op.Equal(planes, peaks), planes, op.floats_like(planes, lowest))
    scores = op.single(op.reshape(kept, 1, columns, rows * cells))
    middles, steps = scales.cells_of([(heat.grid, heat.stride)], [1], 0.0)
    moved = op.Add(op.Mul(op.single(offsets.rows(op)), op.constant(steps)), op.constant(middles))
    boxes = op.Concat(moved, op.Mul(op.single(sizes.rows(op)), op.constant(steps)), axis=2)
    evidence = f"a map of centres per class, sizes ({sizes.value.name!r}) and offsets ({offsets.value.name!r})"
    site = _site(op, "centernet", scores, boxes, manifest.Boxes("", 2, suppressed=True), evidence, axis=1)
    if logits is heat.value:
        return site
    planes = logits if first else op.Transpose(logits, perm=[0, 3, 1, 2])
    score = replace(site.score, activation="sigmoid")
    return replace(
        site, logits=op.reshape(planes, 1, columns, rows * cells), axis=1, start=0, is_share=False, score=score
    )


def _heat(found: Sequence[Prediction]) -> tuple[Prediction | None, list[Prediction]]:
    """Return the map of centres, the one with sigmoids or else of that name, and the others."""
    for is_heat in (_is_activated, lambda scale: str(scale.value.name).lower().startswith(("hm", "heat"))):
        maps = [scale for scale in found if is_heat(scale)]
        if len(maps) == 1:
            return maps[0], [scale for scale in found if scale is not maps[0]]
    return None, list(found)


def _sizes_first(pairs: Sequence[Prediction], hints: Hints) -> Sequence[Prediction]:
    """Return sizes and offsets, by their names, or else by their numbers: offsets are parts of a cell."""

    def size_in_name(pair: Prediction) -> int:
        name = str(pair.value.name).lower()
        return any(part in name for part in SIZES) - any(part in name for part in OFFSETS)

    def magnitude(pair: Prediction) -> float:
        return float(np.mean([np.abs(array).mean() for array in hints.values(pair.value) or [np.zeros(1)]]))

    first, second = pairs
    if size_in_name(first) != size_in_name(second):
        return sorted(pairs, key=size_in_name, reverse=True)
    return (first, second) if magnitude(first) >= magnitude(second) else (second, first)


def find_faces(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of MediaPipe's detectors (BlazeFace, palms, pose): one class, boxes and keypoints per anchor.

    Anchors are the middles of cells, without a size: centres count from them in px, sizes are in px. Scores are logits.
    """
    size = image_size(model)
    outputs = [value for value in model.graph.outputs if is_static(value) and len(static_shape(value)) == 3]
    ones = [value for value in outputs if static_shape(value)[2] == 1]
    rows = [value for value in outputs if static_shape(value)[2] >= BOX + 2 * FEWEST_KEYPOINTS]
    if not ones or 0 in size or len({static_shape(value)[2] for value in rows}) != 1:
        return None
    for plan in FACES:
        grids = [(scales.grid_at(size, stride), stride) for stride, _ in plan]
        counts = [rows_ * cells * count for ((rows_, cells), _), (_, count) in zip(grids, plan, strict=True)]
        for sizes in (counts, [sum(counts)]):
            shares, boxes = (_of_sizes(values, sizes) for values in (ones, rows))
            if shares is None or boxes is None or len(outputs) != 2 * len(sizes):
                continue
            op = Builder(model.graph, "table")
            middles, _ = scales.cells_of(grids, [count for _, count in plan])
            numbers = op.slice_axis(scales.joined(op, boxes), 2, 0, BOX)
            base = np.concatenate([middles, np.zeros_like(middles)], axis=2)
            strides = ", ".join(str(stride) for stride, _ in plan)
            evidence = f"one class, boxes and keypoints at the anchors of MediaPipe's detectors at strides {strides}"
            decoded = op.Add(numbers, op.constant(base))
            return _site(op, "blazeface", scales.joined(op, shares), decoded, manifest.Boxes("", 2), evidence)
    return None


def _of_sizes(values: Sequence[ir.Value], sizes: Sequence[int]) -> list[ir.Value] | None:
    """Return the values in the order of their numbers of anchors, None where these are others."""
    by_size = {static_shape(value)[1]: value for value in values}
    return [by_size[size] for size in sizes] if by_size.keys() == set(sizes) and len(values) == len(sizes) else None


def _site(
    op: Builder,
    layout: str,
    scores: ir.Value,
    boxes: ir.Value,
    place: manifest.Boxes,
    evidence: str,
    axis: int = 2,
) -> ScoreSite:
    """Return the site of appended scores, with the classes on `axis`, and boxes (1, anchors, 4)."""
    table = Table(scales.named(op.Identity(scores), scales.SCORES), axis)
    coordinates = Table(scales.named(op.Identity(boxes), scales.BOXES), 2)
    score = manifest.Score(scales.SCORES, "none", table.columns, 0, table.anchors, axis)
    site = score_site(table, score, coordinates, replace(place, output=scales.BOXES))
    return replace(site, output=table.value, layout=layout, evidence=evidence)
