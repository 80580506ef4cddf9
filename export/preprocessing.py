"""How a frame becomes a model's input: by presets, parameters, the model's metadata, its graph, and its task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

import numpy as np
import onnx_ir as ir

from aerocam.decisions import Decision, Source
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import (
    PICTURE_CHANNELS,
    is_channels_last,
    is_float,
    is_static,
    may_be_image,
    static_shape,
)
from aerocam.export.reading.families import family_of
from aerocam.export.reading.ultralytics import Ultralytics, predict_preprocess, read_ultralytics
from aerocam.export.scores import ScoreSite
from aerocam.manifest import PixelUnits, Preprocess, ResizeRule, TensorLayout

logger = logging.getLogger("aerocam.export")

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "color": "RGB",
        "resize": "crop",
        "mean": (123.675, 116.28, 103.53),
        "std": (58.395, 57.12, 57.375),
        "interpolation": "pil-bilinear",
    },
    "tf": {"color": "RGB", "resize": "crop", "mean": (127.5,) * 3, "std": (127.5,) * 3},
    "clip": {
        "color": "RGB",
        "resize": "crop",
        "mean": (122.771, 116.746, 104.094),
        "std": (68.501, 66.632, 70.323),
        "interpolation": "pil-bicubic",
    },
    "caffe": {"color": "BGR", "resize": "crop", "mean": (103.939, 116.779, 123.68), "std": (1.0,) * 3},
    "paddleocr": {"color": "BGR", "resize": "stretch", "mean": (127.5,) * 3, "std": (127.5,) * 3},
    "paddleocr-det": {
        "color": "BGR",
        "resize": "stretch",
        "mean": (123.675, 116.28, 103.53),
        "std": (58.395, 57.12, 57.375),
    },
    "unit": {"color": "RGB", "resize": "stretch", "mean": (0.0,) * 3, "std": (255.0,) * 3},
    "raw": {"color": "RGB", "resize": "stretch", "mean": (0.0,) * 3, "std": (1.0,) * 3},
    "yolo": {"color": "RGB", "resize": "letterbox", "mean": (0.0,) * 3, "std": (255.0,) * 3},
    "yolox": {"color": "BGR", "resize": "letterbox", "mean": (0.0,) * 3, "std": (1.0,) * 3},
}
"""Preprocessing by name: ImageNet's (torchvision), TensorFlow's (-1 to 1), CLIP's, Caffe's, of text to read and to find
(which takes ImageNet's numbers for red off blue), 0 to 1, 0 to 255, YOLOs'."""

BY_LAYOUT = {
    **dict.fromkeys(("yolov5", "yolov7", "yolov8", "yolov10"), "yolo"),
    "blazeface": "tf",
    "rtdetr": "unit",
    "ssd": "tf",
    "yolox": "yolox",
}
"""Presets of detectors by layout."""

STRETCHED = ("detr", "nanodet", "rtdetr", "ssd")
"""Layouts of detectors whose own preprocessing does not keep the proportions."""

BEFORE_PIXELS = frozenset(
    ["Add", "Cast", "Div", "Gather", "Identity", "Mul", "Reshape", "Resize", "Split", "Squeeze", "Sub", "Transpose",
     "Unsqueeze"]
)  # fmt: skip
"""Operators by which a graph prepares a picture; torchvision's detectors take it out of a list, and resize it."""

LINE = 3
"""Width of a picture, in heights, from which it is a line of text where Paddle wrote the file."""

SETTINGS = ("color", "resize", "mean", "std", "short_side", "interpolation", "fill", "units", "shown")
"""What may be given one by one, in place of what a preset has."""

CROP_RATIO = 256 / 224
"""Short side before the centre crop, in longer sides of the input, where a preset crops: any frame covers the crop."""

Given: TypeAlias = "Preprocess | str | Mapping[str, Any] | Callable[[ir.Model], Preprocess | None] | None"
"""What a caller may give: all of it, a preset's name, settings with or without a `preset`, a function, or nothing."""


def image_input(model: ir.Model) -> ir.Value:
    """Return the model's input: a picture, a sequence (1, C, L) or a volume (1, C, D, H, W), of floats or uint8.

    A picture is (1, C, H, W) or as TensorFlow has it (1, H, W, C). Of several inputs it is the one in grey or colour,
    else the one picture of any channels.

    Raises:
        ModelError: The model has no such input, or several.
    """
    inputs = [value for value in model.graph.inputs if may_be_image(value)]
    shapes = {value: static_shape(value) for value in inputs}
    batched = [value for value in inputs if len(shapes[value]) in (3, 4, 5) and shapes[value][0] == 1]
    pictures = [value for value in batched if len(shapes[value]) == 4]
    plain = [value for value in pictures if {shapes[value][1], shapes[value][3]} & set(PICTURE_CHANNELS)]
    found = plain or pictures or batched
    if len(found) != 1:
        listed = ", ".join(f"{value.name!r} {shape}" for value, shape in shapes.items()) or "none"
        advice = "fix the others with `fix`" if found else "export the model with a batch of 1 or a dynamic one"
        raise ModelError(
            f"inputs of floats or uint8: {listed}; exactly one picture (1, C, H, W) or (1, H, W, C), or one sequence or"
            f" volume, is expected; {advice}"
        )
    return found[0]


def decide_preprocess(model: ir.Model, site: ScoreSite, given: Given = None) -> tuple[Preprocess | None, Decision]:
    """Decide how a frame becomes the input.

    Args:
        model: In normal form.
        site: Where the score is: what the network does, and a detector's layout.
        given: What the caller says; what it leaves open is as evidence has it.

    Returns:
        The preprocessing, None where the input is a sequence or a volume, which comes as a tensor; and the decision.

    Raises:
        UsageError: There is no such preset or setting, or the input is no picture and something is given.
    """
    image = image_input(model)
    shape, said = static_shape(image), read_ultralytics(model.metadata_props)
    if given is not None and not isinstance(given, (str, Mapping)):
        preprocess = given if isinstance(given, Preprocess) else given(model)
        if preprocess is not None:
            _require_fitting(preprocess, image)
        return preprocess, _decision(preprocess, "asked for", "asked")
    settings = {"preset": given} if isinstance(given, str) else dict(given or {})
    preset = settings.pop("preset", None)
    if unknown := next((name for name in settings if name not in SETTINGS), None):
        raise UsageError(f"`preprocess`: no setting {unknown!r}. {did_you_mean(unknown, ('preset', *SETTINGS))}")
    if len(shape) != 4:
        if preset is not None or settings:
            raise UsageError(f"`preprocess={preset or settings!r}`: the input {shape} is no picture; leave it out")
        return None, _decision(None, f"the input {shape} is no picture", "graph")
    if preset is None and said is not None:
        chosen = _chosen(image, _of_ultralytics(image, said), settings)
        against = f"its metadata say imgsz {said.size}" if said.size not in (None, chosen.size) else ""
        return chosen, _decision(chosen, "the model's metadata, as Ultralytics' own predict does", "metadata", against)
    usual: dict[str, Any] = {}
    source: Source = "asked"
    evidence = "asked for"
    if preset is None:
        preset, usual, evidence, source = _likeliest(model, image, site)
        if {"mean", "std", "resize"} <= settings.keys():
            evidence, source = "asked for", "asked"
        elif settings:
            evidence = f"{', '.join(settings)} asked for, the rest: {evidence}"
    chosen = _chosen(image, _entries(image, preset, usual, settings), settings)
    return chosen, _decision(chosen, evidence, source)


def _likeliest(model: ir.Model, image: ir.Value, site: ScoreSite) -> tuple[str, dict[str, Any], str, Source]:
    """Return the likeliest preset, what is usual in place of what it has, the evidence and its source.

    The numbers are by what the graph subtracts and divides by itself, by the layout of a detector, or by who wrote the
    file and for what; and the size by the task: classifiers of square pictures see the centre, all others the whole
    frame, embeddings too, which are compared with those of whole pictures.
    """
    channels, height, width = _sizes(image)
    layout, shape = site.layout, static_shape(image)
    is_of_paddle = "PaddlePaddle" in f"{model.producer_name} {model.graph.name}"  # its converter names one or the other
    resize: ResizeRule = "crop" if site.task == "classify" and height == width else "stretch"
    if site.task == "detect" and layout not in STRETCHED:
        resize = "letterbox"
    nature = f"a detector of layout {layout}" if layout else f"task {site.task}"
    if (inside := _inside(image)) is not None:
        return (
            inside,
            {"resize": resize},
            f"the graph itself normalises pixels; {resize} is usual for {nature}",
            "assumed",
        )
    if layout in BY_LAYOUT:
        preset = BY_LAYOUT[layout]
    elif channels not in PICTURE_CHANNELS:
        return "unit", {}, f"usual for {channels} channels; the model does not say", "assumed"
    elif site.place is not None and site.place.form == "yxyx":
        preset, resize, nature = "tf", "stretch", f"{nature} with boxes in TensorFlow's order"
    elif is_channels_last(shape):
        preset, nature = "tf", f"{nature}, channels last"
    elif model.producer_name == "onnx-caffe2":
        preset, nature = "caffe", f"{nature}, written by Caffe2"
    elif site.task == "sequence" or (width >= LINE * height and is_of_paddle):
        preset, nature = "paddleocr", "lines of text"
    elif site.task == "segment" and site.score.classes == 1 and is_of_paddle:
        preset, nature = "paddleocr-det", "one map of where text is, written by Paddle"
    elif not layout and (family := family_of(model)) is not None:
        antialiased = PRESETS[family.preset].get("interpolation", "pil-bilinear")  # as PyTorch's networks have it
        usual = {"resize": family.resize or resize, "interpolation": antialiased}
        evidence = f"usual for {family.name}, as its modules are named; the model does not say"
        return family.preset, usual, evidence, "assumed"
    elif _is_padded_as_tensorflow(image):
        preset, nature = "tf", f"{nature}, padded as TensorFlow does it"
    else:
        preset = "imagenet"
    return preset, {"resize": resize}, f"usual for {nature}; the model does not say", "assumed"


def _inside(image: ir.Value) -> str | None:
    """Return `unit` or `raw` where the graph begins with a normalisation of pixels in 0 to 1 or in 0 to 255."""
    if not is_float(image):
        return "raw"
    value, mean, deviation = image, 0.0, 1.0  # the graph has (image - mean) / deviation so far
    while len(value.uses()) == 1 and (node := next(iter(value.uses())).node).op_type in BEFORE_PIXELS:
        if len(node.outputs) > 1:
            break
        if node.op_type in ("Sub", "Add", "Mul", "Div"):
            number = constant_array(node.inputs[1]) if node.inputs[0] is value else None
            if number is None or not is_static(node.outputs[0]) or number.size > PICTURE_CHANNELS[-1]:
                break
            c = float(np.mean(number))
            if node.op_type in ("Sub", "Add"):
                mean += deviation * (c if node.op_type == "Sub" else -c)
            else:
                deviation = deviation * c if node.op_type == "Div" else deviation / c if c else np.inf
        value = node.outputs[0]
    if 40 <= deviation <= 260:
        return "raw"
    return "unit" if 0.15 <= deviation <= 0.55 and 0.3 <= mean <= 0.6 else None


def _is_padded_as_tensorflow(image: ir.Value) -> bool:
    """Return whether the first convolution has more padding behind the picture than in front of it."""
    value = image
    while len(value.uses()) == 1 and (node := next(iter(value.uses())).node).op_type in BEFORE_PIXELS | {"Pad", "Conv"}:
        if node.op_type in ("Pad", "Conv"):
            pads = constant_array(node.inputs[1]) if node.op_type == "Pad" else node.attributes.get_ints("pads", ())
            half = 0 if pads is None else len(pads) // 2
            if half and any(a < b for a, b in zip(pads[:half], pads[half:], strict=True)):  # type: ignore[index]
                return True
        if node.op_type == "Conv" or len(node.outputs) > 1:
            break
        value = node.outputs[0]
    return False


def default_preprocess(model: ir.Model, preset: str | None = None) -> Preprocess | None:
    """Return the preprocessing of a preset; without one that of Ultralytics' metadata, else of a classifier.

    None where the input is a sequence or a volume: these come as tensors.

    Raises:
        UsageError: No preset has that name, or the input is no picture.
    """
    shape = static_shape(image := image_input(model))
    if len(shape) != 4:
        if preset is not None:
            raise UsageError(f"`preset={preset!r}`: input {image.name!r} {shape} is no picture")
        return None
    said = read_ultralytics(model.metadata_props)
    if preset is None and said is not None:
        return _chosen(image, _of_ultralytics(image, said), {})
    usual = "tf" if is_channels_last(shape) else "imagenet" if shape[1] in PICTURE_CHANNELS else "unit"
    return _chosen(image, _entries(image, preset or usual, {}, {}), {})


def _sizes(image: ir.Value) -> tuple[int, int, int]:
    """Return channels, height and width of a picture."""
    shape = static_shape(image)
    return (shape[3], *shape[1:3]) if is_channels_last(shape) else shape[1:]  # type: ignore[return-value]


def _of_ultralytics(image: ir.Value, said: Ultralytics) -> dict[str, Any]:
    """Return the entries of what Ultralytics' own predict does."""
    channels, *size = _sizes(image)
    layout: TensorLayout = "NHWC" if is_channels_last(static_shape(image)) else "NCHW"
    rule = predict_preprocess(said, str(image.name), (size[0], size[1]), layout, channels)
    return {name: getattr(rule, name) for name in ("color", "resize", "short_side", "interpolation", "mean", "std")}


def _entries(image: ir.Value, preset: str, usual: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a preset, but for what is usual in their place, that fit an input.

    Raises:
        UsageError: There is no such preset, or its numbers do not fit the input's channels.
    """
    if preset not in PRESETS:
        raise UsageError(f"`preset={preset!r}`: no such preset. {did_you_mean(preset, PRESETS)}")
    entries = {**PRESETS[preset], **usual}
    return entries | _fitted(entries, image, _sizes(image)[0], settings)


def _chosen(image: ir.Value, entries: Mapping[str, Any], settings: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing of these entries, but for some settings.

    Raises:
        UsageError: A setting does not fit the input.
    """
    entries, (channels, height, width) = {**entries, **settings}, _sizes(image)
    if entries["resize"] == "crop" and "short_side" not in entries:
        entries["short_side"] = round(max(height, width) * CROP_RATIO)
    for name in ("mean", "std"):
        numbers = entries[name] = tuple(entries[name]) * (channels if len(entries[name]) == 1 else 1)
        if len(numbers) != channels or not np.isfinite(numbers).all() or (name == "std" and 0 in numbers):
            zero = ", none of them 0," if name == "std" else ""
            shown = ",".join(f"{number:g}" for number in numbers)
            raise UsageError(
                f"`{name}={shown!r}`: {channels} numbers{zero} are expected, one per channel, or one for all"
            )
    side = entries.get("short_side", 0)
    if entries["resize"] == "crop" and side < max(height, width):
        raise UsageError(f"`short_side={side}`: less than the input's {max(height, width)} px; give at least that")
    units, shown = entries.get("units", "levels"), entries.get("shown", ())
    if units not in get_args(PixelUnits):
        raise UsageError(f"`units={units!r}`: no such units. {did_you_mean(units, get_args(PixelUnits))}")
    if not all(0 <= channel < channels for channel in shown):
        listed = ",".join(map(str, shown))
        raise UsageError(f"`shown={listed!r}`: three channels of 0 to {channels - 1} are expected, as in 2,1,0")
    if "shown" in settings and entries["color"] != "BANDS":
        listed = ",".join(map(str, shown))
        raise UsageError(f"`shown={listed!r}`: the input is in {entries['color']}; it is for inputs of other channels")
    layout: TensorLayout = "NHWC" if is_channels_last(static_shape(image)) else "NCHW"
    chosen = Preprocess(input=str(image.name), size=(height, width), layout=layout, **entries)
    _require_fitting(chosen, image)
    return chosen


def _fitted(entries: Mapping[str, Any], image: ir.Value, channels: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a preset that fit an input: its channels, and its type.

    An input of uint8 takes pixels as they are. For other channels than one and three a preset's numbers stand as far as
    they are the same for all.

    Raises:
        UsageError: The preset has numbers for red, green and blue, and the input other channels.
    """
    numbers = {name: entries[name] for name in ("mean", "std")}
    if image.dtype == ir.DataType.UINT8:
        numbers = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    if channels == 3:
        return numbers
    for name, values in numbers.items():
        if channels != 1 and len(set(values)) > 1 and name not in settings:
            raise UsageError(
                f"input {image.name!r}: the preset has numbers for red, green and blue, the input {channels} channels;"
                " take `preset='unit'`, or give `mean` and `std` with it"
            )
    color = "GRAY" if channels == 1 else "BANDS"
    return {"color": color, **{name: values[:1] * channels for name, values in numbers.items()}}


def _require_fitting(preprocess: Preprocess, image: ir.Value) -> None:
    """Raise unless a preprocessing gives what the input takes.

    Raises:
        UsageError: Its tensor has another shape, or its numbers change the pixels that the input takes as they are.
    """
    if preprocess.shape != static_shape(image):
        raise UsageError(
            f"`preprocess`: it gives a tensor {preprocess.shape}, the input {image.name!r} takes {static_shape(image)}"
        )
    as_they_are = set(preprocess.mean) == {0} and set(preprocess.std) == {1}
    if image.dtype == ir.DataType.UINT8 and not as_they_are:
        raise UsageError(
            f"`mean`, `std`: the input {image.name!r} takes pixels in uint8, which the model preprocesses itself;"
            " export without them"
        )


def _decision(preprocess: Preprocess | None, evidence: str, source: Source, conflict: str = "") -> Decision:
    """Return the decision on a preprocessing, described."""
    if preprocess is None:
        return Decision("preprocessing", "none, tensors are taken as they are", evidence, "preprocess", source)
    mean, std = (", ".join(f"{x:g}" for x in dict.fromkeys(numbers)) for numbers in (preprocess.mean, preprocess.std))
    size = f"{preprocess.size[1]}x{preprocess.size[0]}"
    shown = f"{preprocess.resize} to {size}, {preprocess.color}, mean {mean}, std {std}"
    return Decision("preprocessing", shown, evidence, "preprocess", source, conflict)
