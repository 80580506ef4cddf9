"""Read any ONNX file into one normal form.

The normal form: no functions, weights are initializers (not inputs, not Constant nodes), every dimension that can be
is static, integer arithmetic on shapes is folded, nodes in topological order, opset `OPSET` or the model's own where
that is newer and cannot be lowered.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.nodes.operator_tables import operator_name
from aerocam.export.nodes.shapes import is_static
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.reading.opset import IR_VERSION, OPSET, convert_opset, default_opset, spell_out_group_norms
from aerocam.export.reading.pool_shapes import graphs, infer_shapes
from aerocam.export.reading.ultralytics import read_ultralytics

logger = logging.getLogger("aerocam.export")

MOVEMENT = frozenset(
    ["Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Concat", "Gather"]
)
"""Operators that only move numbers: folding them changes no bit of the result."""


EXACT = frozenset(["Abs", "Add", "Cast", "Ceil", "Div", "Floor", "Max", "Min", "Mul", "Neg", "Round", "Sub"])
"""Operators on float32 and float64 whose results IEEE 754 prescribes to the bit: exporters compute sizes with them."""

SEQUENCES = frozenset(["ConcatFromSequence", "SequenceConstruct", "SplitToSequence"])
"""Operators on lists of tensors, which become Split, Squeeze and Concat."""

UNTYPED = frozenset(["GroupNormalization"])
"""Operators whose output has the type and shape of input 0, which onnx's shape inference does not know."""

FEW = 64
"""Entries up to which constants are computed: sizes, scales, pads. Weights stay as they are."""


def load_model(path: str | Path, input_shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Read an ONNX file into the normal form.

    Args:
        path: The file; external data is read from its folder only.
        input_shapes: Static shape per input name, for inputs with dynamic dimensions; where Ultralytics' metadata give
            that of a picture, it need not be given.

    Raises:
        ModelError: The file is not ONNX or truncated, its external data are missing or outside the folder, or its opset
            or a domain is not read.
        UsageError: `input_shapes` names no input, contradicts a static dimension, or leaves a dynamic one.
    """
    read = read_model(path)
    proto = read.proto
    opset = default_opset(proto, str(path))
    _name_default_domain(proto)
    _warn_of_unknown_operators(proto)
    _drop_weights_from_inputs(proto)
    freeze_inputs(proto, input_shapes or {})
    if proto.functions:
        try:
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
        except RuntimeError as error:
            raise ModelError(f"{path}: its functions cannot be inlined ({error}); export it without them") from error
    proto.ir_version = IR_VERSION  # the converter asks of older ones that weights are inputs
    if opset < 13 and any(node.op_type in SEQUENCES for node in proto.graph.node):  # they fold to forms of opset 13
        proto, opset = convert_opset(proto, opset, str(path)), OPSET
    model = _static(LightModel(proto, read.weights), path)
    if opset != OPSET:  # only now: the converter sees static shapes and no branches
        spelled = spell_out_group_norms(model)
        light = LightModel.of(model)
        converted = LightModel(convert_opset(light.proto, opset, str(path)), light.weights)
        if opset < OPSET or spelled:
            model = _static(converted, path)
        else:  # its nodes are the same
            model.opset_imports[""] = default_opset(converted.proto, str(path))
            model.ir_version = converted.proto.ir_version
    _refuse_dynamic(model, path)
    return model


def _warn_of_unknown_operators(proto: onnx.ModelProto) -> None:
    """Warn of operators of the default domain that ONNX does not have, whatever is refused because of them later.

    Converters leave such behind where they have no translation: tf2onnx does so with TensorFlow's Erfc (exact GELU).
    """
    known_names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    known_names |= {function.name for function in proto.functions}
    unknown = {node.op_type for node in _all_nodes(proto.graph) if node.domain == ""} - known_names
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
        proto = _infer_shapes(light.proto)
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


def _infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the types and shapes that onnx can infer, behind `UNTYPED` operators too.

    These stand as Identity meanwhile, so that one pass is enough, however many of them follow one another.
    """
    nodes = _all_nodes(proto.graph)
    untyped = [node for node in nodes if node.op_type in UNTYPED and node.domain == "" and node.output]
    names = {node.output[0]: node.op_type for node in untyped}
    for node in untyped:
        node.op_type = "Identity"
    inferred = infer_shapes(proto)
    for node in _all_nodes(inferred.graph) if names else ():
        if node.op_type == "Identity" and node.output[0] in names:
            node.op_type = names[node.output[0]]
    return inferred


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Return every node of a graph, in its branches and loops too."""
    return (node for part in graphs(graph) for node in part.node)


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


def freeze_inputs(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make every input static, in place: from `shapes` or the metadata, and a dynamic batch axis becomes 1.

    Raises:
        UsageError: A name is that of no input, a shape contradicts the model, or a dynamic dimension is left.
    """
    shapes = {**_written_shapes(proto), **shapes}
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in weights]
    names = [item.name for item in inputs]
    for name in shapes:
        if name not in names:
            raise UsageError(f"{_given(name, shapes[name])}: the model has no such input. {did_you_mean(name, names)}")
    changed = False
    for item in inputs:
        dims = item.type.tensor_type.shape.dim
        if item.type.tensor_type.HasField("shape") and not dims and item.name not in shapes:
            continue  # a scalar
        before = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]  # some exporters write -1
        wanted = list(shapes.get(item.name, ()))
        if wanted and before and len(wanted) != len(before):
            raise UsageError(f"{_given(item.name, wanted)}: the input has {len(before)} dimensions")
        after = wanted or before
        if not wanted and before and before[0] is None:
            after = [1, *before[1:]]
            logger.info("input %r: dynamic batch axis frozen to 1", item.name)
        for i, (old, new) in enumerate(zip(before, after, strict=False)):
            if old is not None and new != old:
                raise UsageError(f"{_given(item.name, wanted)}: dimension {i} is {old} in the model")
        if not after or any(not dim or dim < 1 for dim in after):
            raise UsageError(
                f"input {item.name!r} has shape [{_join(after)}], a static one is needed;"
                f" add {_given(item.name, (1, 3, 224, 224))} with your sizes"
            )
        if after != before:
            changed = True
            del dims[:]
            dims.extend(onnx.TensorShapeProto.Dimension(dim_value=dim) for dim in after)
    if changed:
        _forget_shapes(proto)


def _written_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of a dynamic picture (1, C, H, W) that Ultralytics' metadata give, by name; log it."""
    said = read_ultralytics({entry.key: entry.value for entry in proto.metadata_props})
    weights = {tensor.name for tensor in proto.graph.initializer}
    pictures = [item for item in proto.graph.input if item.name not in weights]
    if said is None or said.size is None or len(pictures) != 1:
        return {}
    dims = pictures[0].type.tensor_type.shape.dim
    if len(dims) != 4 or dims[1].dim_value < 1 or all(dim.dim_value > 0 for dim in dims[2:]):
        return {}
    sizes = [dim.dim_value if dim.dim_value > 0 else size for dim, size in zip(dims[2:], said.size, strict=True)]
    shape = (max(dims[0].dim_value, 1), dims[1].dim_value, *sizes)
    logger.info("input %r: %s by the metadata's imgsz; `input_shapes` says otherwise", pictures[0].name, shape)
    return {pictures[0].name: shape}


def _given(name: str, shape: Sequence[int]) -> str:
    """Return the parameter that gives one input's shape, for a message."""
    return f"`input_shapes={ {name: tuple(shape)} }`"


def _join(dims: Sequence[int | None]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Drop inferred shapes that were written for dynamic inputs; inference gives them anew."""
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


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

    Raises:
        ModelError: No output of the model has a static shape.
    """
    if any(is_static(value) for value in model.graph.outputs):
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
