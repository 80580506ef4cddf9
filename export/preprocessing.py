"""What an exported file says of preprocessing, labels and task: from presets, parameters and the model's metadata."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.nodes.shapes import PICTURE_CHANNELS, is_channels_last, is_float, is_static, static_shape
from aerocam.export.reading.ultralytics import (
    DETECTS,
    check_size,
    predict_preprocess,
    read_ultralytics,
    require_known_task,
)
from aerocam.export.scores import NO_HINTS, Hints, classify, detectors, named_outputs, segment
from aerocam.manifest import Preprocess, Score, Task, TensorLayout

logger = logging.getLogger("aerocam.export")

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {"color": "RGB", "resize": "crop", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
    "tf": {"color": "RGB", "resize": "crop", "mean": (127.5,) * 3, "std": (127.5,) * 3},
    "caffe": {"color": "BGR", "resize": "crop", "mean": (103.939, 116.779, 123.68), "std": (1.0,) * 3},
    "unit": {"color": "RGB", "resize": "stretch", "mean": (0.0,) * 3, "std": (255.0,) * 3},
    "yolo": {"color": "RGB", "resize": "letterbox", "mean": (0.0,) * 3, "std": (255.0,) * 3},
}
"""Named preprocessing: torchvision's ImageNet, TensorFlow's (-1 to 1), Caffe's, 0 to 1, and Ultralytics'."""

CROP_RATIO = 256 / 224
"""Short side before the centre crop, in longer sides of the input, where a preset crops: any frame covers the crop."""


def image_input(model: ir.Model) -> ir.Value:
    """Return the model's input: a picture, a sequence (1, C, L) or a volume (1, C, D, H, W).

    A picture has 1 or 3 channels, (1, C, H, W) or as TensorFlow has it (1, H, W, C).

    Raises:
        ModelError: The model has no such input, or several float inputs.
    """
    inputs = [value for value in model.graph.inputs if is_float(value)]
    shapes = ", ".join(f"{value.name!r} {tuple(value.shape or ())}" for value in inputs) or "none"
    if len(inputs) != 1:
        raise ModelError(f"float inputs: {shapes}; exactly one image input (1, C, H, W) is expected")
    shape = static_shape(inputs[0])
    if len(shape) in (3, 5) and shape[0] == 1:
        return inputs[0]
    if len(shape) != 4 or shape[0] != 1 or not (shape[1] in PICTURE_CHANNELS or is_channels_last(shape)):
        hint = "; export the model with a batch of 1 or a dynamic one" if shape[0] != 1 else ""
        raise ModelError(f"image input: {shapes}; (1, C, H, W) or (1, H, W, C) with 1 or 3 channels is expected{hint}")
    return inputs[0]


def default_preprocess(model: ir.Model, preset: str | None = None) -> Preprocess | None:
    """Return the preprocessing of a preset; without one the likeliest, which is logged.

    The likeliest is what Ultralytics' own predict does if the metadata are theirs, see `predict_preprocess`;
    TensorFlow's if the channels come last, else ImageNet's.
    None where the input is a sequence or a volume: these come as tensors.

    Raises:
        UsageError: No preset has that name, or the input is no picture.
    """
    image = image_input(model)
    if len(static_shape(image)) != 4:
        if preset is not None:
            raise UsageError(f"`preset={preset!r}`: input {image.name!r} {static_shape(image)} is no picture")
        logger.info("input %r %s is no picture; the exported model takes tensors", image.name, static_shape(image))
        return None
    last = is_channels_last(static_shape(image))
    channels, height, width = (static_shape(image)[axis] for axis in ((3, 1, 2) if last else (1, 2, 3)))
    layout: TensorLayout = "NHWC" if last else "NCHW"
    said = read_ultralytics(model.metadata_props)
    if preset is None and said is not None:
        check_size(said, (height, width))
        return predict_preprocess(said, str(image.name), (height, width), layout, channels)
    if preset is None:
        preset = "tf" if last else "imagenet"
        logger.info(
            "preprocessing: %s assumed; `preprocess` and its `mean`, `std`, `color`, `resize` change it", preset
        )
    if preset not in PRESETS:
        raise UsageError(f"`preset={preset!r}`: no such preset. {did_you_mean(preset, PRESETS)}")
    chosen = Preprocess(input=str(image.name), size=(height, width), layout=layout, **PRESETS[preset])
    if chosen.resize == "crop":
        chosen = replace(chosen, short_side=round(max(height, width) * CROP_RATIO))
    if channels == 1:
        chosen = replace(chosen, color="GRAY", mean=chosen.mean[:1], std=chosen.std[:1])
    return chosen


def is_ultralytics(model: ir.Model) -> bool:
    """Return whether the model carries Ultralytics' metadata."""
    return read_ultralytics(model.metadata_props) is not None


def default_task(model: ir.Model, output: str | None = None, hints: Hints = NO_HINTS) -> Task:
    """Return the task that Ultralytics' metadata names, else one whose form an output has: detect, classify or segment.

    Args:
        model: In normal form.
        output: Name of the output that holds the class scores; None: any.
        hints: What is known beside the graph.

    Raises:
        ModelError: The metadata names a task that is not explained yet.
        UsageError: The model has no output of that name.
    """
    if hints.layout is not None:
        return "detect"
    said = read_ultralytics(model.metadata_props)
    if said is None or not said.task:
        return _task_by_form(model, [value for value in named_outputs(model, output) if is_static(value)], hints)
    require_known_task(said)
    return "detect" if said.task in DETECTS else "classify"


def _task_by_form(model: ir.Model, outputs: Sequence[ir.Value], hints: Hints) -> Task:
    """Return the task that the outputs speak for, and log it unless it is `classify`."""
    for value in outputs:
        if layout := detectors.fits(model, value, hints):
            logger.info("task: detect, as output %r has the layout %s; `task` says otherwise", value.name, layout)
            return "detect"
    if any(classify.find(value, model, hints) for value in outputs):
        return "classify"
    for value in outputs:
        if len(static_shape(value)) > 3 and segment.find(value, model, hints):
            shape = static_shape(value)
            logger.info(
                "task: segment, as output %r %s has classes at positions; `task` says otherwise", value.name, shape
            )
            return "segment"
    return "classify"


def class_labels(names: Sequence[str], score: Score, given: bool) -> tuple[str, ...]:
    """Return one name per class, or none; the name of the background is put in where it alone is missing.

    Args:
        names: Names of the classes.
        score: The score, with the number of classes.
        given: Whether the user gave them, and must correct them; the model's own are left out where they do not fit.

    Raises:
        UsageError: The names that the user gave are not as many as the classes.
    """
    classes, background = score.classes, score.background
    if background is not None and background < classes == len(names) + 1:
        names = [*names[:background], "background", *names[background:]]
    if names and len(names) != classes:
        if given:
            raise UsageError(f"`labels`: {len(names)} names for {classes} classes; give one name per class")
        logger.warning("the model's metadata names %d classes, it has %d; classes go by number", len(names), classes)
        return ()
    return tuple(names)


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return class names from a file: a JSON list, or one name per line.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
        if text.startswith("["):
            return tuple(str(name) for name in json.loads(text))
    except (OSError, ValueError) as error:  # not UTF-8 and not JSON are ValueErrors
        raise UsageError(
            f"`labels={str(path)!r}`: cannot be read ({error}); give a JSON list, or a text file with one label per"
            " line"
        ) from error
    return tuple(line.strip() for line in text.splitlines())
