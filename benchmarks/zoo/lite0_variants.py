"""EfficientNet-Lite0 in the forms in which a device gets networks. Imported only with the `export` extra."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

RELU6_STEP = np.float32(6 / 255)
"""Step of an unsigned byte that spans the activation's range."""


def half_weights(proto: onnx.ModelProto) -> None:
    """Store kernels in float16, each behind a Cast to float32."""

    def store(w: NDArray[np.float32], name: str) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
        node = helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=TensorProto.FLOAT)
        return [numpy_helper.from_array(w.astype(np.float16), f"{name}.half")], node

    _store_kernels(proto, store)


def int8_weights(proto: onnx.ModelProto) -> None:
    """Store kernels in int8 with one scale per output channel, each behind a DequantizeLinear."""

    def store(w: NDArray[np.float32], name: str) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
        scale = np.maximum(np.abs(w.reshape(len(w), -1)).max(axis=1) / 127, 1e-12).astype(np.float32)
        steps = np.rint(w / scale.reshape(-1, *[1] * (w.ndim - 1))).astype(np.int8)
        parts = {"int8": steps, "scale": scale, "zero": np.zeros(len(w), np.int8)}
        tensors = [numpy_helper.from_array(array, f"{name}.{part}") for part, array in parts.items()]
        names = [tensor.name for tensor in tensors]
        return tensors, helper.make_node("DequantizeLinear", names, [name], f"{name}.dequantize", axis=0)

    _store_kernels(proto, store)


def int8(proto: onnx.ModelProto) -> None:
    """Quantise kernels as `int8_weights` does, and to uint8 every activation, which ReLU6 bounds."""
    int8_weights(proto)
    constants = {"relu6.step": RELU6_STEP, "relu6.zero": np.uint8(0)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(x), name) for name, x in constants.items())
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        if node.op_type != "Clip":
            continue
        name = node.output[0]
        node.output[0] = f"{name}.float"
        steps = f"{name}.uint8"
        nodes.append(helper.make_node("QuantizeLinear", [f"{name}.float", *constants], [steps], f"{name}.quantize"))
        nodes.append(helper.make_node("DequantizeLinear", [steps, *constants], [name], f"{name}.dequantize"))
    _replace(proto.graph.node, nodes)
    del proto.graph.value_info[:]


def half(proto: onnx.ModelProto) -> None:
    """Convert everything to float16 except input and output, which are cast."""
    tensors = [
        numpy_helper.from_array(array.astype(np.float16) if array.dtype == np.float32 else array, tensor.name)
        for tensor in proto.graph.initializer
        for array in [numpy_helper.to_array(tensor)]
    ]
    _replace(proto.graph.initializer, tensors)
    (x,), (y,) = proto.graph.input, proto.graph.output
    for node in proto.graph.node:
        for names, old in ((node.input, x.name), (node.output, y.name)):
            for place, name in enumerate(names):
                names[place] = f"{name}.half" if name == old else name
    first = helper.make_node("Cast", [x.name], [f"{x.name}.half"], f"{x.name}.cast", to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", [f"{y.name}.half"], [y.name], f"{y.name}.cast", to=TensorProto.FLOAT)
    _replace(proto.graph.node, [first, *proto.graph.node, last])
    del proto.graph.value_info[:]


VARIANTS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "half-weights": half_weights,
    "half": half,
    "int8-weights": int8_weights,
    "int8": int8,
}
"""Functions that change the folded model in place, by variant."""


def _store_kernels(
    proto: onnx.ModelProto,
    store: Callable[[NDArray[np.float32], str], tuple[list[onnx.TensorProto], onnx.NodeProto]],
) -> None:
    """Put each weight with two dimensions or more into other tensors, and a node in front that gives it back."""
    tensors, nodes = [], []
    for tensor in proto.graph.initializer:
        if len(tensor.dims) < 2:
            tensors.append(tensor)
            continue
        stored, node = store(numpy_helper.to_array(tensor), tensor.name)
        tensors += stored
        nodes.append(node)
    _replace(proto.graph.initializer, tensors)
    _replace(proto.graph.node, [*nodes, *proto.graph.node])


def _replace(field: MutableSequence[Any], items: Sequence[Any]) -> None:
    """Put `items` in place of what a repeated field holds."""
    copies = list(items)
    del field[:]
    field.extend(copies)
