"""The maps laid over the frame, in the graph: resized in whole levels, coloured with jet, blended half and half."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.ends.interpolation import resize
from aerocam.export.ends.resampling import LEVELS, resample
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.geometry import Geometry

ALPHA = 0.5
"""Weight of the colour."""

Line = tuple[float, float]
"""A straight line by its slope and its value at level 0."""

JET: tuple[tuple[Line, ...], ...] = (
    ((4, 128), (-4, 638), (-5, 796)),
    ((4, -128), (-4, 892)),
    ((4, -382), (-4, 1148)),
)
"""OpenCV's colour map jet: blue, green and red are each the least of these lines, cut off at 0 and 255."""


def jet(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of levels from 0 to 255, whole numbers: (...) -> (..., 3) in BGR."""
    planes = [np.min([slope * levels + start for slope, start in lines], axis=0) for lines in JET]
    return np.clip(np.stack(planes, axis=-1), 0, LEVELS)


def overlay(op: Builder, tensor_maps: ir.Value, frame: ir.Value, geometry: Geometry) -> ir.Value:
    """Draw over the frame, at each position, the strongest map.

    Args:
        op: Builder of the graph.
        tensor_maps: float32 (T, H, W) in [0, 1], over the input tensor.
        frame: float32 (H, W, 3) in BGR.
        geometry: Where the frame lies in the tensor.

    Returns:
        uint8 (H, W, 3) in BGR. What the model does not see of the frame stays as it is.
    """
    many = static_shape(tensor_maps)[0] > 1
    strongest = op.reduce("ReduceMax", tensor_maps, [0]) if many else tensor_maps
    (top, left, bottom, right), region = geometry.seen, geometry.region
    seen = op.slice_axis(op.slice_axis(strongest, 1, top, bottom), 2, left, right)
    levels = op.reshape(op.Round(op.Mul(seen, LEVELS)), bottom - top, right - left, 1)
    whole = resize((bottom - top, right - left), (region[2] - region[0], region[3] - region[1]), "linear")
    colours = op.Transpose(_colours(op, resample(op, levels, whole)), perm=[1, 2, 0])
    return op.Cast(_blended(op, colours, frame, region), to=ir.DataType.UINT8)


def _colours(op: Builder, levels: ir.Value) -> ir.Value:
    """Return the colours of levels (1, H, W) as planes, (3, H, W).

    Worked out: from a table ONNX Runtime copies three numbers at a time, which takes half as long again.
    """
    planes = []
    for lines in JET:
        values = [op.Add(op.Mul(levels, float(slope)), float(start)) for slope, start in lines]
        planes.append(op.Clip(op.Min(*values), 0.0, LEVELS))
    return op.Concat(*planes, axis=0)


def _blended(op: Builder, colours: ir.Value, frame: ir.Value, region: tuple[int, int, int, int]) -> ir.Value:
    """Blend the colours into their region of the frame, and leave the rest of it as it is."""
    top, left, bottom, right = region
    height, width, _ = static_shape(frame)
    band = op.slice_axis(frame, 0, top, bottom)
    mixed = op.Round(op.Mul(op.Add(colours, op.slice_axis(band, 1, left, right)), ALPHA))  # half to even, as OpenCV
    beside = [op.slice_axis(band, 1, *ends) for ends in ((0, left), (right, width)) if ends[0] < ends[1]]
    row = _around(op, mixed, beside, left > 0, axis=1)
    above = [op.slice_axis(frame, 0, *ends) for ends in ((0, top), (bottom, height)) if ends[0] < ends[1]]
    return _around(op, row, above, top > 0, axis=0)


def _around(op: Builder, middle: ir.Value, edges: list[ir.Value], before: bool, axis: int) -> ir.Value:
    """Return the middle with its edges, the first of which lies before it if there is one there."""
    if not edges:
        return middle
    parts = [edges[0], middle, *edges[1:]] if before else [middle, *edges]
    return op.Concat(*parts, axis=axis)
