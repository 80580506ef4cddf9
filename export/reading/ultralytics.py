"""What Ultralytics writes of a model into an exported file, read and held against what the file computes."""

from __future__ import annotations

import ast
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aerocam.errors import ModelError

logger = logging.getLogger("aerocam.export")

DETECTS = ("detect", "segment", "pose", "obb")
"""Tasks that find objects: boxes, with masks, with keypoints, rotated boxes."""


@dataclass(frozen=True)
class Ultralytics:
    """What the metadata of an export say.

    Attributes:
        task: One of `DETECTS`, `classify` or another; "" where they name none (YOLOv5's own exports).
        names: Names of the classes.
        size: (H, W) of the input in px, where they name it.
        keypoints: How many, and how many numbers each, for `pose`.
        head: The class of the last layer, such as `RTDETRDecoder`, as far as they name it.
        version: Of Ultralytics, such as (8, 3, 253); empty where they name none.
    """

    task: str
    names: tuple[str, ...]
    size: tuple[int, int] | None = None
    keypoints: tuple[int, int] | None = None
    head: str = ""
    version: tuple[int, ...] = ()


def read_ultralytics(metadata: Mapping[str, str]) -> Ultralytics | None:
    """Return what the metadata say; None where Ultralytics did not write them. What cannot be read counts as absent."""
    if "stride" not in metadata or "names" not in metadata:
        return None
    size, keypoints = (_two(_literal(metadata, key)) for key in ("imgsz", "kpt_shape"))
    numbers = [part for part in metadata.get("version", "").split(".") if part.isdecimal()]
    return Ultralytics(
        metadata.get("task", ""),
        class_names(metadata),
        size,
        keypoints,
        metadata.get("head", ""),
        tuple(int(part) for part in numbers),
    )


def class_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return class names from `names`, a dictionary or list as text; empty without it."""
    try:
        names = ast.literal_eval(metadata.get("names", "[]"))
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
        if not isinstance(names, (list, tuple)):
            raise TypeError(f"a list or a dictionary is expected, not {names!r}")
    except (SyntaxError, TypeError, ValueError):
        logger.warning("the model's metadata has names that cannot be read; classes go by number")
        return ()
    return tuple(str(name) for name in names)


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return ast.literal_eval(metadata.get(key, "None"))
    except (SyntaxError, ValueError):
        logger.warning("the model's metadata has %s %r, which cannot be read", key, metadata[key])
        return None


def _two(numbers: Any) -> tuple[int, int] | None:
    """Return one or two positive whole numbers as two; None for anything else."""
    pair = [numbers] * 2 if isinstance(numbers, int) else numbers
    if not isinstance(pair, (list, tuple)) or not 1 <= len(pair) <= 2:
        return None
    if not all(isinstance(number, int) and number > 0 for number in pair):
        return None
    return pair[0], pair[-1]


def require_known_task(said: Ultralytics) -> None:
    """Raise ModelError for a task that is not explained."""
    if said.task not in ("", "classify", *DETECTS):
        explained = ", ".join(("classify", *DETECTS))
        raise ModelError(f"the model's metadata names task {said.task!r}; {explained} are explained so far; see `task`")


def check_size(said: Ultralytics, size: tuple[int, int]) -> None:
    """Warn where the input has another (H, W) than the metadata say; the input's holds."""
    if said.size is not None and said.size != size:
        logger.warning(
            "the model's metadata say imgsz %s, its input is %s (height, width); the input's size is taken",
            list(said.size),
            list(size),
        )
