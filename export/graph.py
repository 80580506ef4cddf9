"""Read any ONNX file into one normal form.

The normal form: no functions, weights are initializers (not inputs, not Constant nodes), every dimension that can be
is static, integer arithmetic on shapes is folded, nodes in topological order, opset `OPSET` or the model's own where
that is newer and cannot be lowered.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.onnx_file import read_proto
from aerocam.export.opset import IR_VERSION, convert_opset, default_opset

logger = logging.getLogger("aerocam.export")

MOVEMENT = frozenset(
    ["Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Concat", "Gather"]
)
"""Operators that only move numbers: folding them changes no bit of the result."""


def load_model(path: str | Path, input_shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Read an ONNX file into the normal form.

    Args:
        path: The file; external data is read from its folder only.
        input_shapes: Static shape per input name, for inputs with dynamic dimensions.

    Raises:
        ModelError: Not ONNX, truncated, external data missing or outside the folder, an opset or a domain that is
            not read.
        UsageError: `input_shapes` names no input or contradicts a static dimension.
    """
    proto = read_proto(path)
    opset = default_opset(proto, str(path))
    _name_default_domain(proto)
    _drop_weights_from_inputs(proto)
    freeze_inputs(proto, input_shapes or {})
    if proto.functions:
        try:
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
        except RuntimeError as error:
            raise ModelError(f"{path}: its functions cannot be inlined ({error}); export it without them") from error
    proto.ir_version = IR_VERSION  # the converter asks of older ones that weights are inputs
    proto = convert_opset(proto, opset, str(path))
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{path}: its shapes contradict each other ({error}); is the file damaged?") from error
    try:
        model = ir.from_proto(proto)
    except ir.serde.SerdeError as error:
        raise ModelError(
            f"{path}: its graph contradicts itself ({error.__cause__ or error}); export it anew"
        ) from error
    _normalise(model)
    return model


def _name_default_domain(proto: onnx.ModelProto) -> None:
    """`ai.onnx` is a second name of the default domain; the empty one is used from here on."""
    for item in (*proto.opset_import, *proto.graph.node):
        if item.domain == "ai.onnx":
            item.domain = ""


def _drop_weights_from_inputs(proto: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)


def freeze_inputs(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make every input static, in place: from `shapes`, and a dynamic batch axis becomes 1.

    Raises:
        UsageError: A name that is no input, a contradiction, or a dynamic dimension nobody gave.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in weights]
    names = [item.name for item in inputs]
    for name in shapes:
        if name not in names:
            raise UsageError(f"--input-shape {name}: the model has no such input. {did_you_mean(name, names)}")
    changed = False
    for item in inputs:
        dims = item.type.tensor_type.shape.dim
        if item.type.tensor_type.HasField("shape") and not dims and item.name not in shapes:
            continue  # a scalar
        before = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]  # some exporters write -1
        wanted = list(shapes.get(item.name, ()))
        if wanted and before and len(wanted) != len(before):
            raise UsageError(f"--input-shape {item.name}={_join(wanted)}: the input has {len(before)} dimensions")
        after = wanted or before
        if not wanted and before and before[0] is None:
            after = [1, *before[1:]]
            logger.info("input %r: dynamic batch axis frozen to 1", item.name)
        for i, (old, new) in enumerate(zip(before, after, strict=False)):
            if old is not None and new != old:
                raise UsageError(f"--input-shape {item.name}={_join(after)}: dimension {i} is {old} in the model")
        if not after or any(not dim or dim < 1 for dim in after):
            raise UsageError(
                f"input {item.name!r} has shape [{_join(after)}], a static one is needed;"
                f" add --input-shape {item.name}=1,3,224,224 with your sizes"
            )
        if after != before:
            changed = True
            del dims[:]
            dims.extend(onnx.TensorShapeProto.Dimension(dim_value=dim) for dim in after)
    if changed:
        _forget_shapes(proto)


def _join(dims: Sequence[int | None]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Drop inferred shapes that were written for dynamic inputs; inference gives them anew."""
    del proto.graph.value_info[:]
    for item in proto.graph.output:
        if item.type.HasField("tensor_type"):
            item.type.tensor_type.ClearField("shape")


def _normalise(model: ir.Model) -> None:
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.TopologicalSortPass(),
    )(model)
    optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=_exact)
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
    )(model)


def _exact(node: ir.Node) -> bool | None:
    """Fold what cannot change a bit of any output: integers, and numbers that are only moved."""
    if node.op_type in MOVEMENT or node.op_type in ("Dropout", "If"):
        return None  # the optimizer's own limits on size apply
    exact = all(value.dtype is not None and not value.dtype.is_floating_point() for value in node.outputs)
    return None if exact else False
