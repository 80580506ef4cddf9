"""Operators that ONNX defines by simpler ones, written as these: what has no rule of its own then needs none.

The definitions are onnx's own. What ONNX Runtime has a kernel for is rounded by the steps of the definition afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference

from aerocam.errors import ModelError
from aerocam.export.reading.pool_shapes import graphs, infer_shapes

SPELLED_OUT = frozenset(
    {"CausalConvWithState", "CenterCropPad", "FlexAttention",
     "MeanVarianceNormalization", "NegativeLogLikelihoodLoss", "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU"}
)  # fmt: skip
"""Operators of ONNX's own domains that are always written as their definition."""

UNTYPED = frozenset(["GroupNormalization"])
"""Operators whose output has the type and shape of input 0, which onnx's shape inference does not know."""

DOMAINS = ("", "ai.onnx.preview")

CALLS = "aerocam.definitions"
"""Domain of the functions that stand for definitions, between the call and the inlining."""


def infer_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the types and shapes that onnx can infer, behind `UNTYPED` operators too.

    These stand as Identity meanwhile, so that one pass is enough, however many of them follow one another.
    """
    untyped = [node for node in all_nodes(proto.graph) if node.op_type in UNTYPED and node.domain == "" and node.output]
    names = {node.output[0]: node.op_type for node in untyped}
    for node in untyped:
        node.op_type = "Identity"
    inferred = infer_shapes(proto)
    for node in all_nodes(inferred.graph) if names else ():
        if node.op_type == "Identity" and node.output[0] in names:
            node.op_type = names[node.output[0]]
    return inferred


def spell_out_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the definition in place of every node that `_is_spelled_out`, in branches and loops too.

    Args:
        proto: Its inputs are static.

    Raises:
        ModelError: The type of what a node reads is not known, or onnx has no definition for it.
    """
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    while any(_is_spelled_out(node, opsets) for node in all_nodes(proto.graph)):
        proto = infer_types(proto)
        types = _types(proto.graph)
        nodes = [node for node in all_nodes(proto.graph) if _is_spelled_out(node, opsets)]
        proto.functions.extend(_definition(node, number, opsets, types) for number, node in enumerate(nodes))
        proto.opset_import.add(domain=CALLS, version=1)
        names = {node.output[0]: node.name for node in nodes}
        proto = onnx.inliner.inline_local_functions(proto)
        for node in all_nodes(proto.graph):
            node.name = names.get(node.output[0]) or node.name
    return proto


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Return every node of a graph, in its branches and loops too."""
    return (node for part in graphs(graph) for node in part.node)


def _is_spelled_out(node: onnx.NodeProto, opsets: Mapping[str, int]) -> bool:
    """Return whether a node becomes its definition: by its operator, or as a form of it that the rule is not for."""
    if node.domain not in DOMAINS:
        return False
    if node.op_type == "GroupNormalization":  # with a scale per group, which onnx's checker takes for invalid
        return opsets[""] in range(18, 21)
    if node.op_type != "Attention":
        return node.op_type in SPELLED_OUT
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    windows = any(given.get(f"{side}_window_size", -1) != -1 for side in ("left", "right"))
    return any(node.input[4:]) or any(node.output[1:]) or bool(given.get("softcap")) or windows


def _types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Return the type of every value whose type is known, of branches and loops too."""
    inner = (attribute.g for node in all_nodes(graph) for attribute in node.attribute if attribute.HasField("g"))
    types: dict[str, onnx.TypeProto] = {}
    for part in (graph, *inner):
        types.update((value.name, value.type) for value in (*part.input, *part.value_info, *part.output))
        for tensor in part.initializer:
            types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return types


def _definition(
    node: onnx.NodeProto, number: int, opsets: Mapping[str, int], types: Mapping[str, onnx.TypeProto]
) -> onnx.FunctionProto:
    """Turn a node into the call of a function of its own, in place, and return that function."""
    schema: Any = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)  # its stub has no functions
    of_types = schema.context_dependent_function_opset_versions
    since = max(number for number in of_types or schema.function_opset_versions if number <= opsets[node.domain])
    if not of_types:
        text = schema.get_function_with_opset_version(since)
    else:
        if unknown := [
            name for name in node.input if name and not types.get(name, onnx.TypeProto()).HasField("tensor_type")
        ]:
            raise ModelError(
                f"operator {node.op_type} (node {node.name!r}): the type of its input {unknown[0]!r} is not known to"
                " ONNX; export the model with types and shapes inferred"
            )
        inputs = [types[name].SerializeToString() if name else b"" for name in node.input]
        text = schema.get_context_dependent_function_with_opset_version(since, node.SerializeToString(), inputs)
    function = onnx.FunctionProto.FromString(text)
    given = {attribute.name for attribute in node.attribute}
    defaults = {name: attribute.default_value for name, attribute in schema.attributes.items() if name not in given}
    node.attribute.extend(default for default in defaults.values() if default.name)
    node.domain, node.op_type = CALLS, f"{node.op_type}_{number}"
    function.domain, function.name = node.domain, node.op_type
    for entry in function.opset_import:
        entry.version = opsets.get(entry.domain, entry.version)
    return function
