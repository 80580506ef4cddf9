"""The table of fused heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from aerocam.export.builder import Builder

if TYPE_CHECKING:
    from aerocam.export.tail import Tail

Head: TypeAlias = Callable[[Builder, ir.Value, ir.Value], ir.Value]

TailHead: TypeAlias = "Callable[[Builder, ir.Value, Tail], ir.Value]"

CAM_HEADS: dict[str, Head] = {}
"""Head per method, filled by `@cam_head`."""

TAIL_HEADS: dict[str, TailHead] = {}
"""Head per method that runs what follows the layer, and needs no gradients; filled by `@tail_head`."""

HEADLESS = {
    "occlusion": "it runs the whole model, which is no part of the graph behind a layer, once per patch",
    "rise": "it runs the whole model, which is no part of the graph behind a layer, once per mask",
    "scorecam": "it runs the whole model, which is no part of the graph behind a layer, once per channel",
}
"""Methods that only run the model forward and have no head, and why."""


def cam_head(method: str) -> Callable[[Head], Head]:
    """Register the head of `method`."""

    def register(head: Head) -> Head:
        CAM_HEADS[method] = head
        return head

    return register


def tail_head(method: str) -> Callable[[TailHead], TailHead]:
    """Register the head of `method`: from activations (1, C, h, w) and what follows them to a raw map (T, h, w)."""

    def register(head: TailHead) -> TailHead:
        TAIL_HEADS[method] = head
        return head

    return register


def append_head(op: Builder, method: str, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """The raw map of a method, float32 (T, H, W)."""
    return op.widened(CAM_HEADS[method](op, activations, gradients))
