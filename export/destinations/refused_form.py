"""The rows of a destination's table: forms of operators that it does not take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

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
        """Whether a node has the form."""
        named = not self.operators or (node.op_type in self.operators and node.domain == "")
        return named and self.matches(node)
