"""Detectors whose predictions leave scale by scale: what each output holds, and one table of all scales.

The tables are made by nodes appended to the graph, so that whatever follows finds one tensor of scores and one of
boxes, as of any other detector; they leave the file beside the model's own outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detectors.columns import image_size

STRIDES = (4, 8, 16, 32, 64, 128)
"""Px between cells that predictions are made at."""

FEWEST = 2
"""Scales of a detector whose outputs are known by their strides."""


@dataclass(frozen=True)
class Prediction:
    """An output that predicts the same numbers at every cell of a grid.

    Attributes:
        value: (1, columns, rows, cells in a row), (1, rows, cells in a row, columns), (1, cells, columns),
            (1, columns, cells), or (1, anchors, rows, cells in a row, columns).
        axis: Its axis of columns.
        grid: Rows, and cells in a row.
        stride: Px between cells.
    """

    value: ir.Value
    axis: int
    grid: tuple[int, int]
    stride: int

    @property
    def columns(self) -> int:
        """Return the numbers per cell, or per anchor of a cell."""
        return static_shape(self.value)[self.axis]

    def rows(self, op: Builder, anchors: int = 1) -> ir.Value:
        """Append (1, anchors * cells, columns / anchors), anchor by anchor, cells row by row."""
        value, cells = self.value, self.grid[0] * self.grid[1]
        if anchors > 1 and self.axis == 1:
            value = op.reshape(value, 1, anchors, self.columns // anchors, *self.grid)
            value = op.Transpose(value, perm=[0, 1, 3, 4, 2])
        elif self.axis == 1:
            rank = len(static_shape(value))
            value = op.Transpose(value, perm=[0, *range(2, rank), 1])
        total = int(np.prod(static_shape(value))) // static_shape(value)[-1]
        assert total % cells == 0
        return op.reshape(value, 1, total, static_shape(value)[-1])


Groups = dict[int, list[Prediction]]
"""Predictions of as many columns, from the smallest stride to the largest."""


def predictions(model: ir.Model) -> list[Prediction]:
    """Return the outputs that predict something at every cell of a grid of known stride."""
    size = image_size(model)
    read = (_read(value, size) for value in model.graph.outputs if is_static(value) and is_float(value))
    return [prediction for prediction in read if prediction is not None]


def groups(model: ir.Model) -> Groups:
    """Return predictions by their columns; empty where not all kinds are made at the same strides."""
    kinds: Groups = {}
    for prediction in sorted(predictions(model), key=lambda each: each.stride):
        kinds.setdefault(prediction.columns, []).append(prediction)
    strides = {tuple(prediction.stride for prediction in kind) for kind in kinds.values()}
    return kinds if len(strides) == 1 and len(set(*strides)) == len(*strides) else {}


def _read(value: ir.Value, size: tuple[int, int]) -> Prediction | None:
    shape = static_shape(value)
    if shape[:1] != (1,) or 0 in size:
        return None
    for stride in STRIDES:
        grid = grid_at(size, stride)
        cells, axis = grid[0] * grid[1], None
        if shape[2:4] == grid and len(shape) in (4, 5):
            axis = 1 if len(shape) == 4 else 4
        elif shape[1:3] == grid and len(shape) == 4:
            axis = 3
        elif len(shape) == 3 and cells in shape[1:]:
            axis = 2 if shape[1] == cells else 1
        if axis is not None:
            return Prediction(value, axis, grid, stride)
    return None


def grid_at(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return rows and cells in a row of an input (height, width) at a stride; cells at the edges may be cut."""
    return -(-size[0] // stride), -(-size[1] // stride)


def joined(op: Builder, scales: Sequence[ir.Value]) -> ir.Value:
    """Append (1, all anchors, columns) of one scale after the other."""
    return op.single(scales[0] if len(scales) == 1 else op.Concat(*scales, axis=1))


def cells_of(
    grids: Sequence[tuple[tuple[int, int], int]], anchors: Sequence[int], offset: float = 0.5, outer: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the middle (1, n, 2) of every anchor's cell, x first, in px, and its stride (1, n, 1).

    Args:
        grids: Grid and stride of every scale.
        anchors: Anchors per cell of every scale.
        offset: Where the middle of a cell is, in cells.
        outer: Whether all cells come with their first anchor, then all with their second.
    """
    middles, steps = [], []
    for ((rows, columns), stride), count in zip(grids, anchors, strict=True):
        y, x = np.divmod(np.arange(rows * columns), columns)
        middle = (np.stack([x, y], axis=1) + offset) * stride
        middles.append(np.tile(middle, (count, 1)) if outer else np.repeat(middle, count, axis=0))
        steps.append(np.full((rows * columns * count, 1), stride))
    return tuple(np.concatenate(part)[None].astype(np.float32) for part in (middles, steps))  # type: ignore[return-value]


def grids_of(scales: Sequence[Prediction]) -> list[tuple[tuple[int, int], int]]:
    """Return grid and stride of every scale."""
    return [(scale.grid, scale.stride) for scale in scales]


def named(value: ir.Value, name: str) -> ir.Value:
    """Give an appended tensor its name."""
    value.name = name
    return value


def strides_in_words(scales: Sequence[Prediction]) -> str:
    """Return the strides of scales, to be shown."""
    return ", ".join(str(scale.stride) for scale in scales)


SCORES, BOXES, TABLE = (f"{manifest.KEY}_{name}" for name in ("class_scores", "boxes", "table"))
"""Names of the tables: scores and boxes (1, anchors, classes or 4), or both as columns of one."""
