"""Reverse-mode differentiation on the graph: one walk from the score back to the target layers.

Quantised models hold integers between float operators, as from QuantizeLinear to DequantizeLinear. There the walk takes
an integer for the real number it was rounded from (straight-through): such a value carries a gradient too. Its
cotangent is a float tensor per step of the integer, not per unit of what the step stands for: the rules of the
quantising operators put the scale in, so that a value may be written with one scale and read with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

import onnx_ir as ir

from aerocam.errors import ModelError, UnsupportedOperatorError
from aerocam.export.gradients.adjoints.composites import find_composite
from aerocam.export.gradients.adjoints.registry import ADJOINTS, NO_GRADIENT, REFUSED, STOPPED, Rule, refused, tensor
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.operator_tables import operator_name
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.tracing.folding import layer_fold
from aerocam.export.tracing.layout import layouts

QUANTISING = frozenset({"QLinearConv", "QLinearMatMul", "QuantizeLinear"})
"""Operators whose output 0 holds integers that were rounded from real numbers."""

MOVING = frozenset(
    {"Concat", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that may stand between those and pass the integers on as they are."""

READING = QUANTISING | MOVING | {"DequantizeLinear"}
"""Operators whose rule takes an integer input for a real number."""


def differentiate(
    op: Builder,
    score: ir.Value,
    seed: ir.Value,
    layers: Sequence[ir.Value],
    rules: Mapping[str, Rule] = ADJOINTS,
) -> list[ir.Value]:
    """Append the nodes that compute the gradient of `score` with respect to `layers`.

    Only nodes on a path from a layer to the score are visited. Gradients of a value used several times are added;
    a cotangent in a broadcast shape is summed down to its value's shape.

    Args:
        op: Builder of the graph that holds all values.
        score: What is differentiated.
        seed: Cotangent of `score`, of its shape.
        layers: Float values that the score depends on.
        rules: Rule per operator; another table than that of the adjoints gives other quantities than gradients.

    Returns:
        One value per layer, of the layer's shape.

    Raises:
        UnsupportedOperatorError: An operator on the path has no rule, or none for its form or an input on the path.
        ModelError: The score does not depend on a layer, or a shape on the path is not static.
    """
    path = nodes_between(op.graph, layers, score)
    members = set(path)
    active = {*layers, *(output for node in path for output in node.outputs)}
    arrived: dict[ir.Value, list[ir.Value]] = {score: [seed]}
    for node in reversed(path):
        dys = [op.total(arrived[y]) if y in arrived else None for y in node.outputs]
        if not any(dy is not None for dy in dys):
            continue
        if dys[0] is not None and (pattern := find_composite(node, members, layers, rules)):
            composite, x = pattern
            arrived.setdefault(x, []).append(composite.adjoint(op, node, x, dys[0]))
            continue
        with _way_out(op.graph, path, node):
            for x, dx in _cotangents(op, node, dys, active, rules):
                arrived.setdefault(x, []).append(dx)
    for layer in layers:
        if layer not in arrived:
            stopped = any(x is layer for node in path for x in values_read(node))
            found = "it acts as a constant, such as a gate" if stopped else "the score does not depend on it"
            raise ModelError(f"layer {layer.name!r}: {found}; choose another layer (aerocam layers MODEL)")
    return [op.total(arrived[layer]) for layer in layers]


def nodes_between(
    graph: ir.Graph, layers: Sequence[ir.Value], score: ir.Value, others: Set[ir.Node] = frozenset()
) -> list[ir.Node]:
    """Return the nodes on a differentiable path from any of `layers` to `score`, in topological order.

    Nodes in `others` count even where nothing can be differentiated.
    """
    forward: set[ir.Value] = set(layers)
    reached = []
    for node in graph:
        if not any(x in forward for x in values_read(node)):
            continue
        if node in others or (operator_name(node) not in NO_GRADIENT and any(map(carries_gradient, node.outputs))):
            reached.append(node)
            forward.update(node.outputs)
    backward = {score}
    path = []
    for node in reversed(reached):
        if any(y in backward for y in node.outputs):
            path.append(node)
            backward.update(x for x in values_read(node) if x in forward)
    return path[::-1]


def carries_gradient(value: ir.Value) -> bool:
    """Return whether `value` holds floats, or integers that were rounded from real numbers.

    A value whose type is unknown counts as floats: what cannot be differentiated then is refused, not passed over.
    """
    node = value.producer()
    if value.dtype is None:
        return True
    if is_float(value) or node is None or value is not node.outputs[0]:
        return is_float(value)
    if operator_name(node) in QUANTISING:
        return True
    return operator_name(node) in MOVING and any(
        x is not None and not is_float(x) and carries_gradient(x) for x in node.inputs
    )


def values_read(node: ir.Node) -> Iterator[ir.Value]:
    """Yield the inputs of a node and of all nodes in its graphs (branches of an If, the body of a Loop)."""
    yield from (x for x in node.inputs if x is not None)
    for attribute in node.attributes.values():
        graphs = {ir.AttributeType.GRAPH: [attribute.value], ir.AttributeType.GRAPHS: attribute.value}
        for graph in graphs.get(attribute.type, ()):
            for inner in graph:
                yield from values_read(inner)


def ancestors(*values: ir.Value) -> set[ir.Value]:
    """Return some values and every value that they are computed from."""
    seen, waiting = set(values), [*values]
    while waiting:
        node = waiting.pop().producer()
        new = {x for x in values_read(node) if x not in seen} if node is not None else set()
        seen |= new
        waiting += new
    return seen


def descendants(nodes: Iterable[ir.Node], values: Iterable[ir.Value]) -> set[ir.Value]:
    """Return some values and every value that nodes, in the graph's order, compute from them."""
    reached = set(values)
    for node in nodes:
        if any(x in reached for x in values_read(node)):
            reached.update(node.outputs)
    return reached


def _cotangents(
    op: Builder, node: ir.Node, dys: Sequence[ir.Value | None], active: Set[ir.Value], rules: Mapping[str, Rule]
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Yield the inputs of a node that depend on a layer, each with a cotangent of its shape.

    Raises:
        ModelError: The node has no rule, or is not of a form that its rule covers.
    """
    for i, (x, dx) in enumerate(zip(node.inputs, rule_of(node, rules)(op, node, *dys), strict=True)):
        if x is not None and dx is not STOPPED and depends(x, active):
            yield x, checked_cotangent(op, node, i, dx)


def depends(x: ir.Value, active: Set[ir.Value]) -> bool:
    """Return whether input `x` needs a cotangent: it is in `active`, so depends on a layer, and carries gradients."""
    return x in active and carries_gradient(x)


def checked_cotangent(op: Builder, node: ir.Node, i: int, dx: ir.Value | None) -> ir.Value:
    """Return `dx`, the cotangent that the rule of `node` gives for input `i`, in that input's shape.

    Raises:
        ModelError: `dx` is None, or the input holds integers that the rule does not take for real numbers.
    """
    x = tensor(node, i)
    if x.dtype is not None and not is_float(x) and operator_name(node) not in READING:
        problem = f"input {i} ({x.name!r}) holds quantised numbers, floats from a DequantizeLinear are expected"
        raise refused(node, problem)
    if dx is None:
        problem = f"its rule gives no gradient for input {i} ({x.name!r}), which depends on the target layer"
        raise refused(node, problem)
    return op.sum_to(dx, static_shape(x))


def rule_of(node: ir.Node, rules: Mapping[str, Rule] = ADJOINTS) -> Rule:
    """Return the rule of a node's operator, from the table of adjoints or another one.

    Raises:
        UnsupportedOperatorError: The table has no rule for the operator.
    """
    name = operator_name(node)
    rule = rules.get(name)
    if rule is None:
        reason = f": {REFUSED[name]}" if name in REFUSED else ""
        raise UnsupportedOperatorError(
            f"operator {name} (node {node.name!r}, output {node.outputs[0].name!r}) lies between the target layer and"
            f" the score and has no adjoint rule{reason}"
        )
    return rule


@contextmanager
def _way_out(graph: ir.Graph, path: Sequence[ir.Node], node: ir.Node) -> Iterator[None]:
    """Add to every refusal at `node` the nearest layer that can be explained."""
    try:
        yield
    except ModelError as error:
        nearest = _nearest_layer(graph, path, node)
        raise type(error)(
            f"{error}; choose a target layer behind it"
            f"{f', the nearest is {nearest!r}' if nearest else ''} (aerocam layers MODEL shows them)"
        ) from error


def _nearest_layer(graph: ir.Graph, path: Sequence[ir.Node], node: ir.Node) -> str:
    """Return the name of the first value computed from `node` that can be a target layer, "" if none can.

    The walk comes from the score, so what lies behind `node` on the path has rules.
    """
    layout_of = layouts(graph, [x for x in graph.inputs if is_float(x)])
    reached = set(node.outputs)
    for later in path[path.index(node) :]:
        if later is not node and reached.isdisjoint(values_read(later)):
            continue
        reached.update(later.outputs)
        for value in later.outputs:
            if layer_fold(value, layout_of.get(value)) is not None:
                return str(value.name)
    return ""
