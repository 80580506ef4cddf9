"""The table of fused heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx_ir as ir

from aerocam.export.builder import Builder

Head: TypeAlias = Callable[[Builder, ir.Value, ir.Value], ir.Value]

CAM_HEADS: dict[str, Head] = {}
"""Head per method, filled by `@cam_head`."""


def cam_head(method: str) -> Callable[[Head], Head]:
    """Register the head of `method`."""

    def register(head: Head) -> Head:
        CAM_HEADS[method] = head
        return head

    return register


def append_head(op: Builder, method: str, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """The raw map of a method, float32 (T, H, W)."""
    return op.widened(CAM_HEADS[method](op, activations, gradients))
