"""Detectors that leave decoding to the host, small enough for finite differences, and what the host does in NumPy.

The networks are those of `tiny_detectors`. Each decoder is written as the deployment code of its kind has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import tiny_detectors as tiny
from onnx_graphs import model
from tiny_detectors import CLASSES, GRIDS, STRIDES, Graph

Array = NDArray[Any]
Outputs = Mapping[str, Array]
BINS = 8


@dataclass(frozen=True)
class Heads:
    """A detector.

    Attributes:
        layout: Its layout's name.
        build: Makes the graph; returns the names of the outputs.
        decode: Probabilities (anchors, classes) and corners (anchors, 4) in px of the model's own outputs.
        asked: The layout that has to be asked for.
        most: How many objects there are, where not one per anchor.
    """

    layout: str
    build: Callable[[Graph], list[str]]
    decode: Callable[[Outputs], tuple[Array, Array]]
    asked: str | None = None

    def files(self) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        """Return the detector, and its part behind `p0`."""
        graph = Graph()
        tiny.scales(graph)
        outputs = self.build(graph)
        behind = [item for item in graph.nodes if item.name not in ("c0", "p0")]
        images = (("x", tiny.IMAGE, graph.nodes), ("p0", (1, tiny.CHANNELS, 4, 4), behind))
        return tuple(
            model(nodes, {name: np.zeros(shape, np.float32)}, tiny._read(graph, nodes), outputs)
            for name, shape, nodes in images
        )  # type: ignore[return-value]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def corners(centre: Array, size: Array) -> Array:
    """(n, 4) of centres and sizes (n, 2)."""
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def grid(n: int) -> Array:
    """Column and row of n x n cells, row by row: (n * n, 2)."""
    return np.array([(x, y) for y in range(n) for x in range(n)], float)


def sides(spread: Array, n: int, stride: int, offset: float = 0.5) -> Array:
    """Corners of distributions (cells, 4 * bins): the mean of each side from the middle of a cell."""
    powers = np.exp(spread.reshape(n * n, 4, -1))
    lengths = (powers / powers.sum(axis=2, keepdims=True) * np.arange(powers.shape[2])).sum(axis=2) * stride
    middle = (grid(n) + offset) * stride
    return np.concatenate([middle - lengths[:, :2], middle + lengths[:, 2:]], axis=1)


def picodet(graph: Graph) -> list[str]:
    """(1, cells, classes) and (1, cells, 4 * bins) per scale, as PaddleDetection exports them."""
    outputs: dict[str, list[str]] = {"score": [], "box": []}
    for i, n in enumerate(GRIDS):
        for kind, columns in (("score", CLASSES), ("box", 4 * BINS)):
            value = graph.conv(f"p{i}", f"{kind}{i}", columns, 10 * len(kind) + i, gain=2)
            value = graph.op("Transpose", [value], f"{kind}{i}_last", perm=[0, 2, 3, 1])
            value = graph.op("Sigmoid", [value], f"{kind}{i}_shares") if kind == "score" else value
            outputs[kind].append(graph.reshape(value, f"{kind}s_{n}", 1, n * n, columns))
    return outputs["score"] + outputs["box"]


def picodet_decode(outputs: Outputs) -> tuple[Array, Array]:
    """`PicoDetPostProcess`."""
    shares = [outputs[f"scores_{n}"][0] for n in GRIDS]
    boxes = [sides(outputs[f"boxs_{n}"][0], n, stride) for n, stride in zip(GRIDS, STRIDES, strict=True)]
    return np.concatenate(shares), np.concatenate(boxes)


def nanodet(graph: Graph) -> list[str]:
    """(1, cells of all scales, classes + 4 * bins): one convolution per scale predicts both."""
    parts = []
    for i, n in enumerate(GRIDS):
        value = graph.conv(f"p{i}", f"all{i}", CLASSES + 4 * BINS, 10 + i, gain=2)
        graph.op("Split", [value, np.array([CLASSES, 4 * BINS])], f"cls{i} reg{i}", axis=1)
        joined = graph.op("Concat", [graph.op("Sigmoid", [f"cls{i}"], f"cls{i}_shares"), f"reg{i}"], f"out{i}", axis=1)
        parts.append(graph.reshape(joined, f"out{i}_flat", 1, CLASSES + 4 * BINS, n * n))
    graph.op("Transpose", [graph.op("Concat", parts, "joined", axis=2)], "output", perm=[0, 2, 1])
    return ["output"]


def nanodet_decode(outputs: Outputs) -> tuple[Array, Array]:
    """NanoDet's head: centres of cells at i + 0.5."""
    table, boxes, first = outputs["output"][0], [], 0
    for n, stride in zip(GRIDS, STRIDES, strict=True):
        boxes.append(sides(table[first : first + n * n, CLASSES:], n, stride))
        first += n * n
    return table[:, :CLASSES], np.concatenate(boxes)


def yolov8_heads(graph: Graph) -> list[str]:
    """(1, 4 * 16, h, w) and (1, classes, h, w) per scale, logits: YOLOv8 cut in front of its decoding."""
    outputs = []
    for i, n in enumerate(GRIDS):
        outputs += [
            graph.conv(f"p{i}", f"reg_{n}", 64, 10 + i, gain=2),
            graph.conv(f"p{i}", f"cls_{n}", CLASSES, 20 + i),
        ]
    return outputs


def yolov8_decode(outputs: Outputs) -> tuple[Array, Array]:
    """Ultralytics' `DFL` and `dist2bbox`."""
    shares, boxes = [], []
    for n, stride in zip(GRIDS, STRIDES, strict=True):
        shares.append(sigmoid(outputs[f"cls_{n}"].reshape(CLASSES, -1).T))
        boxes.append(sides(outputs[f"reg_{n}"].reshape(64, -1).T, n, stride))
    return np.concatenate(shares), np.concatenate(boxes)


def centernet(graph: Graph) -> list[str]:
    """(1, classes, 4, 4), sigmoids, beside sizes and offsets (1, 2, 4, 4)."""
    graph.op("Sigmoid", [graph.conv("p0", "hm_logits", CLASSES, 10, gain=3)], "hm")
    graph.conv("p0", "wh", 2, 11)
    graph.conv("p0", "reg", 2, 12)
    return ["reg", "hm", "wh"]


def centernet_decode(outputs: Outputs) -> tuple[Array, Array]:
    """`ctdet_decode`: only peaks count."""
    heat, stride = outputs["hm"][0], 8
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    around = np.max([padded[:, y : y + 4, x : x + 4] for y in range(3) for x in range(3)], axis=0)
    centre = (grid(4) + outputs["reg"].reshape(2, -1).T) * stride
    return np.where(heat == around, heat, 0).reshape(CLASSES, -1).T, corners(
        centre, outputs["wh"].reshape(2, -1).T * stride
    )


def yolox_heads(graph: Graph) -> list[str]:
    """(1, 5 + classes, h, w) per scale: box, objectness and classes of a convolution each, all as they are."""
    outputs = []
    for i, n in enumerate(GRIDS):
        parts = [graph.conv(f"p{i}", f"{kind}{i}", size, seed + i) for kind, size, seed in HEAD]
        outputs.append(graph.op("Concat", parts, f"head_{n}", axis=1))
    return outputs


def yolox_apart(graph: Graph) -> list[str]:
    """Box (1, 4, h, w), objectness (1, 1, h, w) and classes (1, classes, h, w) per scale, the last two sigmoids."""
    outputs = []
    for i, n in enumerate(GRIDS):
        for kind, size, seed in HEAD:
            value = graph.conv(f"p{i}", f"{kind}_{n}" if kind == "reg" else f"{kind}{i}", size, seed + i)
            outputs.append(value if kind == "reg" else graph.op("Sigmoid", [value], f"{kind}_{n}"))
    return outputs


HEAD = (("reg", 4, 10), ("obj", 1, 30), ("cls", CLASSES, 20))


def yolox_decode(outputs: Outputs) -> tuple[Array, Array]:
    """YOLOX's `demo_postprocess`."""
    shares, boxes = [], []
    for n, stride in zip(GRIDS, STRIDES, strict=True):
        if f"head_{n}" in outputs:
            row = outputs[f"head_{n}"].reshape(5 + CLASSES, -1).T.astype(float)
            row[:, 4:] = sigmoid(row[:, 4:])
        else:
            row = np.concatenate([outputs[f"{kind}_{n}"][0].reshape(size, -1) for kind, size, _ in HEAD]).T
        shares.append(row[:, 4:5] * row[:, 5:])
        boxes.append(corners((row[:, :2] + grid(n)) * stride, np.exp(row[:, 2:4]) * stride))
    return np.concatenate(shares), np.concatenate(boxes)


def anchored(graph: Graph, last: bool) -> list[str]:
    """(1, 3, h, w, 5 + classes), or (1, 3 * (5 + classes), h, w), per scale."""
    outputs, columns = [], 5 + CLASSES
    for i, n in enumerate(GRIDS):
        value = graph.conv(f"p{i}", f"conv{i}" if last else f"head_{n}", 3 * columns, 10 + i)
        if last:
            value = graph.reshape(value, f"apart{i}", 1, 3, columns, n, n)
            value = graph.op("Transpose", [value], f"head_{n}", perm=[0, 1, 3, 4, 2])
        outputs.append(value)
    return outputs


def anchored_decode(outputs: Outputs, anchors: Array) -> tuple[Array, Array]:
    """`Detect.forward` of YOLOv5 and v7; anchors are (scales, 3, 2)."""
    shares, boxes, columns = [], [], 5 + CLASSES
    for n, stride, sizes in zip(GRIDS, STRIDES, anchors, strict=True):
        head = outputs[f"head_{n}"]
        if head.ndim == 4:
            head = head.reshape(1, 3, columns, n, n).transpose(0, 1, 3, 4, 2)
        for of_anchor, size in zip(sigmoid(head[0].astype(float)).reshape(3, n * n, columns), sizes, strict=True):
            shares.append(of_anchor[:, 4:5] * of_anchor[:, 5:])
            centre = (of_anchor[:, :2] * 2 - 0.5 + grid(n)) * stride
            boxes.append(corners(centre, (of_anchor[:, 2:4] * 2) ** 2 * size))
    return np.concatenate(shares), np.concatenate(boxes)


V5 = np.array([10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326.0]).reshape(3, 3, 2)
V7 = np.array([12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401.0]).reshape(3, 3, 2)


def blazeface(graph: Graph) -> list[str]:
    """(1, anchors, 1) and (1, anchors, 16) at strides 8 and 16: two anchors per cell, then six."""
    outputs: dict[str, list[str]] = {"score": [], "box": []}
    for i, count in ((0, 2), (1, 6)):
        for kind, columns in (("score", 1), ("box", 16)):
            value = graph.conv(f"p{i}", f"{kind}{i}", count * columns, 10 * len(kind) + i)
            value = graph.op("Transpose", [value], f"{kind}{i}_last", perm=[0, 2, 3, 1])
            outputs[kind].append(graph.reshape(value, f"{kind}s_{i}", 1, GRIDS[i] ** 2 * count, columns))
    return outputs["score"] + outputs["box"]


def blazeface_decode(outputs: Outputs) -> tuple[Array, Array]:
    """MediaPipe's `TensorsToDetectionsCalculator`, anchors of fixed size."""
    shares = sigmoid(np.concatenate([outputs["scores_0"][0], outputs["scores_1"][0]]).astype(float))
    numbers = np.concatenate([outputs["boxs_0"][0], outputs["boxs_1"][0]])[:, :4]
    anchors = [(cell + 0.5) * stride for i, stride, count in ((0, 8, 2), (1, 16, 6)) for cell in grid(GRIDS[i])
               for _ in range(count)]  # fmt: skip
    return shares, corners(np.array(anchors) + numbers[:, :2], numbers[:, 2:])


HEADS = {
    "picodet": Heads("nanodet", picodet, picodet_decode),
    "nanodet": Heads("nanodet", nanodet, nanodet_decode),
    "yolov8": Heads("nanodet", yolov8_heads, yolov8_decode),
    "centernet": Heads("centernet", centernet, centernet_decode),
    "yolox": Heads("yolox", yolox_heads, yolox_decode),
    "yolox-apart": Heads("yolox", yolox_apart, yolox_decode),
    "yolov5": Heads("yolov5", lambda g: anchored(g, True), lambda y: anchored_decode(y, V5), "yolov5"),
    "yolov7": Heads("yolov7", lambda g: anchored(g, False), lambda y: anchored_decode(y, V7), "yolov7"),
    "blazeface": Heads("blazeface", blazeface, blazeface_decode),
}
