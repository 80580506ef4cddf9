"""Inputs made static: shapes frozen, a fixed batch cut to 1, inputs beside the picture fixed as constants."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from aerocam.errors import UsageError, did_you_mean
from aerocam.export.reading.ultralytics import read_ultralytics

logger = logging.getLogger("aerocam.export")

COLOURS, UNBATCHED = 3, ("C", "H", "W")
"""Channels and axes of a picture without a batch."""

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)

BATCHED = (4, 5)
"""Dimensions of a batch of pictures and of one of volumes."""


def fix_inputs(proto: onnx.ModelProto, values: Mapping[str, Any]) -> None:
    """Make inputs constants, in place: an array, or a number for all of an input, whose dynamic batch is 1 then.

    Raises:
        UsageError: A name is that of no input, or a value does not have the input's shape.
    """
    inputs = {item.name: item for item in _inputs(proto)}
    for name in values:
        _require_named(name, list(inputs), f"`fix`: {name!r}")
    for name, value in values.items():
        kind, array = inputs[name].type.tensor_type, np.asarray(value)
        dims = [dim.dim_value or None for dim in kind.shape.dim]
        shape = [*(dims[:1] if dims[:1] != [None] else [1]), *dims[1:]] if array.ndim == 0 else array.shape
        agrees = len(shape) == len(dims) and all(a in (None, b) for a, b in zip(dims, shape, strict=True))
        if None in shape or not agrees:
            raise UsageError(f"`fix`: got {array.shape} for the input {name!r}, whose shape is [{_join(dims)}]")
        array = np.broadcast_to(array, shape).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
        proto.graph.input.remove(inputs[name])
    if values:
        _forget_shapes(proto)


def cut_batch(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> int:
    """Cut a fixed batch of pictures or volumes to 1, in place, and return what it was.

    It is cut where inputs begin with it, and reshapes to sizes that begin with a multiple of it. Whether the graph
    means the batch there is for the self-check to say, which compares with the original.

    Args:
        proto: The model.
        shapes: The input shapes that are asked for: an input with a batch of its own there keeps it.
    """
    inputs = _inputs(proto)
    pictures = [item for item in inputs if len(item.type.tensor_type.shape.dim) in BATCHED]
    cut = [item for item in pictures if tuple(shapes.get(item.name, (1,)))[:1] == (1,)]
    batch = max((_first(item) for item in cut), default=1)
    if batch <= 1:
        return 1
    for item in inputs:
        if item.type.tensor_type.shape.dim and _first(item) == batch:
            item.type.tensor_type.shape.dim[0].dim_value = 1
    sizes = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants = (node for node in proto.graph.node if node.op_type == "Constant" and node.attribute)
    sizes |= {node.output[0]: node.attribute[0].t for node in constants}
    for node in proto.graph.node:
        if node.op_type not in ("Reshape", "Expand") or len(node.input) < 2 or node.input[1] not in sizes:
            continue
        if node.input[0] in sizes or not (wanted := numpy_helper.to_array(sizes[node.input[1]]).copy()).size:
            continue
        if wanted[0] > 0 and wanted[0] % batch == 0:
            wanted[0] //= batch
            node.input[1] = f"{node.input[1]}/{node.output[0]}/batch"
            proto.graph.initializer.append(numpy_helper.from_array(wanted, node.input[1]))
    _forget_shapes(proto)
    logger.info("fixed batch of %d cut to 1", batch)
    return batch


def add_batch(proto: onnx.ModelProto) -> None:
    """Give pictures without a batch, (3, H, W) as torchvision's detectors take them, one of 1, in place.

    Weights of convolutions in two dimensions tell them from three sequences.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in proto.graph.initializer}
    if not any(node.op_type == "Conv" and ranks.get(node.input[1]) == len(UNBATCHED) + 1 for node in proto.graph.node):
        return
    for item in _inputs(proto):
        dims = item.type.tensor_type.shape.dim
        if len(dims) != len(UNBATCHED) or dims[0].dim_value != COLOURS or item.type.tensor_type.elem_type not in FLOATS:
            continue
        sizes = [dim.dim_value if dim.dim_value > 0 else 0 for dim in dims]
        if 0 in sizes:
            continue
        inner = f"{item.name}/unbatched"
        for node in proto.graph.node:
            node.input[:] = [inner if name == item.name else name for name in node.input]
        proto.graph.initializer.append(numpy_helper.from_array(np.array(sizes), f"{inner}/shape"))
        first = onnx.helper.make_node("Reshape", [item.name, f"{inner}/shape"], [inner], name=inner)
        proto.graph.node.insert(0, first)
        batch = onnx.TensorShapeProto.Dimension(dim_value=1)
        shape = [batch, *(onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in dims)]
        del dims[:]
        dims.extend(shape)
        logger.info("input %r: a picture without a batch; the exported file takes (1, %s)", item.name, _join(sizes))


def freeze_inputs(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make every input static, in place: from `shapes` or the metadata, and a dynamic batch axis becomes 1.

    Raises:
        UsageError: A name is that of no input, a shape contradicts the model, or a dynamic dimension is left.
    """
    inputs = _inputs(proto)
    shapes = {**_written_shapes(proto, inputs), **shapes}
    for name in shapes:
        _require_named(name, [item.name for item in inputs], _given(name, shapes[name]))
    changed = False
    for item in inputs:
        dims = item.type.tensor_type.shape.dim
        if item.type.tensor_type.HasField("shape") and not dims and item.name not in shapes:
            continue  # a scalar
        before = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]  # some exporters write -1
        wanted = list(shapes.get(item.name, ()))
        if wanted and before and len(wanted) != len(before):
            raise UsageError(f"{_given(item.name, wanted)}: the input has {len(before)} dimensions")
        if len(wanted) in BATCHED and wanted[0] == 1 and before and before[0]:
            wanted[0] = before[0]  # a batch that is fixed, `cut_batch` cuts
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


def _written_shapes(proto: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """Return the shape of a dynamic picture (1, C, H, W) that Ultralytics' metadata give, by name; log it."""
    said = read_ultralytics({entry.key: entry.value for entry in proto.metadata_props})
    if said is None or said.size is None or len(inputs) != 1:
        return {}
    dims = inputs[0].type.tensor_type.shape.dim
    if len(dims) != 4 or dims[1].dim_value < 1 or all(dim.dim_value > 0 for dim in dims[2:]):
        return {}
    sizes = [dim.dim_value if dim.dim_value > 0 else size for dim, size in zip(dims[2:], said.size, strict=True)]
    shape = (max(dims[0].dim_value, 1), dims[1].dim_value, *sizes)
    logger.info("input %r: %s by the metadata's imgsz; `input_shapes` says otherwise", inputs[0].name, shape)
    return {inputs[0].name: shape}


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


def _inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no weights."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [item for item in proto.graph.input if item.name not in weights]


def _first(item: onnx.ValueInfoProto) -> int:
    """Return the first dimension of an input; 0 where it is dynamic."""
    return int(item.type.tensor_type.shape.dim[0].dim_value)


def _require_named(name: str, names: Sequence[str], given: str) -> None:
    """Raise UsageError for a name that is no input's."""
    if name not in names:
        raise UsageError(f"{given}: the model has no such input. {did_you_mean(name, names)}")
