"""The table of fused heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.heads.principal import first_component
from aerocam.export.heads.spatial import weighted_sum
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.manifest import Contrast

if TYPE_CHECKING:
    from aerocam.export.tail import Tail

Function: TypeAlias = Callable[..., ir.Value]

TailHead: TypeAlias = "Callable[[Builder, ir.Value, Tail], ir.Value]"

TAIL_HEADS: dict[str, TailHead] = {}
"""Head per method that runs what follows the layer, and needs no gradients; filled by `@tail_head`."""


@dataclass(frozen=True)
class CamHead:
    """A CAM method fused into the graph.

    Attributes:
        name: Its key in `CAM_HEADS`: the method's.
        function: Appends it: activations (N, C, H, W) and gradients (T, C, H, W), float32, N = T or 1, to the raw map
            (T, H, W), or to weights. Of activations alone where `needs_gradients` is False, and then with N for T.
        weighs: Whether `function` gives weights w, (T, C, 1, 1) or (T, C, H, W), of which the map is Σ_c w_c A_c.
        needs_gradients: Whether it reads them.
    """

    name: str
    function: Function
    weighs: bool = False
    needs_gradients: bool = True

    def __call__(
        self,
        op: Builder,
        activations: ir.Value,
        gradients: ir.Value | None,
        *,
        targets: int = 1,
        eigen_smooth: bool = False,
    ) -> ir.Value:
        """Append the method.

        Args:
            op: Builder of the graph.
            activations: (N, C, H, W), of any float type.
            gradients: (T, C, H, W), true ones: no seed scale in them. Not read where the method needs none.
            targets: T; a method that needs no gradients has the same map for all of them.
            eigen_smooth: Whether the weighted activations are shown on their first principal component.

        Returns:
            The raw map, float32 (T, H, W).

        Raises:
            UsageError: The method has no weights to smooth, or cannot be had at such a layer.
        """
        if eigen_smooth and not self.weighs:
            raise UsageError(
                f"--eigen-smooth: method {self.name} has no weighted activations to smooth; take one of:"
                f" {', '.join(head.name for head in CAM_HEADS.values() if head.weighs)}"
            )
        activations = op.single(activations)
        if not self.needs_gradients:
            found = self.function(op, activations)
            found = op.expand(found, (targets, *static_shape(found)[1:]))
        else:
            assert gradients is not None
            found = self.function(op, activations, op.single(gradients))
        if not self.weighs:
            return found
        if eigen_smooth:
            return first_component(op, op.Mul(found, activations), "mean_act")
        return weighted_sum(op, found, activations)


CAM_HEADS: dict[str, CamHead] = {}
"""Head per method, filled by `@cam_head` and `@weighting_head`."""

HEAD_CONTRASTS: dict[str, Contrast] = {}
"""The score of a head that explains no logit."""

HEADLESS: dict[str, str] = {
    "occlusion": "it runs the whole model, which is no part of the graph behind a layer, once per patch",
    "rise": "it runs the whole model, which is no part of the graph behind a layer, once per mask",
    "scorecam": "it runs the whole model, which is no part of the graph behind a layer, once per channel",
    "kpcacam": "its kernel matrix is not definite, and repeated squaring finds the eigenvalue of the largest magnitude,"
    " not the largest",
}
"""Methods that are not fused: why."""


def cam_head(method: str, needs_gradients: bool = True) -> Callable[[Function], Function]:
    """Enter a function that gives the raw map of `method`; arguments as of `CamHead`."""
    return _register(method, weighs=False, needs_gradients=needs_gradients)


def weighting_head(
    method: str, contrast: Contrast = "none", needs_gradients: bool = True
) -> Callable[[Function], Function]:
    """Enter a function that gives the weights of `method`.

    Args:
        method: The method's name.
        contrast: The score that it needs.
        needs_gradients: See `CamHead`.
    """
    if contrast != "none":
        HEAD_CONTRASTS[method] = contrast
    return _register(method, weighs=True, needs_gradients=needs_gradients)


def _register(method: str, weighs: bool, needs_gradients: bool) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        CAM_HEADS[method] = CamHead(method, function, weighs, needs_gradients)
        return function

    return register


def tail_head(method: str) -> Callable[[TailHead], TailHead]:
    """Register the head of `method`: from activations (1, C, h, w) and what follows them to a raw map (T, h, w)."""

    def register(head: TailHead) -> TailHead:
        TAIL_HEADS[method] = head
        return head

    return register
