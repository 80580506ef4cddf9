"""Weights by a closed formula of activations and gradients; what each is: `aerocam.runtime.methods.gradient`.

Where the gradients are the same at every position they are taken once: (T, C, 1, 1), broadcast where need be. Where the
graph says that activations cannot be negative, which the operator that most layers end in settles, heads are shorter.
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.heads import spatial
from aerocam.export.heads.registry import fuses
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import static_shape

NEVER_NEGATIVE = frozenset(
    {"Abs", "Exp", "HardSigmoid", "Relu", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Sigmoid", "Softmax", "Softplus"}
)
"""Operators whose results are 0 or more whatever they are given."""

KEEPING = frozenset(
    {
        "Add", "AveragePool", "Cast", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "GlobalAveragePool",
        "GlobalMaxPool", "Identity", "MaxPool", "Mul", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sum",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose results are 0 or more where all their float inputs are."""


@fuses("gradcam")
def gradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute Grad-CAM (arXiv:1610.02391, eq. 1)."""
    return spatial.mean(op, gradients)


@fuses("finercam")
def finercam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute Finer-CAM (arXiv:2501.11309) over Grad-CAM: the gradients are those of its score."""
    return spatial.mean(op, gradients)


@fuses("gradcam++")
def gradcam_plus_plus(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute Grad-CAM++ (arXiv:1710.11063, eq. 19)."""
    g = op.Relu(spatial.narrowed(op, gradients))  # where G is not positive the weight is 0 anyway
    squared = op.Mul(g, g)
    cubed = op.Mul(op.Mul(squared, g), spatial.careful_sum(op, activations))
    divisor = op.Add(op.Add(op.Mul(squared, 2.0), cubed), 1e-6)
    quotient = op.Div if never_negative(activations) else partial(_quotient, op)
    return spatial.total(op, op.Mul(g, quotient(squared, divisor)), gradients)


@fuses("xgradcam")
def xgradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute XGrad-CAM (arXiv:2008.02312, eq. 7)."""
    g, whole = spatial.narrowed(op, gradients), spatial.careful_sum(op, activations)
    products = spatial.careful_sum(op, op.Mul(g, activations)) if g is gradients else op.Mul(g, whole)
    quotient = op.Div if never_negative(activations) else partial(_quotient, op)
    return quotient(products, op.Add(whole, 1e-7))


@fuses("layercam")
def layercam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute LayerCAM (Jiang et al., IEEE TIP 2021, eq. 5)."""
    return op.Relu(spatial.narrowed(op, gradients))


@fuses("hirescam")
def hirescam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute HiResCAM (arXiv:2011.08891, eq. 4)."""
    return spatial.narrowed(op, gradients)


@fuses("gradcamelementwise")
def gradcam_elementwise(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute element-wise Grad-CAM: the gradient where it and the activation have the same sign."""
    g = spatial.narrowed(op, gradients)
    return op.Relu(g) if never_negative(activations) else op.masked(g, op.Greater(op.Mul(g, activations), 0.0))


@fuses("cam")
def cam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute CAM (arXiv:1512.04150, eq. 2).

    Raises:
        UsageError: The graph does not say that the gradients are the same at every position.
    """
    g = spatial.narrowed(op, gradients)
    if static_shape(g)[2:] != (1, 1):
        raise UsageError(
            "`head='cam'`: the gradient varies over the map, expected one value per channel, as a head of global"
            " average pooling and one linear layer gives it; take `head='gradcam'`, or the layer just before the"
            " pooling"
        )
    return spatial.total(op, g, gradients)


def _quotient(op: Builder, numerator: ir.Value, denominator: ir.Value) -> ir.Value:
    """Return the quotient, 0 where the denominator is 0."""
    zero = op.Cast(op.Equal(denominator, 0.0), to=denominator.dtype)
    return op.Mul(op.Div(numerator, op.Add(denominator, zero)), op.Sub(1.0, zero))


@fuses("normgrad")
def normgrad(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute NormGrad of a 1x1 convolution (arXiv:2004.02866, table 1)."""
    return op.Mul(_norm(op, spatial.narrowed(op, gradients)), _norm(op, activations))


@fuses("normgrad-3x3")
def normgrad_3x3(op: Builder, activations: ir.Value, gradients: ir.Value, planes: int = 1) -> ir.Value:
    """Compute NormGrad of a 3x3 convolution (arXiv:2004.02866, table 1), in each plane of a volume for itself."""
    n, _, height, width = static_shape(activations)
    squared = op.reshape(_squares(op, activations), n * planes, 1, height // planes, width)
    around = op.AveragePool(squared, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], count_include_pad=1)
    met = op.reshape(op.Sqrt(op.Mul(around, 9.0)), n, height, width)
    return op.Mul(_norm(op, spatial.narrowed(op, gradients)), met)


@fuses("normgrad-scaling")
def normgrad_scaling(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute NormGrad of a factor per channel (arXiv:2004.02866, table 1)."""
    return _norm(op, op.Mul(spatial.narrowed(op, gradients), activations))


@fuses("normgrad-bias")
def normgrad_bias(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute NormGrad of a number added per channel (arXiv:2004.02866, table 1)."""
    targets, _, height, width = static_shape(gradients)
    return op.expand(_norm(op, spatial.narrowed(op, gradients)), (targets, height, width))


def _norm(op: Builder, value: ir.Value) -> ir.Value:
    """Return the Euclidean norm over the channels: (T, C, H, W) -> (T, H, W)."""
    return op.Sqrt(_squares(op, value))


def _squares(op: Builder, value: ir.Value) -> ir.Value:
    """Return the sum of squares over the channels: (T, C, H, W) -> (T, H, W)."""
    return spatial.channel_sum(op, op.Mul(value, value))


@fuses("relevance")
def relevance(op: Builder, activations: ir.Value, multipliers: ir.Value) -> ir.Value:
    """Compute layer-wise relevance propagation (Bach et al., PLoS ONE 2015): the weights are the multipliers."""
    return spatial.narrowed(op, multipliers)


def never_negative(value: ir.Value) -> bool:
    """Return whether the operators that compute `value` rule out that it is negative."""
    node = value.producer()
    if node is None:
        array = constant_array(value)
        return array is not None and bool((array >= 0).all())
    if node.op_type == "Clip":
        low = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and float(low.reshape(-1)[0]) >= 0
    if node.op_type in NEVER_NEGATIVE:
        return True
    floats = [x for x in node.inputs if x is not None and x.dtype is not None and x.dtype.is_floating_point()]
    return node.op_type in KEEPING and all(never_negative(x) for x in floats)
