"""What is to be explained, as the caller says it, turned into the model's run-time input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.manifest import Manifest
from aerocam.runtime.frames.placement import Box

Class = int | str | None
TargetLike = Class | tuple[Class, int | None]
"""None: the model's own top choice. An index or a label: that class. For a detector also (class, anchor)."""

Targets = TargetLike | list[TargetLike]
"""One target, or a list of several."""


@dataclass(frozen=True)
class Target:
    """What was explained.

    Attributes:
        index: Of the class.
        label: Its name.
        score: Its probability, 0 to 1; for a detector that at the anchor.
        logit: The explained score itself, before softmax or sigmoid.
        anchor: For a detector, the anchor; else None.
        box: For a detector whose output has boxes, (x0, y0, x1, y1) in frame px; else None.
    """

    index: int
    label: str
    score: float
    logit: float
    anchor: int | None = None
    box: Box | None = None


def resolve(targets: Targets, manifest: Manifest) -> NDArray[np.int32]:
    """What is asked for, as the model takes it.

    Args:
        targets: One, or a list of several; see `TargetLike`. -1 means the same as None.
        manifest: Of the model.

    Returns:
        int32 (n, 1) with classes, or for a detector (n, 2) with classes and anchors; -1 for what the model is to
        choose, -2 for its second best class and so on.

    Raises:
        UsageError: No target; no such class or anchor; an anchor for a model that has none.
    """
    wanted = targets if isinstance(targets, list) else [targets]
    if not wanted:
        raise UsageError("targets: an empty list, one target or more is expected; None is the model's own choice")
    return np.array([_row(target, manifest) for target in wanted], np.int32)


def _row(target: TargetLike, manifest: Manifest) -> list[int]:
    wanted, anchor = target if isinstance(target, tuple) else (target, None)
    index = class_index(wanted, manifest)
    anchors = manifest.score.anchors
    if manifest.task != "detect":
        if anchor is not None:
            raise UsageError(f"target {target!r}: only a detector has anchors; give a class without an anchor")
        return [index]
    chosen = -1 if anchor is None else int(anchor)
    if not -1 <= chosen < anchors:
        raise UsageError(f"target anchor {chosen}: expected 0 to {anchors - 1}, or -1 for the model's own choice")
    return [index, chosen]


def ranked(rows: NDArray[np.int32], probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
    """`rows` with the second best class in place of -2 and so on; -1 stays."""
    order = np.argsort(-probabilities, kind="stable")
    return np.where(rows < -1, order[np.clip(-rows - 1, 0, len(order) - 1)], rows).astype(np.int32)


def slots(rows: NDArray[np.int32], count: int) -> list[NDArray[np.int32]]:
    """`rows` as the model's run-time input, `count` targets at a time, one after the other; the last is filled up."""
    short = -len(rows) % count
    full = np.concatenate([rows, np.repeat(rows[:1], short, axis=0)])
    return [np.ascontiguousarray(part).reshape(-1) for part in full.reshape(-1, count, rows.shape[1])]


def class_index(wanted: Class, manifest: Manifest) -> int:
    """The class as an index, -1 for the model's own choice.

    Raises:
        UsageError: The model has no such class.
    """
    if wanted is None:
        return -1
    if isinstance(wanted, str):
        return _named(wanted, manifest.labels)
    classes = manifest.score.classes
    lowest = -1 if manifest.task == "detect" else -classes
    if not lowest <= wanted < classes:
        ranks = "" if lowest == -1 else ", -2 for its second best and so on"
        raise UsageError(f"target class {wanted}: expected 0 to {classes - 1}, or -1 for the model's own choice{ranks}")
    return int(wanted)


def _named(name: str, labels: tuple[str, ...]) -> int:
    """The index of the one class of this name."""
    found = [index for index, label in enumerate(labels) if label == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"target class '{name}': classes {found} have this name; give the index")
    if not labels:
        raise UsageError(f"target class '{name}': the model carries no class names; give the index")
    raise UsageError(f"target class '{name}': the model has no such class. {did_you_mean(name, labels)}")
