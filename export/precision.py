"""A model written in float16: TensorRT 11 and TensorRT-RTX compute in the types that the file has, and no others.

ONNX Runtime's converter does it, on the normal form of the model and before anything is added: so the gradients are
those of the float16 model. Input and outputs keep float32.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam.errors import UsageError, missing
from aerocam.export.gradients.autodiff import QUANTISING
from aerocam.export.nodes.builder import NARROW
from aerocam.export.reading.light import LightModel
from aerocam.manifest import Precision

logger = logging.getLogger("aerocam.export")

KEPT_BY_THE_CONVERTER = {("Resize", 2)}
"""Inputs that are float32 by definition, and that the converter leaves so: (operator, number of the input)."""


def with_precision(model: ir.Model, wanted: Precision) -> tuple[ir.Model, Precision]:
    """Return the model in the precision that is wanted, and `float16` if it was converted, else `source`.

    Args:
        model: In the normal form; it may be changed.
        wanted: `source` or `float16`.

    Raises:
        UsageError: float16 is wanted of a quantised model.
    """
    if wanted == "source":
        return model, "source"
    if node := next((node for node in model.graph.all_nodes() if node.op_type in QUANTISING), None):
        raise UsageError(
            f"`precision='float16'`: the model is quantised already ({node.op_type} {node.name!r}); its types are its"
            " own, export it without `precision`"
        )
    if half := computed_in_half(model):
        logger.info("`precision='float16'`: the model computes in %s already; it stays as it is", half)
        return model, "source"
    return in_float16(model), "float16"


def computed_in_half(model: ir.Model) -> str | None:
    """Return `float16` or `bfloat16` if a node computes in it, else None; weights stored in it do not count."""
    computed = (value.dtype for node in model.graph if node.op_type != "Cast" for value in node.outputs)
    return next((dtype.name.lower() for dtype in computed if dtype in NARROW), None)


def in_float16(model: ir.Model) -> ir.Model:
    """Return a model in float16 that takes and gives float32.

    Operators that take no float16, and those of the converter's own list, stay in float32 between Casts.

    Args:
        model: In the normal form.
    """
    converter = _converter()
    light = LightModel.of(model)
    kept = [value.name for value in (*light.proto.graph.input, *light.proto.graph.output)]
    proto = light.with_inputs()  # the converter would read the weights' numbers, which are not in the file
    _forget_types_of_constants(proto)
    converted = converter.convert_float_to_float16(
        proto,
        keep_io_types=kept,
        disable_shape_infer=True,
        op_block_list=sorted({*converter.DEFAULT_OP_BLOCK_LIST, *_float32_only(model)}),
    )
    result = ir.from_proto(converted)
    _take_weights_back(result, light, converter.convert_np_to_float16)
    passes.TopologicalSortPass()(result)
    return result


def in_float32(light: LightModel) -> LightModel:
    """Return a model with the same weights and float32 in place of float16 and bfloat16: neither rounds any more."""
    model = light.whole()
    weights = model.graph.initializers.values()
    for value in weights:
        if value.const_value is not None and value.const_value.dtype in NARROW:
            value.const_value = _single(value.const_value)
    nodes = list(model.graph.all_nodes())
    for value in (*model.graph.inputs, *weights, *(y for node in nodes for y in node.outputs)):
        if value.dtype in NARROW:
            value.dtype = ir.DataType.FLOAT
    for node in nodes:
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in NARROW:
                node.attributes[name] = ir.AttrTensor(name, _single(attribute.value))
            elif name in ("to", "dtype") and attribute.as_int() in NARROW:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
    return LightModel.of(model)


def _single(weight: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return a weight in float32, computed when its numbers are asked for and not kept."""

    def compute() -> ir.TensorProtocol:
        return ir.tensor(weight.numpy().astype(np.float32), name=weight.name)

    return ir.LazyTensor(compute, ir.DataType.FLOAT, ir.Shape(weight.shape.numpy()), name=weight.name)


def _converter() -> ModuleType:
    """Return ONNX Runtime's module of the conversion; importing it leaves Python's search path as it was.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
    """
    before = list(sys.path)
    try:
        from onnxruntime.transformers import float16
    except ImportError as error:
        raise missing(error.name or "onnxruntime", "export", "to write a model in float16") from error
    finally:
        sys.path[:] = before
    return float16


def _forget_types_of_constants(proto: onnx.ModelProto) -> None:
    """Remove the types that the graph declares for constants, so that only their own remain.

    The converter would change the declared ones, even where it keeps the numbers in float32.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    values = [info for info in proto.graph.value_info if info.name not in constants]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(values)


def _take_weights_back(model: ir.Model, light: LightModel, convert: Callable) -> None:
    """Turn the inputs that stood for weights back into weights, in the type that the inputs have now."""
    graph = model.graph
    for value in [value for value in graph.inputs if value.name in light.weights]:
        weight = light.weights[str(value.name)]
        graph.inputs.remove(value)
        value.const_value = weight if value.dtype == weight.dtype else _half(weight, convert)
        graph.register_initializer(value)


def _half(weight: ir.TensorProtocol, convert: Callable) -> ir.TensorProtocol:
    """Return a weight in float16, computed when its numbers are asked for and not kept."""

    def compute() -> ir.TensorProtocol:
        return ir.tensor(convert(weight.numpy()), name=weight.name)

    return ir.LazyTensor(compute, ir.DataType.FLOAT16, ir.Shape(weight.shape.numpy()), name=weight.name)


def _float32_only(model: ir.Model) -> set[str]:
    """Return the operators that take no float16 as an input that is float32 in the model."""
    operators: set[str] = set()
    for node in model.graph.all_nodes():
        if node.domain or not onnx.defs.has(node.op_type):
            continue
        schema = onnx.defs.get_schema(node.op_type, model.opset_imports[""], "")
        allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
        for i, x in enumerate(node.inputs):
            kind = schema.inputs[min(i, len(schema.inputs) - 1)].type_str
            single = x is not None and x.dtype == ir.DataType.FLOAT
            if single and "tensor(float16)" not in allowed.get(kind, (kind,)):
                operators.update({node.op_type} if (node.op_type, i) not in KEPT_BY_THE_CONVERTER else ())
    return operators
