"""The tables of fused heads."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.heads.principal import first_component
from aerocam.export.heads.spatial import weighted_sum
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.methods import MethodFacts, row_of

if TYPE_CHECKING:
    from aerocam.export.tail import Tail

Function: TypeAlias = Callable[..., ir.Value]

TailHead: TypeAlias = "Callable[[Builder, ir.Value, Tail], ir.Value]"
"""Appends a method: from activations (1, C, h, w) and what follows them to a raw map (T, h, w)."""

TAIL_HEADS: dict[str, TailHead] = {}
"""Head per method that runs what follows the layer, and needs no gradients."""


@dataclass(frozen=True)
class CamHead:
    """A CAM method fused into the graph.

    Attributes:
        facts: The method's row in `aerocam.methods.METHODS`.
        function: Appends it: activations (N, C, H, W) and gradients (T, C, H, W), float32, N = T or 1, to the raw map
            (T, H, W), or, of a method that weighs, to weights w, (T, C, 1, 1) or (T, C, H, W), of which the map is
            Σ_c w_c A_c. Of activations alone where the method takes no gradients, and then with N for T.
    """

    facts: MethodFacts
    function: Function

    def __call__(
        self,
        op: Builder,
        activations: ir.Value,
        gradients: ir.Value | None,
        *,
        targets: int = 1,
        eigen_smooth: bool = False,
        planes: int = 1,
    ) -> ir.Value:
        """Append the method.

        Args:
            op: Builder of the graph.
            activations: (N, C, H, W), of any float type.
            gradients: (T, C, H, W), true ones: no seed scale in them. Not read where the method needs none.
            targets: T; a method that needs no gradients has the same map for all of them.
            eigen_smooth: Whether the weighted activations are shown on their first principal component.
            planes: Planes of a volume, which lie below each other; a method with a neighbourhood takes it within one.

        Returns:
            The raw map, float32 (T, H, W).

        Raises:
            UsageError: The method has no weights to smooth, or cannot be had at such a layer.
        """
        if eigen_smooth and not self.facts.weighs:
            raise UsageError(
                f"`eigen_smooth`: method {self.facts.name} has no weighted activations to smooth; take one of:"
                f" {', '.join(name for name, head in CAM_HEADS.items() if head.facts.weighs)}"
            )
        activations = op.single(activations)
        if self.facts.gradients is None:
            result = self.function(op, activations)
            result = op.expand(result, (targets, *static_shape(result)[1:]))
        else:
            assert gradients is not None
            neighbours = {"planes": planes} if "planes" in inspect.signature(self.function).parameters else {}
            result = self.function(op, activations, op.single(gradients), **neighbours)
        if not self.facts.weighs:
            return result
        if eigen_smooth:
            return first_component(op, op.Mul(result, activations), "mean_act")
        return weighted_sum(op, result, activations)


CAM_HEADS: dict[str, CamHead] = {}
"""Head per method on a layer's activations and gradients."""


def fuses(name: str) -> Callable[[Function], Function]:
    """Register the decorated function, which appends a method's nodes: a `CamHead`'s, of a `tail` method a `TailHead`.

    Args:
        name: Name of the method, as in its row in `aerocam.methods.METHODS`.

    Raises:
        ValueError: No method has that name, or its row says that it has no head.
    """
    facts = row_of(name)
    if facts.headless is not None:
        raise ValueError(
            f"method {name!r}: headless in its row is {facts.headless!r}, and @fuses makes a head; correct one"
        )

    def register(function: Function) -> Function:
        if facts.kind == "tail":
            TAIL_HEADS[name] = function
        else:
            CAM_HEADS[name] = CamHead(facts, function)
        return function

    return register
