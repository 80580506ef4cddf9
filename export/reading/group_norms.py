"""GroupNormalization of the opsets 18 to 20, which ONNX has given up, in operators that it has kept."""

from __future__ import annotations

from typing import Any

import numpy as np
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
        Whether there was one.

    Raises:
        ModelError: Neither the type of its input nor that of its scale is known.
    """
    if model.opset_imports.get("") not in GIVEN_UP:
        return False
    norms = [node for node in model.graph.all_nodes() if node.op_type == "GroupNormalization" and node.domain == ""]
    for node in norms:
        nodes = _spelled_out(node)
        assert node.graph is not None
        ir.convenience.replace_nodes_and_values(node.graph, node, [node], nodes, node.outputs, [nodes[-1].outputs[0]])
    return bool(norms)


def _type(node: ir.Node, found: ir.DataType | None) -> ir.DataType:
    if found is None:
        name = "" if node.inputs[0] is None else node.inputs[0].name
        raise ModelError(
            f"operator GroupNormalization (node {node.name!r}): the type of its input {name!r} is not known to ONNX;"
            " export the model with opset 17, or 21 or newer"
        )
    return found


def _spelled_out(node: ir.Node) -> list[ir.Node]:
    """What stands for `node`; the last computes its output and has its name. Shapes and types are left open."""
    x, scale, bias = node.inputs
    assert x is not None
    assert scale is not None
    dtype = _type(node, x.dtype or scale.dtype)
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
