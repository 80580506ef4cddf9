"""Multiply-adds: what a forward node takes, and so about what its adjoint takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.autodiff import values_read
from aerocam.export.nodes.shapes import is_static, static_shape


def multiply_adds(node: ir.Node) -> int:
    """Of a Conv, ConvTranspose, Gemm or MatMul with static shapes; 0 of any other node."""
    if len(node.inputs) < 2 or any(x is None or not is_static(x) for x in (*node.inputs[:2], *node.outputs)):
        return 0
    x, w = (static_shape(value) for value in node.inputs[:2])  # type: ignore[arg-type]
    y = static_shape(node.outputs[0])
    if node.op_type == "Conv":
        return int(np.prod(y) * np.prod(w[1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(x) * np.prod(w[1:]))
    if node.op_type == "Gemm":
        return int(np.prod(y) * x[0 if node.attributes.get_int("transA", 0) else 1])
    return int(np.prod(y, dtype=int) * x[-1]) if node.op_type == "MatMul" else 0


def gradient_cost(path: Iterable[tuple[ir.Node, int]], layer: ir.Value) -> int:
    """About the multiply-adds of the gradient at `layer`: one product per factor that depends on it.

    Args:
        path: Nodes that lead to the score, in graph order, with what each takes; those that do not depend on the layer
            cost nothing.
        layer: The target layer.
    """
    active, cost = {layer}, 0
    for node, amount in path:
        if any(x in active for x in values_read(node)):
            active.update(node.outputs)
            cost += amount and amount * sum(x in active for x in node.inputs[:2])
    return cost
