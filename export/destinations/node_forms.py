"""Forms of nodes: what the table of a destination asks about, and how a refused one is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import constant_array

Stage = Literal["parser", "builder"]


@dataclass(frozen=True)
class Form:
    """A form of some operators that a destination does not take.

    Attributes:
        operators: Their names in ONNX's own domain; none: any operator, of any domain.
        form: What of them is refused, as in "MaxPool: dilations other than 1".
        instead: What to do where the model itself has it, as an order.
        matches: Whether a node, of one of the operators, has the form.
        stage: Who refuses it.
        only: Which versions alone refuse it, as far as is known; empty: all. A warning is enough then.
    """

    operators: tuple[str, ...]
    form: str
    instead: str
    matches: Callable[[ir.Node], bool] = lambda node: True
    stage: Stage = "parser"
    only: str = ""

    def covers(self, node: ir.Node) -> bool:
        """Return whether a node has the form."""
        named = not self.operators or (node.op_type in self.operators and node.domain == "")
        return named and self.matches(node)


def ranks(node: ir.Node) -> list[int]:
    """Return the ranks of the inputs and outputs whose shape is known."""
    return [len(value.shape) for value in _values(node) if value.shape is not None]


def types(node: ir.Node) -> set[ir.DataType]:
    """Return the types of the inputs and outputs whose type is known."""
    return {value.dtype for value in _values(node) if value.dtype is not None}


def _values(node: ir.Node) -> list[ir.Value]:
    return [value for value in (*node.inputs, *node.outputs) if value is not None]


def sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a tensor where all of it is known."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """Return input number `index` of a node, None where it is absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def has_more_outputs(node: ir.Node) -> bool:
    """Return whether outputs behind the first have names, even if nothing reads them."""
    return any(value.name for value in node.outputs[1:])


def ints_other_than(name: str, number: int) -> Callable[[ir.Node], bool]:
    """Return a test of whether an attribute of whole numbers has an entry other than `number`."""
    return lambda node: any(entry != number for entry in node.attributes.get_ints(name, ()))


def int_other_than(name: str, number: int) -> Callable[[ir.Node], bool]:
    """Return a test of whether an attribute, `number` by default, has another value."""
    return lambda node: node.attributes.get_int(name, number) != number


def text_other_than(name: str, *expected: str) -> Callable[[ir.Node], bool]:
    """Return a test of whether an attribute, the first of `expected` by default, is none of them."""
    return lambda node: node.attributes.get_string(name, expected[0]) not in expected


def any_nonzero(value: ir.Value | None) -> bool:
    """Return whether a constant has an entry that is not 0."""
    array = constant_array(value)
    return array is not None and bool(np.any(np.asarray(array) != 0))


def has_both(node: ir.Node, names: Sequence[str], above: int = 1) -> bool:
    """Return whether each of these attributes has an entry above the number `above`."""
    return all(any(entry > above for entry in node.attributes.get_ints(name, ())) for name in names)


def reads_its_condition(loop: ir.Node) -> bool:
    """Return whether the body of a Loop without a condition of its own reads the one that it is given."""
    if input_at(loop, 1) is not None:
        return False
    body = loop.attributes["body"].as_graph()
    condition = body.inputs[1]
    return bool(condition.uses()) or condition.is_graph_output()
