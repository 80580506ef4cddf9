"""LSTM, GRU and RNN of a known length, written step by step.

The input's share of all gates, of all steps, is one product; each step adds that of the state before. Rows are
sequences, (N, ...). What has lengths per sequence, activations with parameters, `clip` (which ONNX Runtime applies
before the bias, ONNX behind it) or `layout` 1 is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import static_shape

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""Activations of one direction, where none are given."""

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

ACTIVATIONS = frozenset(
    {"Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"}
)
"""Activations that are operators, whose parameters have the same default values there."""

State: TypeAlias = tuple[ir.Value, ...]
"""h, (N, hidden); of an LSTM also c."""


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent node: its weights, and how its activations are computed.

    Attributes:
        op: Builder of the graph.
        node: The node.
        recurrent: R, (gates * hidden, hidden).
        bias: The recurrent bias, (gates * hidden), or None.
        peepholes: P, (3 * hidden), or None.
        activations: f, g and h, as far as the operator has them.
    """

    op: Builder
    node: ir.Node
    recurrent: ir.Value
    bias: ir.Value | None
    peepholes: ir.Value | None
    activations: Sequence[str]

    @property
    def hidden(self) -> int:
        """Return the length of the state."""
        return static_shape(self.recurrent)[1]

    def activated(self, number: int, value: ir.Value) -> ir.Value:
        """Return activation `number` of `value`."""
        return getattr(self.op, self.activations[number])(value)

    def gate(self, value: ir.Value, first: int, count: int = 1) -> ir.Value:
        """Return the columns, or of a vector the entries, that `count` gates from number `first` on have."""
        axis = len(static_shape(value)) - 1
        return self.op.slice_axis(value, axis, first * self.hidden, (first + count) * self.hidden)

    def from_state(self, h: ir.Value, first: int, count: int) -> ir.Value:
        """Return what the state gives to `count` gates, without a bias."""
        rows = self.op.slice_axis(self.recurrent, 0, first * self.hidden, (first + count) * self.hidden)
        return self.op.Gemm(h, rows, transB=1)


def _lstm(at: Direction, x: ir.Value, state: State) -> State:
    """Return h and c after one step; `x`, (N, 4 * hidden), is the input's share, with all biases. Gates i, o, f, c."""
    op, (h, c) = at.op, state
    gates = op.Add(x, at.from_state(h, 0, 4))
    i, o, f, g = (at.gate(gates, number) for number in range(4))
    if at.peepholes is not None:
        i, f = (op.Add(gate, op.Mul(c, at.gate(at.peepholes, n))) for gate, n in ((i, 0), (f, 2)))
    i = at.activated(0, i)
    f = op.Sub(1.0, i) if at.node.attributes.get_int("input_forget", 0) else at.activated(0, f)
    c = op.Add(op.Mul(f, c), op.Mul(i, at.activated(1, g)))
    if at.peepholes is not None:
        o = op.Add(o, op.Mul(c, at.gate(at.peepholes, 1)))
    return op.Mul(at.activated(0, o), at.activated(2, c)), c


def _gru(at: Direction, x: ir.Value, state: State) -> State:
    """Return h after one step; `x`, (N, 3 * hidden), has no recurrent bias. Gates z, r, h."""
    op, (h,) = at.op, state
    gates = op.Add(at.gate(x, 0, 2), at.from_state(h, 0, 2))
    if at.bias is not None:
        gates = op.Add(gates, at.gate(at.bias, 0, 2))
    z, r = (at.activated(0, at.gate(gates, number)) for number in range(2))
    first = bool(at.node.attributes.get_int("linear_before_reset", 0))
    own = at.from_state(h if first else op.Mul(r, h), 2, 1)
    if at.bias is not None:
        own = op.Add(own, at.gate(at.bias, 2))
    new = at.activated(1, op.Add(at.gate(x, 2), op.Mul(r, own) if first else own))
    return (op.Add(op.Mul(op.Sub(1.0, z), new), op.Mul(z, h)),)


def _rnn(at: Direction, x: ir.Value, state: State) -> State:
    return (at.activated(0, at.op.Add(x, at.from_state(state[0], 0, 1))),)


STEPS: dict[str, Callable[[Direction, ir.Value, State], State]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def unrolled(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Return Y, Y_h and of an LSTM Y_c; None for a form that is not unrolled."""
    x, w, r = node.inputs[:3]
    optional: list[ir.Value | None] = [*node.inputs[3:], *[None] * (8 - len(node.inputs))]
    b, lengths, h, c, p = optional[:5]
    assert x is not None
    assert w is not None
    assert r is not None
    steps, batch, features = static_shape(x)
    directions, rows, _ = static_shape(w)
    names = _activations(node, directions)
    if names is None or not _is_full(lengths, steps) or node.attributes.get_int("layout", 0) == 1:
        return None
    kind, reverse = node.op_type, node.attributes.get_string("direction", "forward") == "reverse"
    flat, zeros = op.reshape(x, steps * batch, features), op.floats_like(x, np.zeros((batch, rows // GATES[kind])))
    ends = []
    for d in range(directions):
        part = partial(_of_direction, op, d)
        biases = [] if b is None else [op.slice_axis(part(b), 0, i * rows, (i + 1) * rows) for i in range(2)]
        peepholes = None if p is None else part(p)
        at = Direction(op, node, part(r), biases[1] if biases else None, peepholes, names[d])
        share = op.total([op.Gemm(flat, part(w), transB=1), *biases[: 1 if kind == "GRU" else 2]])
        inputs = op.Split(share, op.integers(*(batch,) * steps), axis=0, _outputs=steps) if steps > 1 else [share]
        starts = (h, c) if kind == "LSTM" else (h,)
        state = tuple(zeros if start is None else part(start) for start in starts)
        ends.append(_walked(at, inputs, state, backwards=d == 1 or reverse))
    return [op.Concat(*values, axis=int(i == 0)) for i, values in enumerate(zip(*ends, strict=True))]


def _walked(at: Direction, inputs: Sequence[ir.Value], state: State, backwards: bool) -> list[ir.Value]:
    """Return h of all steps, (steps, 1, N, hidden), and the last state, (1, N, hidden) each."""
    hs = []
    for x in reversed(inputs) if backwards else inputs:
        state = STEPS[at.node.op_type](at, x, state)
        hs.append(state[0])
    rows = at.op.Concat(*(reversed(hs) if backwards else hs), axis=0)
    batch, hidden = static_shape(hs[0])
    return [at.op.reshape(rows, len(hs), 1, batch, hidden), *(at.op.reshape(last, 1, batch, hidden) for last in state)]


def _of_direction(op: Builder, number: int, value: ir.Value) -> ir.Value:
    """Return what a direction has of a tensor, without the axis of directions."""
    return op.reshape(op.slice_axis(value, 0, number, number + 1), *static_shape(value)[1:])


def _is_full(lengths: ir.Value | None, steps: int) -> bool:
    """Return whether every sequence has all steps."""
    numbers = constant_array(lengths)
    return lengths is None or (numbers is not None and bool((numbers == steps).all()))


def _activations(node: ir.Node, directions: int) -> list[list[str]] | None:
    """Return the activations of each direction, as operators; None where they are not all operators, or clipped."""
    attribute, count = node.attributes.get("activations"), len(DEFAULTS[node.op_type])
    names = attribute.as_strings() if attribute is not None else DEFAULTS[node.op_type] * directions
    titles = {name.lower(): name for name in ACTIVATIONS}
    if not node.attributes.keys().isdisjoint({"activation_alpha", "activation_beta", "clip"}) or any(
        name.lower() not in titles for name in names
    ):
        return None
    return [[titles[name.lower()] for name in names[d * count : (d + 1) * count]] for d in range(directions)]
