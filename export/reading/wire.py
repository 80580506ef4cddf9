"""An ONNX file without the data of its large weights: found in the file's bytes, before protobuf copies them."""

from __future__ import annotations

import mmap

import onnx

from aerocam.wire import DELIMITED, Field, fields, header

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
    """A serialised model without the `raw_data` of its large weights.

    Args:
        data: The model.

    Returns:
        The rest of it, and per weight whose data was left out, by name, the byte of `data` at which they begin.

    Raises:
        ValueError: These bytes are no message.
        DecodeError: A tensor is no tensor.
    """
    rest: list[bytes] = []
    places: dict[str, int] = {}
    for field in fields(data, 0, len(data)):
        if field.number != GRAPH or field.kind != DELIMITED:
            rest.append(data[field.start : field.end])
            continue
        graph = b"".join(_without_data(data, item, places) for item in fields(data, field.first, field.end))
        rest += [header(GRAPH, len(graph)), graph]
    return b"".join(rest), places


def _without_data(data: bytes | mmap.mmap, item: Field, places: dict[str, int]) -> bytes:
    """A field of the graph, which is a large weight or anything else."""
    whole = slice(item.start, item.end)
    if item.number != INITIALIZER or item.kind != DELIMITED or item.end - item.first < LARGE:
        return data[whole]
    parts = list(fields(data, item.first, item.end))
    raw = [part for part in parts if part.number == RAW_DATA and part.kind == DELIMITED]
    if len(raw) != 1:
        return data[whole]
    rest = b"".join(data[part.start : part.end] for part in parts if part.number != RAW_DATA)
    tensor = onnx.TensorProto.FromString(rest)
    if tensor.name in places or not is_weight(tensor, raw[0].end - raw[0].first):
        return data[whole]
    places[tensor.name] = raw[0].first
    return header(INITIALIZER, len(rest)) + rest


def is_weight(tensor: onnx.TensorProto, size: int) -> bool:
    """Whether a tensor with `size` bytes of data is kept out: large, and its data what its type and shape say."""
    if size < LARGE or not tensor.name or tensor.data_type not in NUMBERS or tensor.HasField("data_location"):
        return False
    entry = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    entries = 1
    for dim in tensor.dims:
        entries *= dim
    return entries * entry == size
