"""Inputs made static: shapes frozen, a fixed batch cut to 1, inputs beside the picture fixed as constants."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from aerocam.errors import UsageError, did_you_mean
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import static_shape
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
    inputs = {item.name: item for item in model_inputs(proto)}
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


def fixed_batch(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the fixed batch of a model's pictures or volumes; 1 where `shapes` asks for another one than that."""
    sizes = {str(value.name): static_shape(value) for value in model.graph.inputs}
    left = [size for name, size in sizes.items() if tuple(shapes.get(name, (1,)))[:1] == (1,)]
    return max((size[0] for size in left if len(size) in BATCHED), default=1)


def cut_batch(model: ir.Model, batch: int) -> None:
    """Cut a fixed batch to 1, in place, and forget the shapes of all that is computed.

    It is cut where inputs begin with it, reshapes lead to sizes that begin with a multiple of it, and constants that
    are joined repeat themselves so often. Whether the graph means the batch there is for the self-check to say, which
    compares with the original.

    Args:
        model: In normal form.
        batch: What its pictures begin with.
    """
    op = Builder(model.graph, "batch")
    for value in model.graph.inputs:
        if (shape := static_shape(value))[:1] == (batch,):
            value.shape = ir.Shape((1, *shape[1:]))
    for node in list(model.graph):
        sizes = constant_array(node.inputs[1]) if node.op_type in ("Reshape", "Expand") else None
        of_batch = node.op_type == "Expand" or (sizes is not None and constant_array(node.inputs[0]) is None)
        if sizes is not None and sizes.size and of_batch and sizes[0] > 0 and sizes[0] % batch == 0:
            node.replace_input_with(1, op.constant(np.array([sizes[0] // batch, *sizes[1:]], np.int64)))
        for i, x in enumerate(node.inputs if node.op_type == "Concat" else ()):
            numbers = constant_array(x)
            if numbers is not None and numbers.ndim and len(numbers) == batch and (numbers == numbers[:1]).all():
                node.replace_input_with(i, op.constant(numbers[:1]))
    for value in (y for node in model.graph for y in node.outputs):
        value.shape = None
    logger.info("fixed batch of %d cut to 1", batch)


def add_batch(proto: onnx.ModelProto) -> None:
    """Give pictures without a batch, (3, H, W) as torchvision's detectors take them, one of 1, in place.

    Weights of convolutions in two dimensions tell them from three sequences.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in proto.graph.initializer}
    if not any(node.op_type == "Conv" and ranks.get(node.input[1]) == len(UNBATCHED) + 1 for node in proto.graph.node):
        return
    for item in model_inputs(proto):
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
    inputs = model_inputs(proto)
    if not shapes:
        shapes = _written_shapes(proto, inputs)
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
            if wanted:
                raise UsageError(f"{_given(item.name, wanted)}: sizes of 1 or more are expected")
            raise UsageError(
                f"input {item.name!r} has shape [{_join(after)}], a static one is needed;"
                f" add {_given(item.name, _possible(after))} with your sizes"
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


def _possible(dims: Sequence[int | None]) -> tuple[int, ...]:
    """Return a shape that an input could have, for a message: its own sizes, and a picture's where it has none."""
    usual = (1, COLOURS, 224, 224) if len(dims) in (0, 4) else (1,) * len(dims)
    return tuple(own or other for own, other in zip(dims or [None] * 4, usual, strict=True))


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


def model_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no weights."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [item for item in proto.graph.input if item.name not in weights]


def _require_named(name: str, names: Sequence[str], given: str) -> None:
    """Raise UsageError for a name that is no input's."""
    if name not in names:
        raise UsageError(f"{given}: the model has no such input. {did_you_mean(name, names)}")
