"""Small ONNX graphs for tests: build a node or a chain, run it, draw values where functions are smooth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from aerocam import manifest
from float64_operators import LRN, OPERATORS

OPSET = 17
node = helper.make_node


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    """Return seeded values of a standard normal distribution, float32 of this shape."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def well_separated(shape: Sequence[int], rng: np.random.Generator, gap: float = 0.02) -> NDArray[np.float64]:
    """A permutation of values `gap` apart, none within half a gap of 0: no tie, no kink near by."""
    count = int(np.prod(shape, dtype=int))
    values = (np.arange(count) - count // 2 + 0.5) * gap
    return rng.permutation(values).reshape(shape)


def node_model(
    op: str,
    inputs: Mapping[str, NDArray[Any]],
    constants: Mapping[str, NDArray[Any]],
    order: Sequence[str],
    attributes: Mapping[str, Any],
    outputs: int = 1,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of one node; `order` names its inputs (an empty name: absent)."""
    names = [f"y{i}" for i in range(outputs)]
    single = helper.make_node(op, list(order), names, name="node", **attributes)
    return model([single], inputs, constants, names, opset)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, NDArray[Any]],
    constants: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A checked model with static inputs shaped like the given arrays and shapes inferred."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)


def parsed(signature: str, text: str, **weights: Any) -> onnx.ModelProto:
    """A checked model in ONNX's text form; weights that it names are arrays, floats as float32, or lists of int64."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {OPSET}]> g {signature} {{ {text} }}')
    read = {name for item in proto.graph.node for name in item.input}
    for name in read & weights.keys():
        array = np.asarray(weights[name])
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)


def with_input(proto: onnx.ModelProto, *dims: int | str) -> onnx.ModelProto:
    """Return the model with another shape of its input `x`; nothing inferred from the old one is left."""
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims))
    del proto.graph.value_info[:]
    for item in proto.graph.output:
        item.type.tensor_type.ClearField("shape")
    return proto


def with_outputs(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return a copy in which these tensors are outputs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {item.name for item in copy.graph.output}
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in there)
    return copy


def saved(folder: Path, proto: onnx.ModelProto, name: str = "model.onnx") -> Path:
    """Write the model into a folder; return its path."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def read_manifest(path: Path) -> manifest.Manifest:
    """Read the manifest of an exported file with onnx."""
    text = {item.key: item.value for item in onnx.load(path).metadata_props}[manifest.KEY]
    return manifest.Manifest.from_json(text, str(path))


def beside_a_branch(body: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """`a`, a convolution of `x`; `z`, a convolution of Relu of `a` plus the `b` that `body` makes of `a`; `y`, scores.

    Where `body` lets no gradient through, `a` cannot be explained; `side`, `sum` and `z` can.
    """
    return [
        helper.make_node("Conv", ["x", "w"], ["a"], name="stem", pads=[1] * 4),
        *body,
        helper.make_node("Relu", ["a"], ["side"], name="beside"),
        helper.make_node("Add", ["side", "b"], ["sum"], name="joined"),
        helper.make_node("Conv", ["sum", "k"], ["z"], name="last"),
        helper.make_node("GlobalAveragePool", ["z"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]


def in_float64(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with float64 in place of float32: inputs, weights, constants and casts."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    for item in (*copy.graph.input, *copy.graph.output):
        if item.type.tensor_type.elem_type == single:
            item.type.tensor_type.elem_type = double
    tensors = [*copy.graph.initializer]
    for node in copy.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = double
    keep = {name for node in copy.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    for tensor in tensors:
        if tensor.data_type == single and tensor.name not in keep:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    return copy


def tail(proto: onnx.ModelProto, layer: str, outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that computes `outputs` from the tensor `layer`, which becomes an input.

    Values beside the layer that hold something of the image become inputs too, as do integer inputs that are used.
    """
    producers = {name: node for node in proto.graph.node for name in node.output}
    single = onnx.TensorProto.FLOAT
    images = [item.name for item in proto.graph.input if item.type.tensor_type.elem_type == single]
    behind, seen_image = _reached(proto, {layer}), _reached(proto, set(images))
    inputs, wanted, waiting = [], set(), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in inputs or name in wanted:
            continue
        if name == layer or (name in seen_image and name not in behind):
            inputs.append(name)
        elif name in producers:
            wanted.add(name)
            waiting += producers[name].input
        elif any(name == item.name for item in proto.graph.input):
            inputs.append(name)
    nodes = [node for node in proto.graph.node if not wanted.isdisjoint(node.output)]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tail",
        [helper.make_empty_tensor_value_info(name) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [tensor for tensor in proto.graph.initializer if tensor.name in used],
    )
    return helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _reached(proto: onnx.ModelProto, names: set[str]) -> set[str]:
    """`names` and every value computed from one of them."""
    reached = set(names)
    for node in proto.graph.node:
        if not reached.isdisjoint(node.input):
            reached.update(node.output)
    return reached


def run_reference(proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs by onnx's reference implementation, NumPy code that shares nothing with ONNX Runtime; LRN is ours.

    (Theirs takes the batch's length for the number of channels.)
    """
    return ReferenceEvaluator(proto, new_ops=[LRN]).run(None, dict(feeds))


class Float64:
    """A model in float64, in NumPy, fast enough for whole networks; feeds may be of any precision."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Take over a float32 model."""
        self.evaluator = ReferenceEvaluator(in_float64(proto), new_ops=OPERATORS)

    def __call__(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """The outputs named, or all; `feeds` may hold more than the model's inputs."""
        given = {name: np.asarray(feeds[name]) for name in self.evaluator.input_names}
        double = {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in given.items()}
        return self.evaluator.run(outputs and list(outputs), double)


def run_ort(
    proto: onnx.ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] | None = None,
    optimize: bool = True,
) -> list[NDArray[Any]]:
    """Outputs by ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs and list(outputs), dict(feeds))


def run_ort_double(proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs by ONNX Runtime of a float64 model, for operators that the reference implementation gets wrong."""
    return run_ort(proto, feeds)
