"""Models whose large weights stand beside them.

onnx's own functions (shape inference, conversion, the checker) serialise and parse a whole model to look at its nodes.
They are given the model with references in place of its large weights, which are in memory at most once, and not before
somebody needs their numbers.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.onnx_metadata import DELIMITED, Field, fields, header

LARGE = 1 << 12
"""Bytes from which a weight is kept out of the messages that go through onnx; what shapes depend on is smaller."""

NUMBERS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT8,
     onnx.TensorProto.UINT8}
)  # fmt: skip
"""Types of weights that are kept out; int32 and int64 tensors hold indices and sizes."""

GRAPH, INITIALIZER, RAW_DATA = (
    message.DESCRIPTOR.fields_by_name[name].number
    for message, name in ((onnx.ModelProto, "graph"), (onnx.GraphProto, "initializer"), (onnx.TensorProto, "raw_data"))
)


def without_weights(data: bytes | mmap.mmap) -> tuple[bytes, dict[str, int]]:
    """Return a serialised model without the `raw_data` of its large weights.

    Args:
        data: The model.

    Returns:
        The rest of it, and per weight whose data was left out, by name, the byte of `data` at which they begin.

    Raises:
        ValueError: The bytes are no protobuf message.
        DecodeError: The bytes of a large weight do not parse as a tensor.
    """
    rest: list[bytes] = []
    offsets: dict[str, int] = {}
    for field in fields(data, 0, len(data)):
        if field.number != GRAPH or field.kind != DELIMITED:
            rest.append(data[field.start : field.end])
            continue
        graph = b"".join(_without_data(data, inner, offsets) for inner in fields(data, field.first, field.end))
        rest += [header(GRAPH, len(graph)), graph]
    return b"".join(rest), offsets


def _without_data(data: bytes | mmap.mmap, field: Field, offsets: dict[str, int]) -> bytes:
    """Return the bytes of a field of the graph; those of a large weight without its data, noting their offset."""
    whole = slice(field.start, field.end)
    if field.number != INITIALIZER or field.kind != DELIMITED or field.end - field.first < LARGE:
        return data[whole]
    parts = list(fields(data, field.first, field.end))
    raw = [part for part in parts if part.number == RAW_DATA and part.kind == DELIMITED]
    if len(raw) != 1:
        return data[whole]
    rest = b"".join(data[part.start : part.end] for part in parts if part.number != RAW_DATA)
    tensor = onnx.TensorProto.FromString(rest)
    if tensor.name in offsets or not is_weight(tensor, raw[0].end - raw[0].first):
        return data[whole]
    offsets[tensor.name] = raw[0].first
    return header(INITIALIZER, len(rest)) + rest


def is_weight(tensor: onnx.TensorProto, size: int) -> bool:
    """Return whether a tensor with `size` bytes of data is kept out: it is large, and they fit its type and shape."""
    if size < LARGE or not tensor.name or tensor.data_type not in NUMBERS or tensor.HasField("data_location"):
        return False
    entry = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    entries = 1
    for dim in tensor.dims:
        entries *= dim
    return entries * entry == size


ELSEWHERE = "aerocam_weights"
"""Where a reference says that its data are: nowhere on the disk."""

PLACE = "aerocam_place"
"""Key in the `meta` of a tensor that lies in a file: that file and the offset."""


@dataclass(frozen=True)
class LightModel:
    """A model and its large weights.

    Attributes:
        proto: The model, its large weights references without data.
        weights: These weights by name.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, ir.TensorProtocol]

    @classmethod
    def of(cls, model: ir.Model) -> LightModel:
        """Return `model` in the form that is given to onnx's functions."""
        kept = {value: value.const_value for value in model.graph.initializers.values() if _is_large(value.const_value)}
        try:
            for value, tensor in kept.items():
                value.const_value = _reference(str(value.name), tensor)  # type: ignore[arg-type]
            proto = ir.to_proto(model)
        finally:
            for value, tensor in kept.items():
                value.const_value = tensor
        return cls(proto, {str(value.name): tensor for value, tensor in kept.items()})  # type: ignore[misc]

    def with_inputs(self) -> onnx.ModelProto:
        """Return a copy with inputs in place of the large weights, for what would read numbers that are not there."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for tensor in [tensor for tensor in proto.graph.initializer if tensor.name in self.weights]:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            proto.graph.initializer.remove(tensor)
        return proto

    def whole(self) -> ir.Model:
        """Return the model with its weights in place."""
        model = ir.from_proto(self.proto)
        for name, value in model.graph.initializers.items():
            if name in self.weights:
                value.const_value = self.weights[name]
        return model


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    return tensor is not None and tensor.nbytes >= LARGE and int(tensor.dtype) in NUMBERS


def _reference(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    shape, properties = ir.Shape(tensor.shape.numpy()), dict(tensor.metadata_props)
    return ir.ExternalTensor(
        ELSEWHERE, 0, tensor.nbytes, tensor.dtype,
        shape=shape, name=name, doc_string=tensor.doc_string, metadata_props=properties,
    )  # fmt: skip


def refer(tensor: onnx.TensorProto) -> None:
    """Turn a tensor without data into a reference, in place."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=ELSEWHERE)


def without_data(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return the name, type, shape and notes of a tensor or of a reference, as a tensor without data."""
    plain = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if tensor.HasField("doc_string"):
        plain.doc_string = tensor.doc_string
    plain.metadata_props.extend(tensor.metadata_props)
    return plain


def tensor_in_file(path: Path, offset: int, tensor: onnx.TensorProto) -> ir.TensorProtocol:
    """Return a tensor whose data are read anew whenever they are asked for.

    Args:
        path: The file.
        offset: Where its data begin.
        tensor: Name, type, shape and notes.
    """
    path, name, dtype = path.resolve(), tensor.name, ir.DataType(tensor.data_type)
    shape = tuple(tensor.dims)
    count = int(np.prod(shape, dtype=int))

    def read() -> ir.TensorProtocol:
        try:
            array = np.fromfile(path, dtype.numpy().newbyteorder("<"), count, offset=offset)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read any more ({error.strerror}); was it moved?") from error
        if array.size != count:
            raise ModelError(f"{path}: it became shorter while it was read; export it again")
        return ir.Tensor(array.reshape(shape), dtype=dtype, name=name)

    notes = {note.key: note.value for note in tensor.metadata_props}
    lazy = ir.LazyTensor(
        read, dtype, ir.Shape(shape), name=name, doc_string=tensor.doc_string or None, metadata_props=notes
    )
    lazy.meta[PLACE] = (path, offset)
    return lazy


def data_of(weight: ir.TensorProtocol) -> memoryview:
    """Return the bytes of a weight, as ONNX stores them."""
    array = weight.numpy()
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
