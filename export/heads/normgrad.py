"""NormGrad in four forms; what each is: `aerocam.runtime.methods.normgrad`."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.heads import spatial
from aerocam.export.heads.registry import cam_head
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape


@cam_head("normgrad")
def normgrad(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """NormGrad of a 1x1 convolution (arXiv:2004.02866, table 1)."""
    return op.Mul(_norm(op, spatial.narrowed(op, gradients)), _norm(op, activations))


@cam_head("normgrad-3x3")
def normgrad_3x3(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """NormGrad of a 3x3 convolution (arXiv:2004.02866, table 1)."""
    n, _, height, width = static_shape(activations)
    squared = op.reshape(_squares(op, activations), n, 1, height, width)
    around = op.AveragePool(squared, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], count_include_pad=1)
    met = op.reshape(op.Sqrt(op.Mul(around, 9.0)), n, height, width)
    return op.Mul(_norm(op, spatial.narrowed(op, gradients)), met)


@cam_head("normgrad-scaling")
def normgrad_scaling(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """NormGrad of a factor per channel (arXiv:2004.02866, table 1)."""
    return _norm(op, op.Mul(spatial.narrowed(op, gradients), activations))


@cam_head("normgrad-bias")
def normgrad_bias(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """NormGrad of a number added per channel (arXiv:2004.02866, table 1)."""
    targets, _, height, width = static_shape(gradients)
    return op.expand(_norm(op, spatial.narrowed(op, gradients)), (targets, height, width))


def _norm(op: Builder, value: ir.Value) -> ir.Value:
    """The Euclidean norm over the channels: (T, C, H, W) -> (T, H, W)."""
    return op.Sqrt(_squares(op, value))


def _squares(op: Builder, value: ir.Value) -> ir.Value:
    """The sum of squares over the channels: (T, C, H, W) -> (T, H, W)."""
    return spatial.channel_sum(op, op.Mul(value, value))
