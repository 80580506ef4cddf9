"""What NVIDIA's parser and builder do not take, a row per form.

Each row without `only` was tried with TensorRT-RTX 1.7.1, whose parser is of the generation of TensorRT 11. What older
versions refuse besides is known from the sources of their parsers, and warned of.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.destinations.node_forms import (
    Form,
    any_nonzero,
    has_both,
    has_more_outputs,
    input_at,
    int_other_than,
    ints_other_than,
    ranks,
    reads_its_condition,
    sizes,
    text_other_than,
    types,
)
from aerocam.export.nodes.builder import constant_array

HIGHEST_RANK = 8
"""Axes that a tensor can have in TensorRT."""

MOST_CHOSEN = 3840
"""Entries that TensorRT's TopK gives at most."""

UNKNOWN = (
    "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "Det",
    "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix",
    "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv",
    "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
    "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat",
    "StringNormalizer", "StringSplit", "SwiGLU", "TfIdfVectorizer", "Unique",
)  # fmt: skip
"""Operators of ONNX that the parser has no function for."""

TYPES = {
    ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64, ir.DataType.STRING,
    ir.DataType.COMPLEX64, ir.DataType.COMPLEX128,
}  # fmt: skip
"""Types that TensorRT does not have."""

RTX = "TensorRT-RTX"
_COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn")
_SPELL_OUT = "export the model with the operation spelled out in simpler ones"
_QDQ = "quantise the model to QuantizeLinear and DequantizeLinear (QuantFormat.QDQ), symmetric int8"
_TRAINED = "export the model for inference"


def _keeps_uint8(node: ir.Node) -> bool:
    """Return whether a node computes with uint8: TensorRT takes it at a graph's ends only, before or behind a Cast."""
    if ir.DataType.UINT8 not in types(node):
        return False
    if node.op_type == "QuantizeLinear":
        return False
    if node.op_type == "DequantizeLinear":
        return constant_array(node.inputs[0]) is not None
    if node.op_type != "Cast":
        return True
    (y,) = node.outputs
    return y.dtype == ir.DataType.UINT8 and (bool(y.uses()) or not y.is_graph_output())


def _too_many_chosen(node: ir.Node) -> bool:
    """Return whether a TopK gives more entries than TensorRT's does."""
    shape = sizes(node.outputs[0])
    k = constant_array(input_at(node, 1))
    axis = node.attributes.get_int("axis", -1)
    most = int(k.max()) if k is not None and k.size else shape[axis] if shape else 0
    return most > MOST_CHOSEN


def _is_vector_by_batch(node: ir.Node) -> bool:
    """Return whether a vector is multiplied with several matrices."""
    a, b = sizes(node.inputs[0]), sizes(node.inputs[1])
    return a is not None and b is not None and len(a) == 1 and any(size > 1 for size in b[:-2])


def _has_fewer_axes(node: ir.Node) -> bool:
    """Return whether a Slice without the input axes has starts for fewer axes than there are."""
    x, starts = sizes(node.inputs[0]), sizes(input_at(node, 1))
    return input_at(node, 3) is None and x is not None and starts is not None and starts[0] < len(x)


def _odd_values(node: ir.Node) -> bool:
    k, v = sizes(node.inputs[1]), sizes(node.inputs[2])
    return k is not None and v is not None and k != v


def _without_kernel(node: ir.Node) -> bool:
    """Return whether an Attention on (N, heads, L, size) has no kernel: float16 with sizes that 16 divides has."""
    q = sizes(node.inputs[0])
    if q is None or len(q) != 4:
        return False
    return node.inputs[0].dtype == ir.DataType.FLOAT or q[-1] % 16 != 0  # type: ignore[union-attr]


FORMS: list[Form] = [
    Form((), "an operator of another domain than ONNX's",
         "export the model with ONNX's own operators, or give TensorRT a plugin for it", lambda node: node.domain != "",
         only="TensorRT without a plugin of that name"),
    Form((), f"a tensor with more than {HIGHEST_RANK} axes", "fold some of them with a Reshape",
         lambda node: any(rank > HIGHEST_RANK for rank in ranks(node))),
    Form((), "whole numbers of 16 bits, unsigned ones of 32 or 64, text, complex numbers",
         "export the model with int32 or int64 for whole numbers", lambda node: not types(node).isdisjoint(TYPES)),
    Form((), "uint8 between nodes, other than an input before a Cast and an output behind one",
         "cast to float first, or quantise to int8", _keeps_uint8),
    Form(tuple(name for name in UNKNOWN if name not in ("QLinearConv", "QLinearMatMul")),
         "any form: the parser does not know the operator", _SPELL_OUT),
    Form(("QLinearConv", "QLinearMatMul"), "any form: the parser does not know the operator", _QDQ),
    Form(("QuantizeLinear", "DequantizeLinear"), "zero points other than 0", _QDQ,
         lambda node: any_nonzero(input_at(node, 2))),
    Form(("DequantizeLinear",), "int32, as of a quantised bias", "quantise without it (extra_options QuantizeBias off)",
         lambda node: ir.DataType.INT32 in types(node)),
    Form(("MaxPool",), "the second output, the places of the maxima, even where nothing reads it",
         "export the model without it", has_more_outputs),
    Form(("MaxPool", "AveragePool", "LpPool"), "dilations other than 1", _SPELL_OUT, ints_other_than("dilations", 1)),
    Form(("LpPool",), "p other than 1 and 2", _SPELL_OUT, lambda node: node.attributes.get_int("p", 2) > 2),
    Form(("LpPool",), "one spatial axis", "let it have two, one of length 1", lambda node: ranks(node)[0] == 3),
    Form(("Conv", "ConvTranspose"), "more than three spatial axes", _SPELL_OUT, lambda node: ranks(node)[0] > 5),
    Form(("ConvTranspose",), "strides and dilations together", "put the zeros between the taps into the weight itself",
         lambda node: has_both(node, ("strides", "dilations")), stage="builder"),
    Form(("Resize",), "antialias", "export the model without antialiasing", int_other_than("antialias", 0)),
    Form(("Resize",), "keep_aspect_ratio_policy other than stretch", "give it the sizes that it computes",
         text_other_than("keep_aspect_ratio_policy", "stretch")),
    Form(("Resize",), "the coordinates of half_pixel_symmetric and tf_crop_and_resize",
         "export the model with half_pixel ones, and a Slice for the crop",
         text_other_than("coordinate_transformation_mode", *_COORDINATES)),
    Form(("ScatterElements", "ScatterND"), "a reduction", "export the model with a product with a one-hot matrix",
         text_other_than("reduction", "none")),
    Form(("ArgMax", "ArgMin", "Hardmax", "LogSoftmax", "Softmax"), "a tensor with one axis",
         "give it a second one of length 1", lambda node: ranks(node)[0] == 1),
    Form(("TopK",), f"more than {MOST_CHOSEN} entries", "let it choose fewer", _too_many_chosen, stage="builder"),
    Form(("MatMul",), "a vector by several matrices", "give the vector a second axis", _is_vector_by_batch),
    Form(("Slice",), "starts for fewer axes than there are, without the input axes", "give it the axes",
         _has_fewer_axes),
    Form(("LayerNormalization",), "the outputs Mean and InvStdDev, even where nothing reads them",
         "export the model without them", has_more_outputs),
    Form(("BatchNormalization",), "training_mode", _TRAINED, int_other_than("training_mode", 0)),
    Form(("Dropout",), "training_mode", _TRAINED, lambda node: any_nonzero(input_at(node, 2))),
    Form(("Loop",), "no condition, where the body reads it", "give it a constant one that is true",
         reads_its_condition),
    Form(("Scan",), "any form", "export the model with the loop unrolled"),
    Form(("Attention",), "keys and values of different shapes", _SPELL_OUT, _odd_values),
    Form(("Attention",), "is_causal and a mask together", "put the causal part into the mask",
         lambda node: input_at(node, 3) is not None and bool(node.attributes.get_int("is_causal", 0))),
    Form(("Attention",), "softcap, or outputs behind the first", _SPELL_OUT,
         lambda node: has_more_outputs(node) or bool(node.attributes.get_float("softcap", 0.0))),
    Form(("Attention",), "four axes in float32, or with a head size that 16 does not divide",
         f"{_SPELL_OUT} (opset 22 or older), or with three axes and q_num_heads", _without_kernel, stage="builder"),
    Form(("RoiAlign", "DeformConv", "NonZero"), "any form: it has no plugin for them", _SPELL_OUT, only=RTX),
    Form(("NonMaxSuppression",), "any form", "export the model without suppression", stage="builder", only=RTX),
    Form(("Pow",), "an exponent of whole numbers", "give it one in float", only="TensorRT before 10.8",
         matches=lambda node: _is_whole(node.inputs[1])),
    Form(("Einsum",), "`...`, or an index twice in one operand", "export the model with MatMul",
         only="TensorRT before 10.12", matches=lambda node: _is_wide(node.attributes["equation"].as_string())),
    Form(("Attention",), "any form", f"{_SPELL_OUT} (opset 22 or older)", only="TensorRT before 10.14"),
    Form(("RMSNormalization",), "any form", f"{_SPELL_OUT} (opset 22 or older)", only="TensorRT before 10.15"),
    Form(("Swish",), "any form", f"{_SPELL_OUT} (opset 23 or older)", only="TensorRT before 11"),
]  # fmt: skip
"""The table of what TensorRT refuses."""


def _is_whole(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_integer()


def _is_wide(equation: str) -> bool:
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    return "." in equation or any(len(set(term)) < len(term) for term in terms)
