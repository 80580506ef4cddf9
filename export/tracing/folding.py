"""Any layer in the one form that methods read: (1, C, H, W), whatever its axes are in the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.tracing.axes import CHANNEL, Layout, MixedAxis, Tokens
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
        units: Axis of tokens that come unit by unit, and the sizes that it splits into; `order` counts these. Or None.
    """

    kind: Kind
    grid: tuple[int, ...]
    order: tuple[int, ...]
    cut: tuple[int, int, int] | None
    channels: int
    units: tuple[int, tuple[int, ...]] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (1, C, H, W); a sequence is one row, the planes of a volume lie below each other."""
        *rows, width = self.grid
        return 1, self.channels, int(np.prod(rows, dtype=int)), width

    @property
    def planes(self) -> int:
        """Return D of a volume (D, H, W); 1 of all others."""
        return self.grid[0] if self.kind == "volume" else 1

    def __call__(self, op: Builder, value: ir.Value) -> ir.Value:
        """Return `value`, or its cotangent, folded to `shape`."""
        if self.cut is not None:
            value = op.slice_axis(value, *self.cut)
        if self.units is not None:
            value = op.reshape(value, *self.apart(static_shape(value)))
        if self.order != tuple(range(len(self.order))):
            value = op.Transpose(value, perm=list(self.order))
        return op.reshape(value, *self.shape)

    def apart(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape whose axes `order` counts, of a tensor of this one."""
        if self.units is None:
            return tuple(shape)
        axis, sizes = self.units
        return *shape[:axis], *sizes, *shape[axis + 1 :]

    def channel_axis(self, shape: Sequence[int]) -> int:
        """Return the axis of the channels in a tensor of this shape; of a single channel any axis of size 1."""
        apart = self.apart(shape)
        channel = next(axis for axis in self.order if apart[axis] != 1 or self.channels == 1)
        return channel if self.units is None or channel < self.units[0] else channel - len(apart) + len(shape)

    def unfold(self, op: Builder, stack: ir.Value, value: ir.Value, count: int) -> ir.Value:
        """Return `stack`, (count, C, H, W), as a stack of tensors like `value`, count times as long on axis 0.

        Tokens that were cut off are those of `value`.
        """
        shape = list(static_shape(value))
        if self.cut is None and self.order == tuple(range(len(self.order))):
            return op.reshape(stack, count * shape[0], *shape[1:])
        kept = list(self.apart(shape))
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
    if len(channels) > 1 or len(channels) + len(tokens) + len(letters) != len(real):
        return None
    ones = [axis for axis in range(len(shape)) if axis not in real]
    count = shape[channels[0]] if channels else 1
    if letters.keys() - set("DHWL"):
        return _fold_of_units(shape, layout, ones, channels) if len(letters) == 1 and not tokens else None
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


def _fold_of_units(shape: tuple[int, ...], layout: Layout, ones: Sequence[int], channels: Sequence[int]) -> Fold | None:
    """Return how to fold tokens that lie in the order of units, as Hiera's do, or None where places are missing."""
    (axis,) = (axis for axis in range(len(shape)) if axis not in (*ones, *channels))
    label = layout[axis]
    digits = label.digits if isinstance(label, MixedAxis) else ()
    places, grid = list[int](), list[int]()
    for letter in "DHW":
        own = sorted((digit.outer, digit.size, i) for i, digit in enumerate(digits) if digit.label == letter)
        sizes = [size for _, size, _ in own]
        if [outer for outer, _, _ in own] != [int(np.prod(sizes[:i], dtype=int)) for i in range(len(own))]:
            return None
        places += [axis + i for *_, i in own]
        grid += [int(np.prod(sizes, dtype=int))] * bool(own)
    if not digits or len(places) != len(digits) or len(grid) < 2:
        return None
    moved = [other if other < axis else other + len(digits) - 1 for other in (*ones, *channels)]
    units = axis, tuple(digit.size for digit in digits)
    return Fold("tokens", tuple(grid), (*moved, *places), None, shape[channels[0]] if channels else 1, units)
