"""The table of adjoint rules, one per ONNX operator.

A rule gets the builder, the forward node and the cotangent of each of its outputs (None where no gradient arrives), and
returns one cotangent per input. None for an input means that no gradient can flow there. Broadcasting is the walk's
business: a rule may return a cotangent in the broadcast shape, which the walk sums down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx_ir as ir

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.nodes.builder import Builder as Builder  # what every rule needs comes from here
from aerocam.export.nodes.operator_tables import decorator_of
from aerocam.export.nodes.operator_tables import operator_name as operator_name

Cotangents: TypeAlias = Sequence[ir.Value | None]
Rule: TypeAlias = Callable[..., Cotangents]

ADJOINTS: dict[str, Rule] = {}
"""Adjoint rule per operator, filled by `@adjoint`."""

STOPPED = ir.Value(name="aerocam.stopped")
"""What a rule returns for an input that gets nothing by decision: the walk skips it. It is a value of no graph."""

NO_GRADIENT = frozenset(
    {
        "And", "ArgMax", "ArgMin", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
        "BlackmanWindow", "Ceil", "Constant", "ConstantOfShape", "ConvInteger", "Equal", "EyeLike", "Floor", "Greater",
        "GreaterOrEqual", "HammingWindow", "HannWindow", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual",
        "MatMulInteger", "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "NonZero", "Not", "OneHot",
        "OptionalHasElement", "Or", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Round",
        "SequenceLength", "Shape", "Sign", "Size", "TfIdfVectorizer", "Xor",
    }
)  # fmt: skip
"""Operators whose derivative is zero wherever it exists: no gradient flows, by decision and not by omission."""


_RECURRENT = "its steps are not in the graph; export the model with the steps unrolled"
_NO_RULE = "no rule is written yet"
_FOURIER = f"{_NO_RULE}; of fixed length it is a MatMul with a constant matrix"
_LIST = (
    "it works on a list of tensors; only lists that can be written as Split, Squeeze and Concat on reading go through"
)
_OPTIONAL = "it works on a value that may be absent; export the model without optional values"
_TEXT = "it works on text, which has no gradient; do it before the model"
_LOSS = "it is a loss, for training; export the model without it"
_STATE = f"{_NO_RULE}: it carries a state from call to call"

REFUSED: dict[str, str] = {
    "AffineGrid": f"{_NO_RULE}; a MatMul with a constant grid says the same",
    "BitCast": "it reads the bits of numbers as another type, which has no derivative",
    "CausalConvWithState": _STATE,
    "CenterCropPad": f"{_NO_RULE}; Slice and Pad with constant bounds say the same",
    "Col2Im": f"{_NO_RULE}; a ConvTranspose with a constant kernel says the same",
    "Compress": "how many entries it keeps depends on the data; a product with a mask keeps the shape",
    "ConcatFromSequence": _LIST,
    "CumProd": f"{_NO_RULE}; of positive numbers the Exp of the CumSum of the Log is the same",
    "DFT": _FOURIER,
    "Det": "its gradient takes an inverse matrix, for which ONNX has no operator",
    "DynamicQuantizeLinear": "its scale depends on the data; quantise the model statically, by QuantizeLinear",
    "GRU": _RECURRENT,
    "If": "which branch runs is known at run time only; where the condition is a constant, its branch is inlined",
    "ImageDecoder": "it reads an encoded picture, which has no gradient; decode pictures before the model",
    "LSTM": _RECURRENT,
    "LinearAttention": _STATE,
    "Loop": "how often its body runs is known at run time only; export the model with the loop unrolled",
    "MaxRoiPool": f"{_NO_RULE}; RoiAlign has one",
    "MeanVarianceNormalization": f"{_NO_RULE}; ReduceMean, Sub, Mul, Sqrt and Div say the same",
    "NegativeLogLikelihoodLoss": _LOSS,
    "Optional": _OPTIONAL,
    "OptionalGetElement": _OPTIONAL,
    "RNN": _RECURRENT,
    "Range": "its length depends on its inputs",
    "RegexFullMatch": _TEXT,
    "RotaryEmbedding": f"{_NO_RULE}; Slice, Mul, Sub, Add and Concat say the same",
    "STFT": _FOURIER,
    "Scan": "its body is a graph of its own; export the model with the loop unrolled",
    "SequenceAt": _LIST,
    "SequenceConstruct": _LIST,
    "SequenceEmpty": _LIST,
    "SequenceErase": _LIST,
    "SequenceInsert": _LIST,
    "SequenceMap": _LIST,
    "Shrink": f"{_NO_RULE}; Where, Add and Sub say the same",
    "SoftmaxCrossEntropyLoss": _LOSS,
    "SplitToSequence": _LIST,
    "StringConcat": _TEXT,
    "StringNormalizer": _TEXT,
    "StringSplit": _TEXT,
    "SwiGLU": f"{_NO_RULE}; Sigmoid and Mul say the same",
    "TensorScatter": f"{_NO_RULE}; ScatterND says the same",
    "Unique": "how many entries it keeps depends on the data",
}
"""Operators that are refused: why, and what to do where there is more to do than to choose another layer.

Every operator of ONNX's default domain has a rule, or is in `NO_GRADIENT`, or here.
"""


adjoint = decorator_of(ADJOINTS)
"""Registers a rule `(op: Builder, node: ir.Node, *dy: ir.Value | None) -> Cotangents` for some operators."""


def refused(node: ir.Node, found_and_expected: str) -> UnsupportedOperatorError:
    """Return the error that a rule raises for a form it does not cover; the walk adds what to do about it."""
    return UnsupportedOperatorError(f"operator {operator_name(node)} (node {node.name!r}): {found_and_expected}")


def tensor(node: ir.Node, index: int = 0) -> ir.Value:
    """Return input `index` of a node, which must be present."""
    value = node.inputs[index]
    assert value is not None, f"{node.op_type} {node.name!r} has no input {index}"
    return value
