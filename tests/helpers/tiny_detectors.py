"""A detector per layout of outputs, small enough for finite differences: 32x32 px, scales of 4x4, 2x2 and 1x1 cells.

Every number is computed as the real ones compute theirs, by the same kind of nodes in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_graphs import f32, model

Array = NDArray[Any]
IMAGE = (1, 3, 32, 32)
CHANNELS, CLASSES, QUERIES, FINISHED = 4, 3, 6, 5
GRIDS, STRIDES = (4, 2, 1), (8, 16, 32)
CELLS = sum(grid * grid for grid in GRIDS)
CENTRES = np.concatenate(
    [np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) for n in GRIDS]
).astype(np.float32)
"""Column and row of every cell, scale by scale."""

STEPS = np.concatenate([np.full((n * n, 1), stride) for n, stride in zip(GRIDS, STRIDES, strict=True)]).astype(
    np.float32
)


@dataclass
class Graph:
    """Nodes and constants under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def op(self, kind: str, inputs: Sequence[Any], output: str, **attributes: Any) -> str:
        """A node; arrays among the inputs become constants. Several outputs are given with spaces between."""
        names = []
        for i, item in enumerate(inputs):
            if not isinstance(item, str):
                self.constants[f"{output.split()[0]}_{i}"] = np.asarray(item)
                item = f"{output.split()[0]}_{i}"
            names.append(item)
        self.nodes.append(helper.make_node(kind, names, output.split(), name=output.split()[0], **attributes))
        return output

    def conv(self, x: str, output: str, channels: int, seed: int, size: int = 1, gain: float = 1.0) -> str:
        """A convolution whose stride is its size."""
        before = 3 if x == "x" else CHANNELS
        weights = [gain * f32(channels, before, size, size, seed=seed), f32(channels, seed=seed + 50)]
        return self.op("Conv", [x, *weights], output, strides=[size, size])

    def rename(self, name: str) -> None:
        """Give the last node and its output another name."""
        self.nodes[-1].name = self.nodes[-1].output[0] = name

    def reshape(self, x: str, output: str, *shape: int) -> str:
        """A Reshape to constant sizes."""
        return self.op("Reshape", [x, np.array(shape)], output)


def scales(graph: Graph) -> None:
    """`p0`, `p1`, `p2` from `x`, each of the one before."""
    graph.conv("x", "c0", CHANNELS, 1, 8, 0.2)
    graph.op("Sigmoid", ["c0"], "p0")
    for i in (1, 2):
        graph.conv(f"p{i - 1}", f"c{i}", CHANNELS, i + 1, 2)
        graph.op("Sigmoid", [f"c{i}"], f"p{i}")


def rows(graph: Graph, kind: str, columns: int, seed: int, last: bool = True) -> str:
    """A head per scale, joined: (1, cells, columns), or (1, columns, cells)."""
    parts = []
    for i, n in enumerate(GRIDS):
        value = graph.conv(f"p{i}", f"{kind}{i}", columns, seed + i)
        if last:
            value = graph.op("Transpose", [value], f"{kind}{i}_last", perm=[0, 2, 3, 1])
        parts.append(graph.reshape(value, f"{kind}{i}_rows", 1, *((n * n, columns) if last else (columns, n * n))))
    return graph.op("Concat", parts, kind, axis=1 if last else 2)


def yolov8(graph: Graph) -> None:
    """(1, 4 + classes, cells)."""
    boxes = graph.op("Mul", [rows(graph, "reg", 4, 10, False), STEPS.reshape(1, 1, -1)], "boxes")
    shares = graph.op("Sigmoid", [rows(graph, "cls", CLASSES, 20, False)], "shares")
    graph.op("Concat", [boxes, shares], "y", axis=1)


def yolov8_last(graph: Graph) -> None:
    """The transpose of that."""
    yolov8(graph)
    graph.rename("joined")
    graph.op("Transpose", ["joined"], "y", perm=[0, 2, 1])


def _around_cells(graph: Graph, output: str = "boxes") -> str:
    """(1, 4, cells): centre and size in px, near the middle of each cell."""
    graph.op("Split", [rows(graph, "reg", 4, 10, False), np.array([2, 2])], "shift growth", axis=1)
    middle, steps = ((CENTRES + 0.5) * STEPS).T[None], STEPS.reshape(1, 1, -1)
    centre = graph.op("Add", [graph.op("Mul", ["shift", 0.1 * steps], "shift_px"), middle], "centre")
    size = graph.op("Mul", [graph.op("Exp", ["growth"], "grown"), steps], "size_px")
    return graph.op("Concat", [centre, size], output, axis=1)


def yolov8_logits(graph: Graph) -> None:
    """(1, 4 + classes, cells): the sigmoids are left to the host."""
    graph.op("Concat", [_around_cells(graph), rows(graph, "cls", CLASSES, 20, False)], "y", axis=1)


def yolov8_product(graph: Graph) -> None:
    """(1, cells, 4 + classes): an objectness, multiplied in, has no column of its own."""
    boxes = _around_cells(graph)
    shares = graph.op("Sigmoid", [rows(graph, "cls", CLASSES, 20, False)], "shares")
    sure = graph.op("Sigmoid", [rows(graph, "obj", 1, 30, False)], "sure")
    joined = graph.op("Concat", [boxes, graph.op("Mul", [shares, sure], "product")], "joined", axis=1)
    graph.op("Transpose", [joined], "y", perm=[0, 2, 1])


def yolox_logits(graph: Graph) -> None:
    """(1, cells, 5 + classes): boxes decoded, the logits of objectness and classes left to the host."""
    parts = [_around_cells(graph), rows(graph, "obj", 1, 30, False), rows(graph, "cls", CLASSES, 20, False)]
    graph.op("Transpose", [graph.op("Concat", parts, "joined", axis=1)], "y", perm=[0, 2, 1])


def _with_extras(graph: Graph, extras: str) -> None:
    """`y` of YOLOv8 with what an object has beside its box."""
    yolov8(graph)
    graph.rename("plain")
    graph.op("Concat", ["plain", extras], "y", axis=1)


def yolov8_segment(graph: Graph) -> None:
    """(1, 4 + classes + 2, cells), and prototypes (1, 2, 8, 8)."""
    _with_extras(graph, rows(graph, "coefficients", 2, 40, False))
    _prototypes(graph)


def _prototypes(graph: Graph) -> None:
    twice = graph.op("Resize", ["p0", "", np.array([1, 1, 2, 2], np.float32)], "twice", mode="nearest")
    graph.conv(twice, "prototypes", 2, 50)


def yolov8_pose(graph: Graph) -> None:
    """(1, 4 + classes + 2 * 3, cells): two keypoints, decoded as Ultralytics does it."""
    points = graph.reshape(rows(graph, "points", 6, 40, False), "points_apart", 1, 2, 3, CELLS)
    graph.op("Split", [points, np.array([2, 1])], "shift sure", axis=2)
    twice = graph.op("Mul", ["shift", np.float32(2)], "shift_twice")
    moved = graph.op("Add", [twice, CENTRES.T[None, None]], "moved")
    px = graph.op("Mul", [moved, STEPS.reshape(1, 1, 1, -1)], "points_px")
    shown = graph.op("Sigmoid", ["sure"], "shown")
    _with_extras(graph, graph.reshape(graph.op("Concat", [px, shown], "points_last", axis=2), "extras", 1, 6, CELLS))


def yolov8_obb(graph: Graph) -> None:
    """(1, 4 + classes + 1, cells): the angle last."""
    share = graph.op("Sigmoid", [rows(graph, "angles", 1, 40, False)], "angle_shares")
    moved = graph.op("Sub", [share, np.float32(0.25)], "angle_moved")
    _with_extras(graph, graph.op("Mul", [moved, np.float32(np.pi)], "angle"))


def yolov8_suppressed(graph: Graph) -> None:
    """(1, cells, 6), rows of 0 last: what Ultralytics exports with `nms=True`; the `table` in front holds corners."""
    sides = graph.op("Exp", [rows(graph, "reg", 4, 10, False)], "sides")
    graph.op("Split", [graph.op("Mul", [sides, np.float32(4)], "sides_px"), np.array([2, 2])], "lt rb", axis=1)
    middle = ((CENTRES + 0.5) * STEPS).T[None]
    corners = [graph.op("Sub", [middle, "lt"], "corner"), graph.op("Add", [middle, "rb"], "other_corner")]
    boxes = graph.op("Concat", corners, "corners", axis=1)
    shares = graph.op("Sigmoid", [rows(graph, "cls", CLASSES, 20, False)], "shares")
    graph.op("Concat", [boxes, shares], "joined", axis=1)
    graph.op("Transpose", ["joined"], "table", perm=[0, 2, 1])
    graph.op("Split", ["table", np.array([4, CLASSES])], "all_boxes all_shares", axis=2)
    graph.op("ReduceMax", ["all_shares"], "best_of_all", axes=[2], keepdims=0)
    kind = graph.op("ArgMax", ["all_shares"], "kind_of_all", axis=2, keepdims=0)
    columns = [
        (name, graph.op("Gather", [name, np.array(0)], f"{name}_0")) for name in ("all_boxes", "best_of_all", kind)
    ]
    mask = graph.op("Greater", ["best_of_all_0", np.float32(0.25)], "is_sure")
    places = graph.op("Transpose", [graph.op("NonZero", [mask], "places")], "places_last", perm=[1, 0])
    box, score, kind = (graph.op("GatherND", [value, places], f"{name}_sure") for name, value in columns)
    kind = graph.op("Unsqueeze", [graph.op("Cast", [kind], "kinds", to=1), np.array([1])], "label")
    apart = graph.op("Add", [box, graph.op("Mul", [kind, np.float32(100)], "kind_px")], "apart")
    listed = [
        graph.op("Unsqueeze", [apart, np.array([0])], "apart_3"),
        graph.op("Unsqueeze", [score, np.array([0, 1])], "score_3"),
    ]
    graph.op("NonMaxSuppression", [*listed, np.array([2**31]), np.float32([0.7])], "selected")
    kept = graph.op(
        "Squeeze", [graph.op("Gather", ["selected", np.array([2])], "kept_2", axis=1), np.array([1])], "kept"
    )
    score = graph.op("Unsqueeze", [score, np.array([1])], "score_last")
    row = graph.op("Concat", [graph.op("Gather", [x, kept], f"{x}_kept") for x in (box, score, kind)], "left", axis=1)
    count = graph.op("Slice", [graph.op("Shape", [row], "size"), np.array([0]), np.array([1])], "count")
    short = graph.op("Sub", [np.array([CELLS]), count], "short")
    pads = graph.op("Concat", [np.array([0, 0]), short, np.array([0])], "pads", axis=0)
    graph.reshape(graph.op("Pad", [row, pads], "padded"), "y", 1, CELLS, 6)


def yolov5(graph: Graph) -> None:
    """(1, 3 * cells, 5 + classes): sigmoids scale by scale, boxes decoded with grids and anchors."""
    parts, columns = [], 5 + CLASSES
    for i, (n, stride) in enumerate(zip(GRIDS, STRIDES, strict=True)):
        value = graph.conv(f"p{i}", f"all{i}", 3 * columns, 10 + i, gain=3)
        value = graph.reshape(value, f"all{i}_apart", 1, 3, columns, n, n)
        value = graph.op("Transpose", [value], f"all{i}_last", perm=[0, 1, 3, 4, 2])
        value = graph.op("Sigmoid", [value], f"all{i}_shares")
        graph.op("Split", [value, np.array([2, 2, columns - 4])], f"xy{i} wh{i} conf{i}", axis=4)
        grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).astype(np.float32)
        twice = graph.op("Mul", [f"xy{i}", np.float32(2)], f"xy{i}_twice")
        moved = graph.op("Add", [twice, grid - 0.5], f"xy{i}_moved")
        centre = graph.op("Mul", [moved, np.float32(stride)], f"xy{i}_px")
        anchors = np.array([10, 13, 16, 30, 33, 23], np.float32).reshape(1, 3, 1, 1, 2) * (i + 1)
        wide = graph.op("Mul", [f"wh{i}", np.float32(2)], f"wh{i}_twice")
        size = graph.op("Mul", [graph.op("Pow", [wide, np.float32(2)], f"wh{i}_squared"), anchors], f"wh{i}_px")
        joined = graph.op("Concat", [centre, size, f"conf{i}"], f"scale{i}", axis=4)
        parts.append(graph.reshape(joined, f"scale{i}_rows", 1, 3 * n * n, columns))
    graph.op("Concat", parts, "y", axis=1)


def yolov5_segment(graph: Graph) -> None:
    """(1, 3 * cells, 5 + classes + 2), and prototypes (1, 2, 8, 8)."""
    yolov5(graph)
    graph.rename("plain")
    one = rows(graph, "coefficients", 2, 40)
    all_three = graph.op("Concat", [one, one, one], "coefficients_of_all", axis=1)
    graph.op("Concat", ["plain", all_three], "y", axis=2)
    _prototypes(graph)


def yolox(graph: Graph) -> None:
    """(1, cells, 5 + classes): sigmoids scale by scale, boxes as the heads give them."""
    parts = []
    for i, n in enumerate(GRIDS):
        box = graph.conv(f"p{i}", f"reg{i}", 4, 10 + i, gain=0.3)
        sure = graph.op("Sigmoid", [graph.conv(f"p{i}", f"obj{i}", 1, 30 + i, gain=4)], f"obj{i}_shares")
        kind = graph.op("Sigmoid", [graph.conv(f"p{i}", f"cls{i}", CLASSES, 20 + i)], f"cls{i}_shares")
        joined = graph.op("Concat", [box, sure, kind], f"scale{i}", axis=1)
        parts.append(graph.reshape(joined, f"scale{i}_rows", 1, 5 + CLASSES, n * n))
    graph.op("Transpose", [graph.op("Concat", parts, "joined", axis=2)], "y", perm=[0, 2, 1])


def yolox_decoded(graph: Graph) -> None:
    """The same, with boxes in px."""
    yolox(graph)
    graph.rename("raw")
    graph.op("Split", ["raw", np.array([2, 2, 1 + CLASSES])], "xy wh conf", axis=2)
    centre = graph.op("Mul", [graph.op("Add", ["xy", CENTRES[None]], "xy_moved"), STEPS[None]], "xy_px")
    size = graph.op("Mul", [graph.op("Exp", ["wh"], "wh_cells"), STEPS[None]], "wh_px")
    graph.op("Concat", [centre, size, "conf"], "y", axis=2)


def yolov10_obb(graph: Graph) -> None:
    """(1, boxes, 7): the same with an angle, as YOLO26 has it."""
    yolov10(graph)
    graph.rename("finished")
    angles = rows(graph, "angles", 1, 40)
    place = graph.op("Unsqueeze", ["cell", np.array([2])], "cells_of_angles")
    graph.op("Concat", ["finished", graph.op("GatherElements", [angles, place], "angle", axis=1)], "y", axis=-1)


def yolov10(graph: Graph) -> None:
    """(1, boxes, 6): the best of all classes at all cells, chosen twice, as Ultralytics does it."""
    yolov8_last(graph)
    graph.rename("all")
    graph.op("Split", ["all", np.array([4, CLASSES])], "all_boxes all_shares", axis=-1)
    best = graph.op("ReduceMax", ["all_shares"], "best", axes=[-1], keepdims=0)
    graph.op("TopK", [best, np.array([FINISHED])], "first first_places", axis=1)
    places = graph.op("Unsqueeze", ["first_places", np.array([2])], "places")
    wide = graph.op("Expand", [places, np.array([1, 1, CLASSES])], "places_of_classes")
    shares = graph.op("GatherElements", ["all_shares", wide], "their_shares", axis=1)
    flat = graph.op("Flatten", [shares], "flat", axis=1)
    graph.op("TopK", [flat, np.array([FINISHED])], "second second_places", axis=1)
    kind = graph.op("Mod", ["second_places", np.array(CLASSES)], "kind")
    row = graph.op("Div", ["second_places", np.array(CLASSES)], "row")
    cell = graph.op("GatherElements", ["first_places", row], "cell", axis=1)
    cell = graph.op("Unsqueeze", [cell, np.array([2])], "cells")
    cell = graph.op("Expand", [cell, np.array([1, 1, 4])], "cells_of_boxes")
    box = graph.op("GatherElements", ["all_boxes", cell], "box", axis=1)
    score = graph.op("Unsqueeze", ["second", np.array([2])], "score")
    kind = graph.op("Cast", [graph.op("Unsqueeze", [kind, np.array([2])], "kinds")], "label", to=1)
    graph.op("Concat", [box, score, kind], "y", axis=-1)


def yolov10_agnostic(graph: Graph) -> None:
    """(1, boxes, 6): of every cell the best class alone, as Ultralytics exports it with `agnostic_nms`."""
    yolov8_last(graph)
    graph.rename("all")
    graph.op("Split", ["all", np.array([4, CLASSES])], "all_boxes all_shares", axis=-1)
    best = graph.op("ReduceMax", ["all_shares"], "best", axes=[-1], keepdims=0)
    kind = graph.op("ArgMax", ["all_shares"], "best_kinds", axis=-1, keepdims=0)
    graph.op("TopK", [best, np.array([FINISHED])], "first cell", axis=1)
    kinds = graph.op("Cast", [graph.op("Unsqueeze", [kind, np.array([2])], "kinds")], "all_labels", to=1)
    cells = graph.op("Unsqueeze", ["cell", np.array([2])], "cells")
    label = graph.op("GatherElements", [kinds, cells], "label", axis=1)
    wide = graph.op("Expand", [cells, np.array([1, 1, 4])], "cells_of_boxes")
    box = graph.op("GatherElements", ["all_boxes", wide], "box", axis=1)
    graph.op("Concat", [box, graph.op("Unsqueeze", ["first", np.array([2])], "score"), label], "y", axis=-1)


def _decoded(graph: Graph) -> None:
    """`boxes` (1, cells, 4): top, left, bottom, right in shares, from the anchors of an SSD."""
    graph.op("Split", [rows(graph, "reg", 4, 10), np.array([2, 2])], "shift growth", axis=2)
    small = graph.op("Mul", ["shift", np.float32(0.1)], "shift_small")
    middle = ((CENTRES + 0.5) * STEPS / IMAGE[2])[None, :, ::-1]
    centre = graph.op("Add", [small, middle], "centre")
    grown = graph.op("Exp", [graph.op("Mul", ["growth", np.float32(0.2)], "growth_small")], "grown")
    half = graph.op("Mul", [grown, STEPS[None] / IMAGE[2]], "half")
    corners = [graph.op("Sub", [centre, half], "corner"), graph.op("Add", [centre, half], "other_corner")]
    graph.op("Concat", corners, "boxes", axis=2)


def ssd(graph: Graph) -> None:
    """(1, cells, 1 + classes), a softmax, beside the boxes."""
    _decoded(graph)
    graph.op("Softmax", [rows(graph, "logits", 1 + CLASSES, 20)], "y", axis=-1)


def retinanet(graph: Graph) -> None:
    """(1, cells, classes), sigmoids, beside the boxes."""
    _decoded(graph)
    graph.op("Sigmoid", [rows(graph, "logits", CLASSES, 20)], "y")


def retinanet_first(graph: Graph) -> None:
    """(1, classes, cells) beside `boxes` (1, 4, cells)."""
    _around_cells(graph)
    graph.op("Sigmoid", [rows(graph, "logits", CLASSES, 20, False)], "y")


def retinanet_apart(graph: Graph) -> None:
    """The same, with sigmoids scale by scale: there is no tensor of logits."""
    _decoded(graph)
    parts = []
    for i, n in enumerate(GRIDS):
        value = graph.op("Sigmoid", [graph.conv(f"p{i}", f"cls{i}", CLASSES, 20 + i)], f"cls{i}_shares")
        value = graph.op("Transpose", [value], f"cls{i}_last", perm=[0, 2, 3, 1])
        parts.append(graph.reshape(value, f"cls{i}_rows", 1, n * n, CLASSES))
    graph.op("Concat", parts, "y", axis=1)


def _queries(graph: Graph, columns: int) -> str:
    """`boxes`, and the class logits of queries that attend to the cells of the first scale."""
    tokens = graph.op("Transpose", [graph.reshape("p0", "flat", 1, CHANNELS, 16)], "tokens", perm=[0, 2, 1])
    keys = graph.op("Transpose", [tokens], "keys", perm=[0, 2, 1])
    weights = graph.op("MatMul", [3 * f32(1, QUERIES, CHANNELS, seed=5), keys], "weights")
    read = graph.op("MatMul", [graph.op("Softmax", [weights], "attention", axis=-1), tokens], "read")
    box = graph.op("MatMul", [read, f32(CHANNELS, 4, seed=6)], "box")
    graph.op("Sigmoid", [box], "boxes")
    logits = graph.op("MatMul", [read, 2 * f32(CHANNELS, columns, seed=7)], "unbiased")
    return graph.op("Add", [logits, f32(columns, seed=8)], "logits")


def detr(graph: Graph) -> None:
    """(1, queries, classes + 1), logits of a softmax whose last class is none, beside the boxes."""
    graph.op("Identity", [_queries(graph, CLASSES + 1)], "y")


def detr_softmax(graph: Graph) -> None:
    """The same with the softmax."""
    graph.op("Softmax", [_queries(graph, CLASSES + 1)], "y", axis=-1)


def rtdetr(graph: Graph) -> None:
    """(1, queries, 4 + classes), all of them sigmoids."""
    shares = graph.op("Sigmoid", [_queries(graph, CLASSES)], "shares")
    graph.op("Concat", ["boxes", shares], "y", axis=-1)


def rtdetr_beside(graph: Graph) -> None:
    """(1, queries, classes), sigmoids, beside the boxes."""
    graph.op("Sigmoid", [_queries(graph, CLASSES)], "y")


def dfine(graph: Graph) -> None:
    """(1, queries, classes), logits, beside boxes that are moved from a reference by what is sampled around it."""
    graph.op("Identity", [_queries(graph, CLASSES)], "y")
    (reference,) = [item for item in graph.nodes if item.name == "boxes"]
    reference.output[0] = reference.name = "reference"
    places = f32(1, QUERIES, 1, 2, seed=9)
    sampled = graph.op("GridSample", ["p0", places], "sampled", mode="nearest", align_corners=0)
    rows_ = graph.op(
        "Transpose", [graph.reshape(sampled, "sampled_3", 1, CHANNELS, QUERIES)], "sampled_rows", perm=[0, 2, 1]
    )
    graph.op("Add", ["reference", graph.op("Mul", [rows_, np.float32(0.1)], "moves")], "boxes")


def rtdetr_finished(graph: Graph) -> None:
    """(1, boxes, 6) of that: the best of all classes of all queries, as Ultralytics has had it since 8.4."""
    flat = graph.op("Flatten", [graph.op("Sigmoid", [_queries(graph, CLASSES)], "shares")], "all_flat", axis=1)
    graph.op("TopK", [flat, np.array([FINISHED])], "best best_places", axis=1)
    row = graph.op("Div", ["best_places", np.array(CLASSES)], "row")
    kind = graph.op("Sub", ["best_places", graph.op("Mul", [row, np.array(CLASSES)], "first")], "kind")
    row = graph.op("Unsqueeze", [row, np.array([2])], "rows")
    row = graph.op("Expand", [row, np.array([1, 1, 4])], "rows_of_boxes")
    box_ = graph.op("GatherElements", ["boxes", row], "box_of_best", axis=1)
    score = graph.op("Unsqueeze", ["best", np.array([2])], "score")
    kind = graph.op("Cast", [graph.op("Unsqueeze", [kind, np.array([2])], "kinds")], "label", to=1)
    graph.op("Concat", [box_, score, kind], "y", axis=-1)


def build(layout: Callable[[Graph], None]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The detector, and its part behind `p0`. Outputs: `y`, `boxes` where they are one of their own, `prototypes`."""
    graph = Graph()
    scales(graph)
    layout(graph)
    joined = any("boxes" in item.input for item in graph.nodes) or not any("boxes" in n.output for n in graph.nodes)
    outputs = ["y"] if joined else ["boxes", "y"]
    outputs += ["prototypes"] if any("prototypes" in item.output for item in graph.nodes) else []
    behind = [item for item in graph.nodes if item.name not in ("c0", "p0")]
    return tuple(
        model(nodes, {name: np.zeros(shape, np.float32)}, _read(graph, nodes), outputs)
        for nodes, name, shape in ((graph.nodes, "x", IMAGE), (behind, "p0", (1, CHANNELS, 4, 4)))
    )  # type: ignore[return-value]


def _read(graph: Graph, nodes: Sequence[onnx.NodeProto]) -> dict[str, Array]:
    used = {name for item in nodes for name in item.input}
    return {name: array for name, array in graph.constants.items() if name in used}
