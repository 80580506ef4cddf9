"""The graph of EfficientNet-Lite0. Imported only where the packages of the `export` extra are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import __version__

STRIDE_2 = {1, 3, 5, 11}
"""Blocks that halve the map; every other block with as many output as input channels adds its input."""

BLOCKS = 16
EPSILON = 1e-3
"""Epsilon of every BatchNormalization."""

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """The graph under construction and the weights that go into it.

    Attributes:
        graph: What is built.
        weights: The checkpoint's.
        keep_norms: Whether BatchNormalization stays a node of its own.
    """

    graph: ir.Graph
    weights: Weights
    keep_norms: bool = False

    @classmethod
    def of(cls, name: str, size: int, weights: Weights, keep_norms: bool = False) -> Network:
        """Begin a graph with the input `images`, float32 (1, 3, size, size), and the bounds of ReLU6."""
        images = ir.val("images", dtype=ir.DataType.FLOAT, shape=[1, 3, size, size])
        network = cls(ir.Graph([images], [], nodes=[], opset_imports={"": 17}, name=name), weights, keep_norms)
        for bound, value in (("relu6.min", 0), ("relu6.max", 6)):
            network.constant(bound, np.array(value, np.float32))
        return network

    def model(self, *outputs: ir.Value) -> onnx.ModelProto:
        """Return the finished model."""
        self.graph.outputs.extend(outputs)
        maker = "aerocam.benchmarks.zoo"
        return ir.to_proto(ir.Model(self.graph, ir_version=8, producer_name=maker, producer_version=__version__))

    def constant(self, name: str, value: NDArray[Any]) -> ir.Value:
        """Add an initializer."""
        result = ir.val(name, const_value=ir.tensor(value, name=name))
        self.graph.initializers.add(result)
        return result

    def node(self, op: str, name: str, shape: Sequence[int], *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Add a node that is named as its output, whose shape is given."""
        output = ir.val(name, dtype=ir.DataType.FLOAT, shape=shape)
        self.graph.append(ir.node(op, inputs, attributes=attributes, outputs=[output], name=name))
        return output

    def conv(self, x: ir.Value, name: str, weight: str, norm: str, stride: int = 1) -> ir.Value:
        """Add Conv and BatchNormalization, as a rule as one Conv; `weight` and `norm` are names in the checkpoint."""
        w, b = (self.weights[f"{weight}.weight"], None) if self.keep_norms else folded(self.weights, weight, norm)
        size = shape(x)[2:]
        attributes: dict[str, Any] = {"kernel_shape": w.shape[2:], "strides": [stride, stride]}
        attributes["pads"] = same_pads(size, w.shape[2:], stride)
        attributes["group"] = shape(x)[1] // w.shape[1]
        kernel = self.constant(f"{name}/conv.weight", w)
        result = (1, len(w), *(-(-n // stride) for n in size))
        if b is not None:
            bias = self.constant(f"{name}/conv.bias", b)
            return self.node("Conv", f"{name}/conv", result, x, kernel, bias, **attributes)
        y = self.node("Conv", f"{name}/conv", result, x, kernel, **attributes)
        parts = ("weight", "bias", "running_mean", "running_var")
        norms = [self.constant(f"{name}/norm.{part}", self.weights[f"{norm}.{part}"]) for part in parts]
        return self.node("BatchNormalization", f"{name}/norm", result, y, *norms, epsilon=EPSILON)

    def relu6(self, x: ir.Value, name: str) -> ir.Value:
        """Add the activation, as a part of `name`."""
        return self.clip(x, f"{name}/act")

    def clip(self, x: ir.Value, name: str) -> ir.Value:
        """Add a ReLU6; all of them share their bounds."""
        bounds = [self.graph.initializers[bound] for bound in ("relu6.min", "relu6.max")]
        return self.node("Clip", name, shape(x), x, *bounds)

    def block(self, x: ir.Value, index: int) -> ir.Value:
        """Add an inverted residual block: expand, depthwise, project, and the way around."""
        theirs, ours = f"_blocks.{index}._", f"blocks.{index}"
        y = x
        if f"{theirs}expand_conv.weight" in self.weights:
            y = self.relu6(self.conv(y, f"{ours}/expand", f"{theirs}expand_conv", f"{theirs}bn0"), f"{ours}/expand")
        stride = 2 if index in STRIDE_2 else 1
        y = self.conv(y, f"{ours}/depthwise", f"{theirs}depthwise_conv", f"{theirs}bn1", stride)
        y = self.relu6(y, f"{ours}/depthwise")
        y = self.conv(y, f"{ours}/project", f"{theirs}project_conv", f"{theirs}bn2")
        return self.node("Add", f"{ours}/add", shape(y), y, x) if shape(y) == shape(x) else y

    def classifier(self, x: ir.Value) -> ir.Value:
        """Add pooling and the fully connected layer."""
        channels = shape(x)[1]
        pooled = self.node("GlobalAveragePool", "head/pool", (1, channels, 1, 1), x)
        flat = self.node("Flatten", "head/flatten", (1, channels), pooled, axis=1)
        w, b = (self.constant(f"logits.{part}", self.weights[f"_fc.{part}"]) for part in ("weight", "bias"))
        return self.node("Gemm", "logits", (1, len(self.weights["_fc.bias"])), flat, w, b, transB=1)


def folded(weights: Weights, conv: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold a BatchNormalization into the weight and bias of the Conv before it."""
    gamma, beta, mean, var = (
        weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(var + EPSILON)
    w = weights[f"{conv}.weight"].astype(np.float64) * scale.reshape(-1, 1, 1, 1)
    return w.astype(np.float32), (beta - mean * scale).astype(np.float32)


def same_pads(size: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> list[int]:
    """Return TensorFlow's SAME as explicit pads: ceil(size / stride) outputs, an odd pad after the map.

    Args:
        size: (H, W) of the input map.
        kernel: (H, W) of the kernel.
        stride: In both directions.

    Returns:
        All pads before, then all pads after, as ONNX has them.
    """
    total = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(size, kernel, strict=True)]
    return [n // 2 for n in total] + [n - n // 2 for n in total]


def shape(x: ir.Value) -> tuple[int, ...]:
    """Return the static shape of a value."""
    assert x.shape is not None
    return tuple(int(n) for n in x.shape.numpy())


def build(weights: Weights, size: int, keep_norms: bool = False) -> onnx.ModelProto:
    """Build the model: opset 17, IR 8, `images` float32 (1, 3, size, size) to `logits` float32 (1, 1000)."""
    network = Network.of("efficientnet-lite0", size, weights, keep_norms)
    x = network.relu6(network.conv(network.graph.inputs[0], "stem", "_conv_stem", "_bn0", stride=2), "stem")
    for index in range(BLOCKS):
        x = network.block(x, index)
    x = network.relu6(network.conv(x, "head", "_conv_head", "_bn1"), "head")
    return network.model(network.classifier(x))


def serialize(proto: onnx.ModelProto) -> bytes:
    """Return the ONNX file's content."""
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)
