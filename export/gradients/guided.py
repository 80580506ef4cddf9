"""Rules of guided backpropagation (Springenberg et al., arXiv:1412.6806): a table laid over that of the adjoints.

They give no gradients: a ReLU lets only positive numbers pass, forward and backward. The table differs in ReLU, as in
pytorch-grad-cam's `GuidedBackpropReLUModel` and captum's `GuidedBackprop`, and in a Clip from 0 on: exporters write
ReLU6 so, which those two, looking for `torch.nn.ReLU`, leave as it is. All other activations keep their adjoint.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import ADJOINTS, Builder, Cotangents, Rule
from aerocam.export.nodes.builder import constant_array


def guided_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max(X, 0): dX = dY where Y > 0 and dY > 0, else 0."""
    return [op.Where(op.Greater(node.outputs[0], 0.0), op.Relu(dy), 0.0)]


def guided_clip(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = min(max(X, 0), hi), a bounded ReLU: dX = dY where 0 <= X <= hi and dY > 0, else 0; else as the adjoint."""
    return ADJOINTS["Clip"](op, node, op.Relu(dy) if is_guided(node) else dy)


def is_guided(node: ir.Node) -> bool:
    """Return whether a node is a ReLU, or a Clip from 0 on, to which guided backpropagation applies."""
    if node.domain or node.op_type not in ("Relu", "Clip"):
        return False
    low = constant_array(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    return node.op_type == "Relu" or (low is not None and not low.any())


GUIDED: Mapping[str, Rule] = ChainMap({"Relu": guided_relu, "Clip": guided_clip}, ADJOINTS)
"""The adjoint rules with those of ReLU changed."""
