"""The graph of SSDLite-MobileNetV2, converted from TensorFlow's operators.

Imported only where the packages of the `export` extra are installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.benchmarks.zoo.frozen_graph import Node
from aerocam.benchmarks.zoo.lite0_graph import Network, same_pads, shape

BOX_SCALES = (10.0, 10.0, 5.0, 5.0)
"""What the encodings of a box's centre (y, x) and size (height, width) are divided by."""

SIZE = 300
"""Height and width of the input, in px. The anchors are made for it."""

IMAGE = "Preprocessor/sub"
"""TensorFlow's node with the picture in -1 to 1, (1, 300, 300, 3); what lies before it is preprocessing."""

BOXES, LOGITS = "concat", "concat_1"
"""TensorFlow's nodes with all heads' boxes, (1, A, 1, 4), and class logits, (1, A, 2)."""

NAMES = {BOXES: "raw_box_encodings", LOGITS: "raw_box_logits"}
"""aerocam's names for them; other nodes keep their names, without `BACKBONE`."""

BACKBONE = "FeatureExtractor/MobilenetV2/"
GRIDS = (19, 10, 5, 3, 2, 1)
"""Cells along a side of the map in front of each head."""


class Conversion:
    """Goes through TensorFlow's nodes and appends ONNX's.

    Attributes:
        nodes: TensorFlow's, in an order in which inputs come first.
        network: The ONNX graph under construction.
        values: What TensorFlow's nodes have become: maps (1, C, H, W) for (1, H, W, C), and (1, A, n) behind the heads.
    """

    def __init__(self, nodes: Mapping[str, Node], network: Network, image: ir.Value) -> None:
        """Convert what is computed from `image`, and nothing else."""
        self.nodes = nodes
        self.network = network
        self.values = {IMAGE: image}
        self._biases = {node.inputs[0]: node for node in nodes.values() if node.op == "BiasAdd"}

    def run(self) -> None:
        """Convert up to the class logits and boxes of all heads."""
        rules = {
            "Conv2D": self._conv,
            "DepthwiseConv2dNative": self._conv,
            "FusedBatchNorm": self._norm,
            "Relu6": self._relu6,
            "Add": self._add,
            "Reshape": self._head,
            "ConcatV2": self._concat,
        }
        for node in self.nodes.values():
            if not node.inputs or node.inputs[0] not in self.values or {BOXES, LOGITS} <= self.values.keys():
                continue
            if node.op in ("Identity", "BiasAdd"):  # a bias went into its Conv
                self.values[node.name] = self.values[node.inputs[0]]
            elif node.op in rules:
                self.values[node.name] = rules[node.op](node, NAMES.get(node.name, node.name.removeprefix(BACKBONE)))

    def constant(self, name: str) -> NDArray[Any]:
        """Return the numbers of a Const, also through an Identity."""
        return constant(self.nodes, name)

    def _conv(self, node: Node, name: str) -> ir.Value:
        """Convert a convolution: kernels are (H, W, in, out), depthwise (H, W, in, multiplier); padding is SAME."""
        x, kernel = self.values[node.inputs[0]], self.constant(node.inputs[1])
        strides, dilations = node.attributes["strides"], node.attributes["dilations"]
        assert isinstance(strides, tuple)
        assert (node.attributes["padding"], dilations, strides[1]) == (b"SAME", (1, 1, 1, 1), strides[2])
        groups = 1
        if node.op == "DepthwiseConv2dNative":
            groups = kernel.shape[2]
            kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
        w = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        weights = [self.network.constant(f"{name}/weights", w)]
        if node.name in self._biases:
            weights.append(self.network.constant(f"{name}/biases", self.constant(self._biases[node.name].inputs[1])))
        size, stride = shape(x)[2:], strides[1]
        attributes: dict[str, Any] = {"kernel_shape": w.shape[2:], "strides": [stride, stride], "group": groups}
        attributes["pads"] = same_pads(size, w.shape[2:], stride)
        return self.network.node("Conv", name, (1, len(w), *(-(-n // stride) for n in size)), x, *weights, **attributes)

    def _norm(self, node: Node, name: str) -> ir.Value:
        x = self.values[node.inputs[0]]
        parts = zip(("gamma", "beta", "mean", "variance"), node.inputs[1:], strict=True)
        weights = [self.network.constant(f"{name}/{part}", self.constant(source)) for part, source in parts]
        epsilon = node.attributes["epsilon"]
        return self.network.node("BatchNormalization", name, shape(x), x, *weights, epsilon=epsilon)

    def _relu6(self, node: Node, name: str) -> ir.Value:
        return self.network.clip(self.values[node.inputs[0]], name)

    def _add(self, node: Node, name: str) -> ir.Value:
        a, b = (self.values[source] for source in node.inputs)
        return self.network.node("Add", name, shape(a), a, b)

    def _head(self, node: Node, name: str) -> ir.Value:
        """Return a head's map as rows, one per anchor: cell by cell, the anchors of a cell together."""
        x = self.values[node.inputs[0]]
        columns = int(self.constant(self.nodes[node.inputs[1]].inputs[-1]))
        _, channels, height, width = shape(x)
        last = self.network.node("Transpose", f"{name}/nhwc", (1, height, width, channels), x, perm=[0, 2, 3, 1])
        rows = (1, height * width * channels // columns, columns)
        return self.network.node(
            "Reshape", name, rows, last, self.network.constant(f"{name}/shape", np.array(rows, np.int64))
        )

    def _concat(self, node: Node, name: str) -> ir.Value:
        parts = [self.values[source] for source in node.inputs[:-1]]
        rows = sum(shape(part)[1] for part in parts)
        return self.network.node("Concat", name, (1, rows, shape(parts[0])[2]), *parts, axis=1)


def constant(nodes: Mapping[str, Node], name: str) -> NDArray[Any]:
    """Return the numbers of a Const, also through an Identity."""
    node = nodes[name]
    value = constant(nodes, node.inputs[0]) if node.op == "Identity" else node.attributes["value"]
    assert isinstance(value, np.ndarray)
    return value


def build(nodes: Mapping[str, Node]) -> onnx.ModelProto:
    """Build the model: opset 17, IR 8, `images` float32 (1, 3, 300, 300) to boxes (1, 1917, 4), scores (1, 1917, 2).

    The boxes are decoded, as in deployed detectors: TensorFlow does so behind these nodes, in its post-processing.
    """
    network = Network.of("ssdlite-mobilenetv2", SIZE, {})
    conversion = Conversion(nodes, network, network.graph.inputs[0])
    conversion.run()
    logits = conversion.values[LOGITS]
    boxes = decoded(network, conversion.values[BOXES], anchors(nodes))
    return network.model(boxes, network.node("Sigmoid", "raw_box_scores", shape(logits), logits))


def decoded(network: Network, encodings: ir.Value, priors: NDArray[np.float32]) -> ir.Value:
    """Add nodes that decode `boxes` (1, A, 4) from their encodings; `ssdlite.decode` explains these."""
    count = len(priors)
    first, last = priors[:, :2], priors[:, 2:]
    scales = np.array(BOX_SCALES, np.float32)
    constants = {
        "boxes/parts": np.array([2, 2]),
        "boxes/steps": (last - first) / scales[:2],
        "boxes/centres": (first + last) / 2,
        "boxes/scale": scales[2:],
        "boxes/halves": (last - first) / 2,
    }
    parts, steps, centres, scale, halves = (network.constant(name, value) for name, value in constants.items())
    halved = [ir.val(f"boxes/{name}", dtype=ir.DataType.FLOAT, shape=(1, count, 2)) for name in ("shifts", "growths")]
    network.graph.append(
        ir.node("Split", [encodings, parts], attributes={"axis": 2}, outputs=halved, name="boxes/split")
    )

    def pair(op: str, name: str, *inputs: ir.Value) -> ir.Value:
        return network.node(op, f"boxes/{name}", (1, count, 2), *inputs)

    centre = pair("Add", "centre", pair("Mul", "shifted", halved[0], steps), centres)
    half = pair("Mul", "half", pair("Exp", "grown", pair("Div", "growth", halved[1], scale)), halves)
    corners = pair("Sub", "corner", centre, half), pair("Add", "other_corner", centre, half)
    return network.node("Concat", "boxes", (1, count, 4), *corners, axis=2)


def anchors(nodes: Mapping[str, Node]) -> NDArray[np.float32]:
    """Return the box that each output row starts from: (1917, 4) of top, left, bottom, right, in shares of the side.

    A head's scales and aspect ratios are the file's; the centres are those of the cells.
    """
    boxes = []
    for head, cells in enumerate(GRIDS):
        scales = constant(nodes, f"MultipleGridAnchorGenerator/truediv_{14 + head}/x")
        ratios = constant(nodes, f"MultipleGridAnchorGenerator/Sqrt{f'_{head}' if head else ''}/x")
        halves = np.stack([scales / np.sqrt(ratios), scales * np.sqrt(ratios)], axis=-1) / 2
        along = (np.arange(cells) + 0.5) / cells
        centres = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        boxes.append(np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4))
    return np.concatenate(boxes).astype(np.float32)
