"""Relevance rules of normalisations: what they divide by counts as a constant (Ali et al., ICML 2022, sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.normalization import standardised
from aerocam.export.gradients.adjoints.registry import STOPPED, Builder, Cotangents, refused, tensor
from aerocam.export.gradients.relevance.registry import passed, relevance, stabilised
from aerocam.export.nodes.shapes import static_shape


@relevance("LRN", "LpNormalization")
def divided(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / S, S a constant: M_X = Y / (X + ε sign X) M_Y."""
    return [passed(op, node, dy)]


@relevance("LayerNormalization", "RMSNormalization")
def over_last_axes(op: Builder, node: ir.Node, dy: ir.Value | None, *statistics: ir.Value | None) -> Cotangents:
    """Y = scale * (X - mean) / S + B: M_X = (G - mean(G)) / S, G = M_Y * scale; RMSNormalization has no mean."""
    if dy is None or any(multiplier is not None for multiplier in statistics):
        raise refused(node, "relevance arrives at its output Mean or InvStdDev, at Y alone is expected")
    dy, x = op.widened(stabilised(op, node, dy)), op.widened(tensor(node))
    rank = len(static_shape(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    g = op.Mul(dy, op.widened(tensor(node, 1)))
    dx = _through(op, node, g, x, axes, centred=node.op_type == "LayerNormalization")
    return [op.cast_like(dx, tensor(node)), *(STOPPED for _ in node.inputs[1:])]


@relevance("InstanceNormalization", "GroupNormalization")
def over_groups(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = scale * (X - mean) / S + B per group of channels: M_X = (G - mean(G)) / S, G = M_Y * scale."""
    dy, x, scale = op.widened(stabilised(op, node, dy)), op.widened(tensor(node)), op.widened(tensor(node, 1))
    shape = static_shape(x)
    groups = shape[1] if node.op_type == "InstanceNormalization" else node.attributes["num_groups"].as_int()
    (parts,) = static_shape(scale)
    rest = int(np.prod(shape[1:], dtype=int))
    g = op.Mul(op.reshape(dy, shape[0], parts, rest // parts), op.reshape(scale, 1, parts, 1))
    by_group = (shape[0], groups, rest // groups)
    dx = _through(op, node, op.reshape(g, *by_group), op.reshape(x, *by_group), [2], centred=True)
    return [op.cast_like(op.reshape(dx, *shape), tensor(node)), *(STOPPED for _ in node.inputs[1:])]


def _through(op: Builder, node: ir.Node, g: ir.Value, x: ir.Value, axes: Sequence[int], centred: bool) -> ir.Value:
    """Return (G - mean(G)) / S over `axes`, S the deviation of X; without mean(G) unless centred."""
    _, deviation = standardised(op, node, x, axes, centred)
    return op.Div(op.Sub(g, op.reduce("ReduceMean", g, axes)) if centred else g, deviation)
