"""The tables of rules with which the walk can go from the score back to a layer, guided backpropagation's among them.

Guided backpropagation (Springenberg et al., arXiv:1412.6806) is a table laid over that of the adjoints. It gives no
gradients: a ReLU lets only positive numbers pass, forward and backward. The table differs in ReLU, as in
pytorch-grad-cam's `GuidedBackpropReLUModel` and captum's `GuidedBackprop`, and in a Clip from 0 on: exporters write
ReLU6 so, which those two, looking for `torch.nn.ReLU`, leave as it is. All other activations keep their adjoint.
"""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, Rule
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.relevance import RELEVANCE
from aerocam.export.nodes.builder import constant_array
from aerocam.methods import METHODS

logger = logging.getLogger("aerocam.export")


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
"""The adjoint rules with those of ReLU and of a bounded ReLU changed."""

TABLES: dict[manifest.Rule, Mapping[str, Rule]] = {"gradient": ADJOINTS, "guided": GUIDED, "relevance": RELEVANCE}
"""Table of rules for `differentiate`, by the rule that the manifest names for a layer."""

NAMES: dict[manifest.Rule, str] = {"guided": "guided gradients", "relevance": "multipliers of relevance"}
"""What the tables that give no gradients give instead."""


def layer_rule(relevance: bool, guided: bool, head: str | None) -> manifest.Rule:
    """Return the rule of layers behind the input; a fused head for relevance asks for it by itself.

    Raises:
        UsageError: Relevance is asked for together with something that takes gradients.
    """
    asks = METHODS[head].gradients if head in METHODS else None
    if not relevance and asks != "relevance":
        return "gradient"
    if guided:
        raise UsageError("`guided`: not with relevance, which has rules of its own; export two files")
    if head is not None and asks != "relevance":
        raise UsageError(f"`relevance`: not with `head={head!r}`, which takes gradients; try `head='relevance'`")
    return "relevance"


def gradients_of(
    op: Builder, score: ir.Value, seed: ir.Value, layers: Sequence[ir.Value], rules: Sequence[manifest.Rule]
) -> list[ir.Value]:
    """Return the gradients at `layers`, each by its rule; other arguments, errors and order as in `differentiate`."""
    gradients: dict[ir.Value, ir.Value] = {}
    for rule, table in TABLES.items():
        if chosen := [layer for layer, wanted in zip(layers, rules, strict=True) if wanted == rule]:
            gradients.update(zip(chosen, differentiate(op, score, seed, chosen, table), strict=True))
    return [gradients[layer] for layer in layers]
