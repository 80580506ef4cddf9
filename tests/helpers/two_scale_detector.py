"""A detector of two scales as Ultralytics exports it, wired in three ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_graphs import f32, model, node

IMAGE = np.zeros((1, 3, 16, 16), np.float32)
STEM = [node("Conv", ["x", "stem"], ["a"], name="stem", strides=[4, 4])]
STEM_WEIGHTS = {"stem": f32(4, 3, 4, 4) / 4}

WIRINGS = ("coupled", "joined", "separate")
LABELS, GRIDS = 3, ((4, 4), (2, 2))
ANCHORS = sum(rows * columns for rows, columns in GRIDS)


def detector_head(wiring: str) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]:
    """From the scales `p0` and `p1` to the output (1, 4 + 3, 20) of an Ultralytics export.

    coupled: one convolution per scale for boxes and classes, scales joined, then Split.
    joined: as Ultralytics has it: a convolution each, Concat per scale, scales joined, then Split.
    separate: boxes of all scales joined, classes of all scales joined.
    """
    nodes, constants = [], {"parts": np.array([4, LABELS])}
    views: dict[str, list[str]] = {"both": [], "box": [], "cls": []}

    def convolve(scale: int, kind: str, channels: int) -> str:
        constants[f"{kind}{scale}_w"] = f32(channels, 4, 1, 1, seed=scale)
        constants[f"{kind}{scale}_b"] = f32(channels, seed=scale)
        names = [f"n{scale}", f"{kind}{scale}_w", f"{kind}{scale}_b"]
        nodes.append(node("Conv", names, [f"{kind}{scale}"], name=f"{kind}{scale}"))
        return f"{kind}{scale}"

    def flatten(scale: int, value: str, kind: str, channels: int) -> None:
        constants[f"{kind}_view{scale}"] = np.array([1, channels, -1])
        nodes.append(node("Reshape", [value, f"{kind}_view{scale}"], [f"{value}_flat"]))
        views[kind].append(f"{value}_flat")

    for scale in range(len(GRIDS)):
        nodes.append(node("Sigmoid", [f"p{scale}"], [f"n{scale}"], name=f"neck{scale}"))
        if wiring == "coupled":
            flatten(scale, convolve(scale, "both", 4 + LABELS), "both", 4 + LABELS)
        else:
            box, cls = convolve(scale, "box", 4), convolve(scale, "cls", LABELS)
            if wiring == "separate":
                flatten(scale, box, "box", 4)
                flatten(scale, cls, "cls", LABELS)
            else:
                nodes.append(node("Concat", [box, cls], [f"both{scale}"], axis=1))
                flatten(scale, f"both{scale}", "both", 4 + LABELS)
    if wiring == "separate":
        nodes.append(node("Concat", views["box"], ["boxes"], axis=2))
        nodes.append(node("Concat", views["cls"], ["logits"], axis=-1))
    else:
        nodes.append(node("Concat", views["both"], ["all"], axis=2))
        nodes.append(node("Split", ["all", "parts"], ["boxes", "logits"], axis=1))
    nodes.append(node("Sigmoid", ["logits"], ["shares"]))
    nodes.append(node("Concat", ["boxes", "shares"], ["output0"], axis=1))
    return nodes, constants


def detector(wiring: str) -> onnx.ModelProto:
    """A network of two scales, 4x4 and 2x2, the second computed from the first."""
    head, constants = detector_head(wiring)
    constants = {**STEM_WEIGHTS, "k0": f32(4, 4, 1, 1), "k1": f32(4, 4, 2, 2) / 2, **constants}
    nodes = [
        *STEM,
        node("Conv", ["a", "k0"], ["p0"], name="scale0"),
        node("Conv", ["p0", "k1"], ["p1"], name="scale1", strides=[2, 2]),
        *head,
    ]
    read = {name for item in nodes for name in item.input}
    used = {name: array for name, array in constants.items() if name in read}
    return model(nodes, {"x": IMAGE}, used, ["output0"])


def ultralytics(names: str, task: str = "detect", wiring: str = "joined") -> onnx.ModelProto:
    """Return the detector with the metadata that Ultralytics writes."""
    proto = detector(wiring)
    helper.set_model_props(proto, {"names": names, "stride": "32", "task": task, "imgsz": "[16, 16]"})
    return proto
