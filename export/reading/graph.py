"""Read any ONNX file into one normal form.

The normal form: no functions, weights are initializers (not inputs, not Constant nodes), every dimension that can be
is static, integer arithmetic on shapes is folded, nodes in topological order, opset `OPSET` or the model's own where
that is newer and cannot be lowered.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer

from aerocam.errors import ModelError
from aerocam.export.nodes.operator_tables import operator_name
from aerocam.export.nodes.shapes import is_static
from aerocam.export.reading.functions import all_nodes, infer_types, spell_out_functions
from aerocam.export.reading.inputs import add_batch, cut_batch, fix_inputs, fixed_batch, freeze_inputs
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.reading.opset import IR_VERSION, OPSET, convert_opset, default_opset
from aerocam.export.reading.plugins import cut_suppression
from aerocam.export.reading.spelled_out import spell_out

logger = logging.getLogger("aerocam.export")

MOVEMENT = frozenset(
    ["Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Concat", "Gather"]
)
"""Operators that only move numbers: folding them changes no bit of the result."""


EXACT = frozenset(
    ["Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Floor", "Max", "Min", "Mul", "Neg", "ReduceMax", "ReduceMin",
     "Round", "Sub"]
)  # fmt: skip
"""Operators on float32 and float64 whose results IEEE 754 prescribes to the bit: exporters compute sizes with them."""

SEQUENCES = frozenset(["ConcatFromSequence", "SequenceConstruct", "SplitToSequence"])
"""Operators on lists of tensors, which become Split, Squeeze and Concat."""

FEW = 64
"""Entries up to which constants are computed: sizes, scales, pads. Weights stay as they are."""


def load_model(
    path: str | Path,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fix: Mapping[str, Any] | None = None,
) -> ir.Model:
    """Read an ONNX file into the normal form.

    Args:
        path: The file; external data is read from its folder only.
        input_shapes: Static shape per input name, for inputs with dynamic dimensions, or a batch of 1 for a fixed one;
            where Ultralytics' metadata give that of a picture, it need not be given.
        fix: Array or number per input name, for inputs that become constants.

    Raises:
        ModelError: The file is not ONNX or truncated, its external data are missing or outside the folder, or its opset
            or a domain is not read.
        UsageError: `input_shapes` or `fix` names no input, contradicts a static dimension, or leaves a dynamic one.
    """
    read = read_model(path)
    proto = read.proto
    opset = default_opset(proto, str(path))
    _tidy(proto)
    cut_suppression(proto)
    fix_inputs(proto, fix or {})
    freeze_inputs(proto, input_shapes or {})
    add_batch(proto)
    if proto.functions:
        try:
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
        except RuntimeError as error:
            raise ModelError(f"{path}: its functions cannot be inlined ({error}); export it without them") from error
    proto.ir_version = IR_VERSION  # the converter asks of older ones that weights are inputs
    if opset < 13 and any(node.op_type in SEQUENCES for node in proto.graph.node):  # they fold to forms of opset 13
        proto, opset = convert_opset(proto, opset, str(path)), OPSET
    proto = spell_out_functions(proto)
    model = _static(LightModel(proto, read.weights), path)
    if opset < OPSET:  # only now: the converter sees static shapes and no branches
        light = LightModel.of(model)
        model = _static(LightModel(convert_opset(light.proto, opset, str(path)), light.weights), path)
    spell_out(model)
    if opset > OPSET:  # its nodes stay the same
        lowered = convert_opset(LightModel.of(model).proto, opset, str(path))
        model.opset_imports[""] = default_opset(lowered, str(path))
        model.ir_version = lowered.ir_version
    _refuse_dynamic(model, path)
    batch = fixed_batch(model, input_shapes or {})
    return model if batch == 1 else _without_batch(model, batch, path)


def _without_batch(model: ir.Model, batch: int, path: str | Path) -> ir.Model:
    """Return the model for one picture, of one with a fixed batch, which is used up.

    Raises:
        ModelError: The graph counts on the batch elsewhere, too.
    """
    cut_batch(model, batch)
    try:
        model = _static(LightModel.of(model), path)
        _refuse_dynamic(model, path)
    except ModelError as error:
        raise ModelError(
            f"{path}: its graph counts on a batch of {batch}, which cannot be cut to 1 ({error}); export it with a"
            " batch of 1 or a dynamic one"
        ) from error
    return model


def _warn_of_unknown_operators(proto: onnx.ModelProto) -> None:
    """Warn of operators of the default domain that ONNX does not have, whatever is refused because of them later.

    Converters leave such behind where they have no translation: tf2onnx does so with TensorFlow's Erfc (exact GELU).
    """
    known_names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    known_names |= {function.name for function in proto.functions}
    unknown = {node.op_type for node in all_nodes(proto.graph) if node.domain == ""} - known_names
    if unknown:
        logger.warning(
            "ONNX has no operator %s; what is behind it has no known shape, and hardly a runtime will run the file",
            ", ".join(sorted(unknown)),
        )


def _static(light: LightModel, path: str | Path) -> ir.Model:
    """Return the model with shapes inferred and shape arithmetic folded, in the opset it has.

    Raises:
        ModelError: The model's shapes or its graph contradict themselves.
    """
    try:
        proto = infer_types(light.proto)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{path}: its shapes contradict each other ({error}); is the file damaged?") from error
    try:
        model = LightModel(proto, light.weights).whole()
        _normalise(model)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: its graph contradicts itself ({error.__cause__ or error}); export it anew"
        ) from error
    return model


def _tidy(proto: onnx.ModelProto) -> None:
    _name_default_domain(proto)
    _warn_of_unknown_operators(proto)
    _drop_weights_from_inputs(proto)


def _name_default_domain(proto: onnx.ModelProto) -> None:
    """Replace `ai.onnx`, a second name of the default domain, by the empty one, in place."""
    for entry in (*proto.opset_import, *proto.graph.node):
        if entry.domain == "ai.onnx":
            entry.domain = ""


def _drop_weights_from_inputs(proto: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)


def _normalise(model: ir.Model) -> None:
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.TopologicalSortPass(),
    )(model)
    optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=_exact)
    _spell_out_splits(model)
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
    )(model)


def _exact(node: ir.Node) -> bool | None:
    """Return whether to fold a node: integers, moved numbers, few numbers of exact arithmetic, so that no bit changes.

    None: as the optimizer decides, by its own limits on size. It asks only where all inputs are constants.
    """
    if node.op_type in MOVEMENT or node.op_type in ("Dropout", "If"):
        return None
    if node.op_type == "ConstantOfShape":  # the optimizer leaves it by default
        (size,) = (value.const_value.numpy() for value in node.inputs)  # type: ignore[union-attr]
        return int(np.prod(size)) <= FEW
    whole = all(value.dtype is not None and not value.dtype.is_floating_point() for value in node.outputs)
    single = all(value.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE) for value in node.outputs)
    exact = node.op_type in EXACT and single and _entries(node.inputs) <= FEW
    return None if whole or exact else False


def _entries(values: Sequence[ir.Value | None]) -> int:
    """Return how many entries the largest constant among some values has, 0 without any."""
    return max(
        (value.const_value.size for value in values if value is not None and value.const_value is not None), default=0
    )


def _spell_out_splits(model: ir.Model) -> None:
    """Drop `num_outputs` of opset 18, which the optimizer writes to equal splits, from nodes of older opsets."""
    for node in model.graph:
        if node.op_type == "Split" and "num_outputs" in node.attributes and model.opset_imports[""] < 18:
            del node.attributes["num_outputs"]


def _refuse_dynamic(model: ir.Model, path: str | Path) -> None:
    """Refuse a model none of whose outputs has a static shape, by the node that made it so.

    A suppression of boxes is no such node: what is in front of it is read.

    Raises:
        ModelError: No output of the model has a static shape.
    """
    if any(is_static(value) for value in model.graph.outputs):
        return
    if any(node.op_type == "NonMaxSuppression" for node in model.graph.all_nodes()):
        return
    for node in model.graph:
        value = next((value for value in node.outputs if not is_static(value)), None)
        if value is None:
            continue
        raise ModelError(
            f"{path}: the shape of {value.name!r} (operator {operator_name(node)}, node {node.name!r}) depends on its"
            " data or is not known to ONNX, and so do the shapes of all outputs; a static one is needed. Export the"
            " model without it"
        )
