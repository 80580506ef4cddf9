"""Labels of a tensor's axes, and what merging and splitting axes makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

CHANNEL = "C"
SPATIAL = {1: "L", 2: "HW", 3: "DHW"}
"""Letters of the spatial axes, by their number."""


@dataclass(frozen=True)
class Tokens:
    """An axis of positions in row-major order, with others (class or register tokens) before and after them.

    Attributes:
        grid: Sizes of the axes that were merged.
        before: Tokens before the grid's.
        after: Tokens behind them.
    """

    grid: tuple[int, ...]
    before: int = 0
    after: int = 0

    @property
    def count(self) -> int:
        """Return how many tokens the grid has."""
        return int(np.prod(self.grid))


@dataclass(frozen=True)
class Digit:
    """One digit of an axis whose index is written as a number of several: what a reshape makes of an axis it splits.

    Attributes:
        label: Of the whole axis.
        outer: Product of the sizes of the digits before it, which weigh more; 1: the first, a coarser axis by itself.
        size: How many values it has.
    """

    label: Label
    outer: int
    size: int

    def split(self, size: int) -> tuple[Digit, Digit]:
        """Return the two digits that this one is made of, the first of `size`."""
        label = None if isinstance(self.label, Tokens) else self.label
        return Digit(label, self.outer, size), Digit(label, self.outer * size, self.size // size)

    def joined(self, after: Digit) -> Digit | None:
        """Return the one digit that this and the next are, or None: channels keep no order, places do."""
        in_order = self.label in (CHANNEL, None) or after.outer == self.outer * self.size
        return Digit(self.label, self.outer, self.size * after.size) if self.label == after.label and in_order else None


@dataclass(frozen=True)
class MixedAxis:
    """An axis of several digits that has no meaning by itself, as that of the places in a window.

    Attributes:
        digits: The one that weighs most first.
    """

    digits: tuple[Digit, ...]


Label: TypeAlias = "str | Tokens | MixedAxis | None"
Layout: TypeAlias = "tuple[Label, ...]"
"""One label per axis; None: unknown, or of no matter since its size is 1."""


def reshaped(layout: Layout, before: Sequence[int], after: Sequence[int]) -> Layout:
    """Return the layout after a reshape from one shape to another."""
    labels: list[Label] = [None] * len(after)
    for sources, targets in regroup(before, after):
        if len(sources) == len(targets) == 1:
            labels[targets[0]] = layout[sources[0]]
            continue
        digits = [digit for axis in sources for digit in _digits(layout[axis], before[axis])]
        for target, label in zip(targets, _dealt(digits, [after[axis] for axis in targets]), strict=True):
            labels[target] = label
    letters = {label for label in labels if isinstance(label, str)}
    letters |= {letter for label in labels if isinstance(label, Tokens) for letter in SPATIAL[len(label.grid)]}
    return tuple(CHANNEL if _is_merged(label, letters) else label for label in labels)


def _is_merged(label: Label, letters: Set[str]) -> bool:
    """Return whether an axis is one of channels and places within blocks, as of merged patches.

    Args:
        label: The axis.
        letters: Axes of places that the tensor has: of the blocks, where there are blocks.
    """
    if not isinstance(label, MixedAxis) or all(digit.label != CHANNEL for digit in label.digits):
        return False
    return all(digit.label == CHANNEL or (digit.outer > 1 and digit.label in letters) for digit in label.digits)


def _digits(label: Label, size: int) -> list[Digit]:
    """Return the digits of an axis."""
    if isinstance(label, MixedAxis):
        return list(label.digits)
    if isinstance(label, Tokens) and label.count == size:
        return [Digit(letter, 1, n) for letter, n in zip(SPATIAL[len(label.grid)], label.grid, strict=True) if n != 1]
    return [Digit(label, 1, size)]


def _dealt(digits: Sequence[Digit], sizes: Sequence[int]) -> list[Label]:
    """Return the labels of axes of these sizes that have the digits in order; None where one does not fit in."""
    waiting, labels = list(digits[::-1]), list[Label]()
    for size in sizes:
        taken = list[Digit]()
        while size > 1:
            digit = waiting.pop()
            if digit.size > size and digit.size % size == 0:
                digit, rest = digit.split(size)
                waiting.append(rest)
            if size % digit.size:
                return [None] * len(sizes)
            size //= digit.size
            joined = taken[-1].joined(digit) if taken else None
            taken = [*taken[:-1], joined] if joined else [*taken, digit]
        labels.append(_label(taken))
    return labels


def _label(digits: Sequence[Digit]) -> Label:
    """Return what an axis of these digits means by itself."""
    letters = "".join(digit.label if isinstance(digit.label, str) and digit.outer == 1 else "?" for digit in digits)
    if len(digits) == 1 and digits[0].outer == 1:
        return digits[0].label
    if letters in ("HW", "DHW", "DH"):
        return Tokens(tuple(digit.size for digit in digits))
    return MixedAxis(tuple(digits))


def regroup(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest runs of axes of one product that a reshape maps to each other, without axes of size 1."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    i = j = 0
    while i < len(left) and j < len(right):
        sources, targets = [left[i]], [right[j]]
        i, j = i + 1, j + 1
        while (n := np.prod([before[axis] for axis in sources])) != (m := np.prod([after[axis] for axis in targets])):
            if n < m:
                sources.append(left[i])
                i += 1
            else:
                targets.append(right[j])
                j += 1
        yield sources, targets
