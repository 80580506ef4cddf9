"""Tables with an entry per operator: how they are filled, by what name a node is looked up, and what entries share."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TypeVar

import onnx_ir as ir

from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

Entry = TypeVar("Entry", bound=Callable)


def decorator_of(table: MutableMapping[str, Entry]) -> Callable[..., Callable[[Entry], Entry]]:
    """Return the decorator that enters a function into a table under some names.

    It raises ValueError where one of the names has an entry already.
    """

    def entering(*names: str) -> Callable[[Entry], Entry]:
        def enter(function: Entry) -> Entry:
            if taken := [name for name in names if name in table]:
                raise ValueError(f"{taken[0]} has an entry already: {table[taken[0]].__name__}")
            table.update(dict.fromkeys(names, function))
            return function

        return enter

    return entering


def operator_name(node: ir.Node) -> str:
    """Return a node's operator, its key in a table, with its domain in front unless that is the default one."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def axes_of_reduction(node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes that a reduction reduces, counted from the front, by its attribute or its second input.

    Where it names none, they are all axes, or no axis with `noop_with_empty_axes`. None where they are computed.
    """
    rank = len(static_shape(node.inputs[0]))  # type: ignore[arg-type]
    axes = node.attributes.get_ints("axes", ())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        if array is None:
            return None
        axes = array.tolist()
    if not axes and not node.attributes.get_int("noop_with_empty_axes", 0):
        return tuple(range(rank))
    return tuple(int(axis) % rank for axis in axes)
