"""Targets: what is to be explained, as the caller says it, and as the model's run-time input."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.geometry import Box, Point
from aerocam.manifest import Manifest
from aerocam.runtime.predictions.objects import Keypoint

Class = int | str | None
TargetLike = Class | tuple[Class, int | None]
"""None: the model's own top choice. An index or a label: that class. For a detector also (class, anchor)."""

Targets = TargetLike | list[TargetLike] | np.ndarray[Any, np.dtype[np.integer[Any]]]
"""One target, or a list of several, also as an array of integers: classes (n,), or classes and anchors (n, 2)."""


@dataclass(frozen=True)
class Target:
    """Names what was explained, and says how sure the model is of it.

    Example:
        >>> from aerocam.runtime import Explainer, read_picture
        >>> with Explainer("detector.cam.onnx") as explainer:
        ...     target = explainer(read_picture("photo.png"), "red").target
        >>> target.index, target.label, target.anchor, round(target.score, 3)
        (0, 'red', 6, 0.331)

    Attributes:
        index: Index of the class.
        label: The class's name, or `class <index>` where the model has none.
        score: Its probability, 0 to 1; for a detector that at the anchor.
        logit: The explained score itself, before softmax or sigmoid.
        anchor: For a detector, the anchor; else None.
        box: For a detector whose output has boxes, (x0, y0, x1, y1) in frame px; else None.
        polygon: For a detector of rotated boxes, the four corners (x, y) in frame px, also outside of it; else None.
        keypoints: For a detector that has them, (x, y) or (x, y, how sure, 0 to 1) in frame px; else None.
    """

    index: int
    label: str
    score: float
    logit: float
    anchor: int | None = None
    box: Box | None = None
    polygon: tuple[Point, ...] | None = None
    keypoints: tuple[Keypoint, ...] | None = None


@dataclass(frozen=True, eq=False)
class ResolvedTargets:
    """Holds targets as they were given, and as one model takes them.

    Attributes:
        given: What was asked for, as `as_list` returns it.
        rows: int32 (n, 1) with classes, or for a detector (n, 2) with classes and anchors; -1 for what the model is to
            choose, -2 for its second best class and so on.
        slots: The rows as the model's run-time input, as many at a time as it takes.
        known: Whether the model can be told them before it has seen the frame; else their ranks wait for that.
    """

    given: list[TargetLike]
    rows: NDArray[np.int32]
    slots: list[NDArray[np.int32]]
    known: bool

    @classmethod
    def of(cls, targets: Targets, manifest: Manifest) -> ResolvedTargets:
        """Resolve targets for a model.

        Args:
            targets: One, or several; see `Targets`. -1 means the same as None.
            manifest: The model's.

        Raises:
            UsageError: No target; no such class or anchor; an anchor for a model that has none.
        """
        given, count = as_list(targets), manifest.score.targets
        rows = np.array([_row(target, manifest) for target in given], np.int32)
        return cls(given, rows, slots(rows, count), count > 1 or bool(rows.min() >= -1))

    def slots_for(self, probabilities: NDArray[np.float32]) -> list[NDArray[np.int32]]:
        """Return the slots for a frame whose classes have these probabilities."""
        return self.slots if self.known else slots(ranked(self.rows, probabilities), 1)


def as_list(targets: Targets) -> list[TargetLike]:
    """Return targets as a new list, in Python's own types.

    Raises:
        UsageError: There is no target, or one is neither a class nor (class, anchor).
    """
    given: Any = targets
    if isinstance(given, np.ndarray):
        given = [tuple(row) if isinstance(row, list) else row for row in np.atleast_1d(given).tolist()]
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise UsageError("targets: an empty list, one target or more is expected; None is the model's own choice")
    return [tuple(map(_plain, target)) if isinstance(target, tuple) else _plain(target) for target in listed]  # type: ignore[misc]


def _plain(value: object) -> Class:
    """Return a class or an anchor in Python's own types."""
    if value is None or isinstance(value, str):
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(
            f"target {value!r}: a class by its index or its name is expected, for a detector also (class, anchor), or"
            " a list of these"
        ) from error


def _row(target: TargetLike, manifest: Manifest) -> list[int]:
    class_, *anchors = target if isinstance(target, tuple) else (target, None)
    if len(anchors) != 1 or isinstance(anchors[0], str):
        raise UsageError(f"target {target!r}: (class, anchor) is expected, the anchor as a number")
    index, anchor = class_index(class_, manifest), anchors[0]
    if not manifest.has_anchors:
        if anchor is not None:
            raise UsageError(f"target {target!r}: only a detector has anchors; give a class without an anchor")
        return [index]
    chosen, count = -1 if anchor is None else anchor, manifest.score.anchors
    if not -1 <= chosen < count:
        raise UsageError(f"target anchor {chosen}: expected 0 to {count - 1}, or -1 for the model's own choice")
    return [index, chosen]


def ranked(rows: NDArray[np.int32], probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return `rows` with the second best class in place of -2 and so on; -1 stays."""
    order = np.argsort(-probabilities, kind="stable")
    return np.where(rows < -1, order[np.clip(-rows - 1, 0, len(order) - 1)], rows).astype(np.int32)


def slots(rows: NDArray[np.int32], count: int) -> list[NDArray[np.int32]]:
    """Return `rows` as the model's run-time input, `count` targets at a time; the last part is filled up."""
    short = -len(rows) % count
    full = np.concatenate([rows, np.repeat(rows[:1], short, axis=0)])
    return [np.ascontiguousarray(part).reshape(-1) for part in full.reshape(-1, count, rows.shape[1])]


def class_index(class_: Class, manifest: Manifest) -> int:
    """Return the index of a class, -1 for the model's own choice.

    Raises:
        UsageError: The model has no such class.
    """
    class_ = _plain(class_)
    if class_ is None:
        return -1
    if isinstance(class_, str):
        return _named(class_, manifest.labels)
    classes = manifest.score.classes
    lowest = -1 if manifest.has_anchors else -classes
    if not lowest <= class_ < classes:
        ranks = "" if lowest == -1 else ", -2 for its second best and so on"
        raise UsageError(f"target class {class_}: expected 0 to {classes - 1}, or -1 for the model's own choice{ranks}")
    return class_


def _named(name: str, labels: tuple[str, ...]) -> int:
    """Return the index of the one class of this name."""
    indices = [index for index, label in enumerate(labels) if label == name]
    if len(indices) == 1:
        return indices[0]
    if indices:
        raise UsageError(f"target class '{name}': classes {indices} have this name; give the index")
    if not labels:
        raise UsageError(f"target class '{name}': the model carries no class names; give the index")
    raise UsageError(f"target class '{name}': the model has no such class. {did_you_mean(name, labels)}")
