"""Read any ONNX file into one normal form, and write the result whole or not at all.

The normal form: no functions, weights are initializers (not inputs, not Constant nodes), every dimension that can be
is static, integer arithmetic on shapes is folded, nodes in topological order, opset `OPSET` or the model's own where
that is newer and cannot be lowered.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import google.protobuf.message
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer

from aerocam.errors import ModelError, UsageError, did_you_mean

logger = logging.getLogger("aerocam.export")

OPSET = 17
"""Opset that models are written in: ONNX Runtime 1.15 and TensorRT 8.6 already load it."""

OLDEST_OPSET = 7
"""Oldest opset that is read."""

IR_VERSION = 8
"""IR version that models are written in; the newest ONNX Runtime 1.15 loads is 9."""

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
    _drop_weights_from_inputs(proto)
    freeze_inputs(proto, input_shapes or {})
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    proto.ir_version = IR_VERSION  # the converter asks of older ones that weights are inputs
    proto = _convert_opset(proto, opset, str(path))
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{path}: its shapes contradict each other ({error}); is the file damaged?") from error
    model = ir.from_proto(proto)
    _normalise(model)
    return model


def read_proto(path: str | Path) -> onnx.ModelProto:
    """Parse a file and load its external data, from the model's own folder only.

    Raises:
        ModelError: No such file, not ONNX, truncated, external data missing or outside the folder.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file, an ONNX model was expected; check the path")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except google.protobuf.message.DecodeError as error:
        raise ModelError(
            f"{path}: not an ONNX file, or a truncated one ({path.stat().st_size} bytes do not parse); copy it again"
        ) from error
    if not proto.graph.node or not proto.ir_version:
        raise ModelError(f"{path}: not an ONNX model (it holds no graph); give a file written by an ONNX exporter")
    _check_external_data(proto, path)
    onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    return proto


def _check_external_data(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in onnx.external_data_helper._get_all_tensors(proto):
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        info = onnx.external_data_helper.ExternalDataInfo(tensor)
        place = (folder / info.location).resolve()
        if not place.is_relative_to(folder):
            raise ModelError(
                f"{path}: tensor {tensor.name!r} keeps its data in {info.location!r}, outside the model's folder;"
                " only files beside the model are read, move it there and save the model again"
            )
        needed = (info.offset or 0) + (info.length or 0)
        if not place.is_file():
            raise ModelError(
                f"{path}: tensor {tensor.name!r} keeps its data in {info.location!r}, which is not beside the model;"
                " copy that file too"
            )
        if place.stat().st_size < needed:
            raise ModelError(
                f"{path}: {info.location!r} has {place.stat().st_size} bytes, tensor {tensor.name!r} needs {needed};"
                " copy that file again"
            )


def default_opset(proto: onnx.ModelProto, origin: str) -> int:
    """The model's default-domain opset.

    Raises:
        ModelError: It is older than `OLDEST_OPSET`, or there is none.
    """
    opset = _opset_of(proto)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{origin}: opset {opset}, {OLDEST_OPSET} or newer is read;"
            " convert it first with onnx.version_converter or export it anew"
        )
    return opset


def _opset_of(proto: onnx.ModelProto) -> int:
    return max((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), default=0)


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
    names = [item.name for item in proto.graph.input]
    for name in shapes:
        if name not in names:
            raise UsageError(f"--input-shape {name}: the model has no such input. {did_you_mean(name, names)}")
    changed = False
    for item in proto.graph.input:
        dims = item.type.tensor_type.shape.dim
        before = [dim.dim_value or None for dim in dims]
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


def _convert_opset(proto: onnx.ModelProto, opset: int, origin: str) -> onnx.ModelProto:
    if opset == OPSET:
        return proto
    if opset > OPSET:
        if _same_operators(proto, opset):
            for item in proto.opset_import:
                if item.domain in ("", "ai.onnx"):
                    item.version = OPSET
        else:
            logger.info("opset %d kept: the model uses operators that opset %d does not have", opset, OPSET)
            proto.ir_version = 10
        return proto
    try:
        return onnx.version_converter.convert_version(proto, OPSET)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{origin}: opset {opset} cannot be converted to {OPSET}: {error}") from error


def _same_operators(proto: onnx.ModelProto, opset: int) -> bool:
    """Whether every operator of the model means the same at `OPSET` as at its own opset."""

    def since(name: str, version: int) -> int:
        try:
            return onnx.defs.get_schema(name, version).since_version
        except onnx.defs.SchemaError:
            return -1

    names = {node.op_type for node in proto.graph.node if node.domain in ("", "ai.onnx")}
    has_body = any(
        attribute.HasField("g") or attribute.graphs for node in proto.graph.node for attribute in node.attribute
    )
    return not has_body and all(since(name, opset) == since(name, OPSET) != -1 for name in names)


def _normalise(model: ir.Model) -> None:
    graph = model.graph
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.TopologicalSortPass(),
    )(model)
    optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=_exact)
    ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
    )(model)
    for node in graph:
        if node.domain in ("ai.onnx",):
            node.domain = ""


def _exact(node: ir.Node) -> bool | None:
    """Fold what cannot change a bit of any output: integers, and numbers that are only moved."""
    if node.op_type in MOVEMENT or node.op_type in ("Dropout", "If"):
        return None  # the optimizer's own limits on size apply
    exact = all(value.dtype is not None and not value.dtype.is_floating_point() for value in node.outputs)
    return None if exact else False


def save_model(model: ir.Model, path: str | Path) -> None:
    """Write a model through a temporary file in the same folder, so that `path` is whole or absent.

    Raises:
        ModelError: The folder does not exist or cannot be written to, or the model is over protobuf's 2 GiB.
    """
    write_whole(ir.to_proto(model), Path(path))


def write_whole(proto: onnx.ModelProto, path: Path) -> None:
    """Serialise `proto` to `path`, whole or not at all; errors as in `save_model`."""
    try:
        data = proto.SerializeToString()
    except ValueError as error:
        raise ModelError(f"{path}: the model is over protobuf's 2 GiB, which one file cannot hold") from error
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
