"""What is to be explained, as the caller says it, turned into the model's run-time input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.manifest import Manifest
from aerocam.runtime.placement import Box

Class = int | str | None
TargetLike = Class | tuple[Class, int | None]
"""None: the model's own top choice. An index or a label: that class. For a detector also (class, anchor)."""


@dataclass(frozen=True)
class Target:
    """What was explained.

    Attributes:
        index: Of the class.
        label: Its name.
        score: Its probability, 0 to 1; for a detector that at the anchor.
        anchor: For a detector, the anchor; else None.
        box: For a detector whose output has boxes, (x0, y0, x1, y1) in frame px; else None.
    """

    index: int
    label: str
    score: float
    anchor: int | None = None
    box: Box | None = None


def resolve(target: TargetLike, manifest: Manifest) -> NDArray[np.int32]:
    """The model's target input.

    Args:
        target: See `TargetLike`. -1 means the same as None.
        manifest: Of the model.

    Returns:
        int32 (1,) with the class, or (2,) with class and anchor; -1 for what the model is to choose.

    Raises:
        UsageError: No such class or anchor, or an anchor for a model that has none.
    """
    wanted, anchor = target if isinstance(target, tuple) else (target, None)
    index = _class_index(wanted, manifest)
    anchors = manifest.score.anchors
    if manifest.task != "detect":
        if anchor is not None:
            raise UsageError(f"target {target!r}: only a detector has anchors; give a class without an anchor")
        return np.array([index], np.int32)
    chosen = -1 if anchor is None else int(anchor)
    if not -1 <= chosen < anchors:
        raise UsageError(f"target anchor {chosen}: expected 0 to {anchors - 1}, or -1 for the model's own choice")
    return np.array([index, chosen], np.int32)


def _class_index(wanted: Class, manifest: Manifest) -> int:
    """The class as an index, -1 for the model's own choice."""
    if wanted is None:
        return -1
    if isinstance(wanted, str):
        return _named(wanted, manifest.labels)
    classes = manifest.score.classes
    if not -1 <= wanted < classes:
        raise UsageError(f"target class {wanted}: expected 0 to {classes - 1}, or -1 for the model's own choice")
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
