"""Any layer in the one form that methods read: (1, C, H, W), whatever its axes are in the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.tracing.axes import CHANNEL, Layout, Tokens
from aerocam.manifest import Kind

LETTERS = {"L": "sequence", "HW": "spatial", "DHW": "volume"}
"""Kind of layer by the letters of its spatial axes, in order."""


@dataclass(frozen=True)
class Fold:
    """How a tensor becomes (1, C, H, W): tokens that are no positions cut off, axes put in order.

    Attributes:
        kind: What the positions are.
        grid: Their sizes: (H, W), (L,) or (D, H, W).
        order: The axes to read: those of size 1, then channels, then positions.
        cut: Axis, first and end of the tokens to keep, or None.
        channels: C.
    """

    kind: Kind
    grid: tuple[int, ...]
    order: tuple[int, ...]
    cut: tuple[int, int, int] | None
    channels: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (1, C, H, W); a sequence is one row, the planes of a volume lie below each other."""
        *rows, width = self.grid
        return 1, self.channels, int(np.prod(rows, dtype=int)), width

    def __call__(self, op: Builder, value: ir.Value) -> ir.Value:
        """Return `value`, or its cotangent, folded to `shape`."""
        if self.cut is not None:
            value = op.slice_axis(value, *self.cut)
        if self.order != tuple(range(len(self.order))):
            value = op.Transpose(value, perm=list(self.order))
        return op.reshape(value, *self.shape)

    def channel_axis(self, shape: Sequence[int]) -> int:
        """Return the axis of the channels in a tensor of this shape; of a single channel any axis of size 1."""
        return next(axis for axis in self.order if shape[axis] != 1 or self.channels == 1)

    def unfold(self, op: Builder, stack: ir.Value, value: ir.Value, count: int) -> ir.Value:
        """Return `stack`, (count, C, H, W), as a stack of tensors like `value`, count times as long on axis 0.

        Tokens that were cut off are those of `value`.
        """
        shape = list(static_shape(value))
        if self.cut is None and self.order == tuple(range(len(self.order))):
            return op.reshape(stack, count * shape[0], *shape[1:])
        kept = list(shape)
        if self.cut is not None:
            kept[self.cut[0]] = self.cut[2] - self.cut[1]
        apart = op.reshape(stack, count, *(kept[axis] for axis in self.order))
        apart = op.Transpose(apart, perm=[0, *(1 + self.order.index(axis) for axis in range(len(kept)))])
        if self.cut is not None:
            axis, first, end = self.cut
            before = [op.copies(op.slice_axis(value, axis, 0, first), count)] if first else []
            after = [op.copies(op.slice_axis(value, axis, end, shape[axis]), count)] if end < shape[axis] else []
            apart = op.Concat(*before, apart, *after, axis=axis + 1)
        return op.reshape(apart, count * shape[0], *shape[1:])


def layer_fold(value: ir.Value, layout: Layout | None) -> Fold | None:
    """Return how a tensor folds as a target layer, or None where it cannot be one.

    A target layer holds floats of 16 bits or more (NumPy has no type for others), has a static shape, and more than one
    position.
    """
    if not is_float(value) or value.dtype is None or value.dtype.bitwidth < 16 or not is_static(value):
        return None
    fold = fold_of(static_shape(value), layout)
    return fold if fold is not None and int(np.prod(fold.grid)) > 1 else None


def fold_of(shape: tuple[int, ...], layout: Layout | None) -> Fold | None:
    """Return how to fold a tensor of this shape, or None where its axes are not known as channels and positions."""
    if layout is None:
        return None
    real = [axis for axis, size in enumerate(shape) if size != 1]
    channels = [axis for axis in real if layout[axis] == CHANNEL]
    tokens = [axis for axis in real if isinstance(layout[axis], Tokens)]
    letters = {str(layout[axis]): axis for axis in real if axis not in channels + tokens}
    if len(channels) > 1 or len(channels) + len(tokens) + len(letters) != len(real) or "None" in letters:
        return None
    ones = [axis for axis in range(len(shape)) if axis not in real]
    count = shape[channels[0]] if channels else 1
    if tokens:
        label = layout[tokens[0]]
        assert isinstance(label, Tokens)
        if len(tokens) > 1 or letters:
            return None
        cut = (tokens[0], label.before, label.before + label.count) if label.before or label.after else None
        return Fold("tokens", label.grid, (*ones, *channels, *tokens), cut, count)
    ones_named = {str(layout[axis]): axis for axis in ones if isinstance(layout[axis], str) and layout[axis] != CHANNEL}
    named = {**ones_named, **letters}
    alphabet = next((spatial for spatial in LETTERS if letters.keys() <= set(spatial)), None)
    if not letters or alphabet is None:
        return None
    grid = tuple(shape[named[letter]] if letter in named else 1 for letter in alphabet)
    spatial_axes = [letters[letter] for letter in alphabet if letter in letters]
    order = tuple(range(len(shape))) if [*channels, *spatial_axes] == real else (*ones, *channels, *spatial_axes)
    return Fold(LETTERS[alphabet], grid, order, None, count)  # type: ignore[arg-type]
