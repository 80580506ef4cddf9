"""What Ultralytics writes of a model into an exported file, read and held against what the file computes."""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aerocam.errors import ModelError, UsageError
from aerocam.foreign import parse_literal
from aerocam.manifest import ColorOrder, Interpolation, Preprocess, ResizeRule, Task, TensorLayout

logger = logging.getLogger("aerocam.export")

DETECTS = ("detect", "segment", "pose", "obb")
"""Tasks that find objects: boxes, with masks, with keypoints, rotated boxes."""


PLAIN_CLASSIFIERS = (8, 0, 53)
"""The first version whose classifiers take RGB from 0 to 1 as it is."""

PILLOW_CLASSIFIERS = (8, 0, 234)
"""The first version whose classifiers' pictures are resized by torchvision, on Pillow's."""

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


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
    numbers = [part for part in metadata.get("version", "").split(".") if re.fullmatch("[0-9]{1,9}", part)]
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
        names = parse_literal(metadata.get("names", "[]"))
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
        if not isinstance(names, (list, tuple)):
            raise TypeError(f"a list or a dictionary is expected, not {names!r}")
    except (TypeError, ValueError):
        logger.warning("the model's metadata has names that cannot be read; classes go by number")
        return ()
    return tuple(str(name) for name in names)


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return parse_literal(metadata.get(key, "None"))
    except ValueError:
        logger.warning("the model's metadata has %s %s, which cannot be read", key, reprlib.repr(metadata[key]))
        return None


def _two(numbers: Any) -> tuple[int, int] | None:
    """Return one or two positive whole numbers as two; None for anything else."""
    pair = [numbers] * 2 if isinstance(numbers, int) else numbers
    if not isinstance(pair, (list, tuple)) or not 1 <= len(pair) <= 2:
        return None
    if not all(isinstance(number, int) and number > 0 for number in pair):
        return None
    return pair[0], pair[-1]


def predict_preprocess(
    said: Ultralytics, name: str, size: tuple[int, int], layout: TensorLayout, channels: int = 3
) -> Preprocess:
    """Return how Ultralytics' own predict fills the input of a file.

    Detectors letterbox, RT-DETR stretches; classifiers take the middle square, or stretch to an input that is none.
    Before `PLAIN_CLASSIFIERS` these were normalised by ImageNet's mean and deviation, since `PILLOW_CLASSIFIERS` they
    are resized by Pillow.

    Args:
        said: What the metadata say.
        name: Of the input.
        size: (H, W) of the input in px.
        layout: Order of its axes.
        channels: 3, or 1 for grey.
    """
    mean, std = (0.0,) * channels, (255.0,) * channels
    interpolation: Interpolation = "linear"
    resize: ResizeRule = "stretch" if said.head == "RTDETRDecoder" else "letterbox"
    if said.task == "classify":
        resize = "crop" if size[0] == size[1] else "stretch"
        if channels == len(IMAGENET_MEAN) and () < said.version < PLAIN_CLASSIFIERS:
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        if not () < said.version < PILLOW_CLASSIFIERS:
            interpolation = "pil-bilinear"
    short_side = size[0] if resize == "crop" else 0
    color: ColorOrder = "GRAY" if channels == 1 else "RGB"
    return Preprocess(name, size, color, resize, short_side, interpolation, mean, std, layout=layout)


def require_known_task(said: Ultralytics) -> None:
    """Raise ModelError for a task that is not explained."""
    if said.task not in ("", "classify", *DETECTS):
        explained = ", ".join(("classify", *DETECTS))
        raise ModelError(f"the model's metadata names task {said.task!r}; {explained} are explained so far; see `task`")


def require_fitting_task(said: Ultralytics, task: Task) -> None:
    """Raise UsageError for a task that takes the rows of a detector for something else."""
    if said.task in DETECTS and task in ("classify", "segment"):
        raise UsageError(
            f"`task={task!r}`: the model's metadata name task {said.task!r} of Ultralytics, which finds objects: boxes,"
            " and masks, keypoints or angles beside them; give detect, or leave it out"
        )
