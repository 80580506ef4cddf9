"""Adjoint rule of Attention, through its decomposition into products and a softmax."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.linear import transposed
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.shapes import is_float, static_shape


@adjoint("Attention")
def attention(op: Builder, node: ir.Node, dy: ir.Value | None, *others: ir.Value | None) -> Cotangents:
    """Y = P V, P = softmax(S), S = scale * Q K^T + mask, per head.

    dV = P^T dY; dP = dY V^T, dS = P * (dP - sum(dP * P)); dQ = scale * dS K, dK = scale * dS^T Q, dmask = dS.
    Query heads that share a head of K and V are stacked as rows of one matrix, so its products add them up.
    """
    _refuse_what_is_not_covered(node, dy, others)
    assert dy is not None
    q, k, v = (tensor(node, i) for i in range(3))
    q_heads, heads = _heads(node)
    batch, length, scale = static_shape(q)[0], static_shape(q)[-2], _scale(node, q_heads)
    keys, values = _split(op, k, heads), _split(op, v, heads)
    (_, _, keys_length, size), rows = static_shape(keys), length * q_heads // heads
    queries = op.scale(op.reshape(_split(op, q, q_heads), batch, heads, rows, size), scale)
    dys = op.reshape(_split(op, dy, q_heads), batch, heads, rows, static_shape(values)[3])
    p = _probabilities(op, node, op.MatMul(queries, transposed(op, keys)), q_heads)
    dp = op.MatMul(dys, transposed(op, values))
    ds = op.Mul(p, op.Sub(dp, op.sum(op.Mul(dp, p), [3])))
    dq = op.reshape(op.scale(op.MatMul(ds, keys), scale), batch, q_heads, length, size)
    dk, dv = op.MatMul(transposed(op, ds), queries), op.MatMul(transposed(op, p), dys)
    dmask = op.reshape(ds, batch, q_heads, length, keys_length)
    return [_join(op, dq, q), _join(op, dk, k), _join(op, dv, v), dmask, None, None, None][: len(node.inputs)]


def _refuse_what_is_not_covered(node: ir.Node, dy: ir.Value | None, others: tuple[ir.Value | None, ...]) -> None:
    """Raise UnsupportedOperatorError for inputs, outputs and attributes that the rule does not cover."""
    mismatch = None
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if any(value is not None for value in node.inputs[4:]):
        mismatch = "past keys and values or their lengths as inputs, queries, keys, values and a mask are"
    elif dy is None or any(value is not None for value in others):
        mismatch = "a gradient at another output than Y, at Y alone is"
    elif node.attributes.get_float("softcap", 0.0) != 0.0:
        mismatch = f"softcap {node.attributes.get_float('softcap')}, 0 is"
    elif any(node.attributes.get_int(f"{side}_window_size", -1) != -1 for side in ("left", "right")):
        mismatch = "a sliding window, none is"
    elif mask is not None and static_shape(mask)[-1] != static_shape(tensor(node, 1))[-2]:
        mismatch = f"a mask for {static_shape(mask)[-1]} keys, one for all {static_shape(tensor(node, 1))[-2]} is"
    if mismatch is not None:
        raise refused(node, f"{mismatch} expected")


def _heads(node: ir.Node) -> tuple[int, int]:
    """Return how many heads queries have, and keys and values: attributes for 3D inputs, axis 1 of 4D ones."""
    q, k = static_shape(tensor(node)), static_shape(tensor(node, 1))
    if len(q) == 4:
        return q[1], k[1]
    return node.attributes["q_num_heads"].as_int(), node.attributes["kv_num_heads"].as_int()


def _scale(node: ir.Node, q_heads: int) -> float:
    """Return the attribute `scale`, by default 1 / sqrt(head size)."""
    q = static_shape(tensor(node))
    size = q[3] if len(q) == 4 else q[2] // q_heads
    return float(node.attributes.get_float("scale", 1 / math.sqrt(size)))


def _split(op: Builder, value: ir.Value, heads: int) -> ir.Value:
    """Return a tensor (N, length, heads * size) as (N, heads, length, size); one of four dimensions stays as it is."""
    shape = static_shape(value)
    if len(shape) == 4:
        return value
    return op.Transpose(op.reshape(value, *shape[:2], heads, shape[2] // heads), perm=[0, 2, 1, 3])


def _join(op: Builder, value: ir.Value, like: ir.Value) -> ir.Value:
    """Undo `_split`: return `value` in the form that the node's input `like` has."""
    if len(static_shape(like)) == 4:
        return value
    return op.reshape_like(op.Transpose(value, perm=[0, 2, 1, 3]), like)


def _probabilities(op: Builder, node: ir.Node, scores: ir.Value, q_heads: int) -> ir.Value:
    """Return the softmax of `scores` under the mask; a query that may see no key gets zeros, as ONNX defines it."""
    stacked = static_shape(scores)
    length = static_shape(tensor(node))[-2]
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    causal = np.tri(length, stacked[3], dtype=bool) if node.attributes.get_int("is_causal", 0) else None
    if mask is None and causal is None:
        return op.Softmax(scores, axis=3)
    scores = op.reshape(scores, stacked[0], q_heads, length, stacked[3])
    seen = None if causal is None else op.constant(causal)
    if mask is not None and is_float(mask):
        scores = op.Add(scores, mask)
    elif mask is not None:
        seen = mask if seen is None else op.And(mask, seen)
    if seen is not None:
        assert scores.dtype is not None
        lowest = float(scores.dtype.min) / 2  # no infinity, nor one when the maximum is subtracted
        scores = op.Where(seen, scores, lowest)
    p = op.Softmax(scores, axis=3)
    if mask is not None and not is_float(mask):
        p = op.Where(seen, p, 0.0)
    return op.reshape(p, *stacked)
