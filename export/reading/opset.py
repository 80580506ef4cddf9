"""One opset for every model: older ones are raised to it, newer ones lowered where that changes nothing."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import ArrayLike

from aerocam.errors import ModelError

GIVEN_UP = range(18, 21)
"""Opsets whose GroupNormalization has a scale and a bias per group; from the next on they are per channel."""


def spell_out_group_norms(model: ir.Model) -> bool:
    """Replace every GroupNormalization of an opset in `GIVEN_UP`, in place; onnx's checker takes that form for invalid.

    The nodes are those of the function that defines the operator, in its order. ONNX Runtime has no kernel for this
    form and runs the same ones: no bit changes.

    Returns:
        Whether any was replaced.

    Raises:
        ModelError: Neither the type of a node's input nor that of its scale is known.
    """
    if model.opset_imports.get("") not in GIVEN_UP:
        return False
    norms = [node for node in model.graph.all_nodes() if node.op_type == "GroupNormalization" and node.domain == ""]
    for node in norms:
        nodes = _spelled_out(node)
        assert node.graph is not None
        ir.convenience.replace_nodes_and_values(node.graph, node, [node], nodes, node.outputs, [nodes[-1].outputs[0]])
    return bool(norms)


def _spelled_out(node: ir.Node) -> list[ir.Node]:
    """Return the nodes that replace `node`, the last with its name and output; shapes and types are left open."""
    x, scale, bias = node.inputs
    assert x is not None
    assert scale is not None
    dtype = x.dtype or scale.dtype
    if dtype is None:
        raise ModelError(
            f"operator GroupNormalization (node {node.name!r}): the type of its input {x.name!r} is not known to ONNX;"
            " export the model with opset 17, or 21 or newer"
        )
    nodes: list[ir.Node] = []

    def add(op: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        nodes.append(ir.node(op, inputs, attributes, name=f"{node.name}/{op}_{len(nodes)}"))
        nodes[-1].outputs[0].name = f"{node.outputs[0].name}/{op}_{len(nodes)}"
        return nodes[-1].outputs[0]

    def constant(array: ArrayLike, dtype: Any = np.int64) -> ir.Value:
        return add("Constant", value=ir.tensor(np.asarray(array).astype(dtype)))

    groups = add("Reshape", x, constant([0, node.attributes["num_groups"].as_int(), -1]))
    positions, per_group = constant([2]), constant([1, -1, 1])
    mean = add("ReduceMean", groups, positions)
    mean_of_squares = add("ReduceMean", add("Mul", groups, groups), positions)
    variance = add("Sub", mean_of_squares, add("Mul", mean, mean))
    epsilon = constant(np.array([node.attributes.get_float("epsilon", 1e-5)], np.float32), dtype.numpy())
    deviation = add("Sqrt", add("Add", variance, epsilon))
    h = add("Div", add("Sub", groups, mean), deviation)
    scaled = add("Mul", add("Reshape", scale, per_group), h)
    add("Reshape", add("Add", scaled, add("Reshape", bias, per_group)), add("Shape", x))
    nodes[-1].name = node.name
    return nodes


logger = logging.getLogger("aerocam.export")

OPSET = 17
"""Opset that models are written in: ONNX Runtime 1.15 and TensorRT 8.6 already load it."""

OLDEST_OPSET = 7
"""Oldest opset that is read."""

IR_VERSION = 8
"""IR version that models are written in; the newest ONNX Runtime 1.15 loads is 9."""


DEFAULT_DOMAIN = ("", "ai.onnx")
"""ONNX's own domain of operators, by both of its names."""


def default_opset(proto: onnx.ModelProto, origin: str) -> int:
    """Return the model's default-domain opset.

    Raises:
        ModelError: The opset is older than `OLDEST_OPSET`, or the model imports none.
    """
    opset = max((entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAIN), default=0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{origin}: opset {opset}, {OLDEST_OPSET} or newer is read;"
            " convert it first with onnx.version_converter or export it anew"
        )
    return opset


def convert_opset(proto: onnx.ModelProto, opset: int, origin: str) -> onnx.ModelProto:
    """Return the model in `OPSET`, or in its own opset, logged, where that is newer and its operators have changed.

    Raises:
        ModelError: onnx cannot convert the model.
    """
    if opset == OPSET:
        return proto
    if opset > OPSET:
        if _same_operators(proto, opset):
            for entry in proto.opset_import:
                if entry.domain in DEFAULT_DOMAIN:
                    entry.version = OPSET
        else:
            logger.info("opset %d kept: the model uses operators that changed after opset %d", opset, OPSET)
            oldest = onnx.helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
            proto.ir_version = max(oldest, IR_VERSION)
        return proto
    if opset < 13:
        _refuse_hardmax(proto, origin)
    try:
        converted = onnx.version_converter.convert_version(proto, OPSET)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{origin}: opset {opset} cannot be converted to {OPSET} ({error}); export the model with opset {OPSET}"
        ) from error
    if opset < 11:
        _resize_as_before_11(converted)
    return converted


def _refuse_hardmax(proto: onnx.ModelProto, origin: str) -> None:
    """Refuse Hardmax over several axes: before opset 13 it took all from `axis` on, the converter lets it take one.

    Raises:
        ModelError: A Hardmax takes several axes, or may.
    """
    graph = proto.graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    for node in graph.node:
        if node.op_type == "Hardmax" and node.domain == "":
            rank = ranks.get(node.input[0], 0)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            if axis not in (-1, rank - 1):
                raise ModelError(
                    f"{origin}: Hardmax {node.name!r} over several axes has no form in opset {OPSET};"
                    " export the model with opset 13 or newer"
                )


def _resize_as_before_11(proto: onnx.ModelProto) -> None:
    """Write down the modes that Upsample and the first Resize imply and the converter leaves out, in place.

    They count from the corner; ONNX Runtime rounds `nearest` up where they shrink and down where they enlarge.
    """
    wanted = {node.input[2] for node in proto.graph.node if node.op_type == "Resize"}
    tensors = [tensor for tensor in proto.graph.initializer if tensor.name in wanted]
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
    for node in proto.graph.node:
        if node.op_type == "Resize":
            shrinks = node.input[2] in scales and (scales[node.input[2]] < 1).any()
            modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil" if shrinks else "floor"}
            node.attribute.extend(onnx.helper.make_attribute(*mode) for mode in modes.items())


def _same_operators(proto: onnx.ModelProto, opset: int) -> bool:
    """Return whether every operator of the model means the same at `OPSET` as at its own opset."""
    nodes = [node for node in proto.graph.node if node.domain in DEFAULT_DOMAIN]
    has_body = any(
        attribute.HasField("g") or attribute.graphs for node in proto.graph.node for attribute in node.attribute
    )
    return not has_body and all(_same_operator(node, opset) for node in nodes)


def _same_operator(node: onnx.NodeProto, opset: int) -> bool:
    """Return whether `OPSET` has all that this node uses of its operator: a later version may only have added to it."""
    try:
        new, old = (onnx.defs.get_schema(node.op_type, version) for version in (opset, OPSET))
    except onnx.defs.SchemaError:
        return False
    if new.since_version == old.since_version:
        return True
    names = [parameter.name for parameter in old.inputs]
    used = {attribute.name for attribute in node.attribute}
    return (
        [parameter.name for parameter in new.inputs][: len(names)] == names
        and len(node.input) <= len(names)
        and used <= old.attributes.keys()
        and all(_default(new, name) == _default(old, name) for name in old.attributes)
    )


def _default(schema: onnx.defs.OpSchema, attribute: str) -> bytes | None:
    """Return an attribute's default value, serialised, None where the operator has no such attribute."""
    definition = schema.attributes.get(attribute)
    return None if definition is None else definition.default_value.SerializeToString()
