"""Labels of a tensor's axes, and what merging and splitting axes makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
class MixedAxis:
    """An axis of those that a reshape made of others without keeping the meaning of any, as of C, H, W in groups.

    All of these together mean what the others meant: a later reshape can bring those back.

    Attributes:
        labels: Of the axes before.
        sizes: Of the axes before.
        into: Sizes of the axes that they became.
        index: Which of those this one is.
    """

    labels: tuple[Label, ...]
    sizes: tuple[int, ...]
    into: tuple[int, ...]
    index: int


Label: TypeAlias = "str | Tokens | MixedAxis | None"
Layout: TypeAlias = "tuple[Label, ...]"
"""One label per axis; None: unknown, or of no matter since its size is 1."""


def reshaped(layout: Layout, before: Sequence[int], after: Sequence[int]) -> Layout:
    """Return the layout after a reshape from one shape to another."""
    sizes, old_labels = _without_mixed(before, layout)
    labels: list[Label] = [None] * len(after)
    for sources, targets in regroup(sizes, after):
        into = tuple(after[axis] for axis in targets)
        merged = _regrouped([old_labels[axis] for axis in sources], [sizes[axis] for axis in sources], into)
        for target, label in zip(targets, merged, strict=True):
            labels[target] = label
    return tuple(labels)


def _without_mixed(shape: Sequence[int], layout: Layout) -> tuple[list[int], list[Label]]:
    """Return sizes and labels without axes of size 1, and with the axes that a full run of mixed ones was before."""
    axes = [(size, label) for size, label in zip(shape, layout, strict=True) if size != 1]
    restored: list[tuple[int, Label]] = []
    while axes:
        run, label = axes[:1], axes[0][1]
        if isinstance(label, MixedAxis):
            parts = [(size, replace(label, index=i)) for i, size in enumerate(label.into)]
            if axes[: len(parts)] == parts:
                run = list(zip(label.sizes, label.labels, strict=True))
                axes = axes[len(parts) - 1 :]
        restored += run
        axes = axes[1:]
    return [size for size, _ in restored], [label for _, label in restored]


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


def _regrouped(labels: Sequence[Label], sizes: Sequence[int], into: tuple[int, ...]) -> Sequence[Label]:
    """Return the labels of the axes that one run of axes becomes."""
    if len(labels) == len(into) == 1:
        return labels
    if all(label == CHANNEL for label in labels):
        return [CHANNEL] * len(into)
    letters = "".join(label if isinstance(label, str) else "?" for label in labels)
    if len(into) == 1 and letters in ("HW", "DHW", "DH"):
        return [Tokens(tuple(sizes))]
    if len(labels) == 1 and isinstance(labels[0], Tokens) and labels[0] == Tokens(into):
        return list(SPATIAL[len(into)])
    if not any(labels):
        return [None] * len(into)
    return [MixedAxis(tuple(labels), tuple(sizes), into, i) for i in range(len(into))]
