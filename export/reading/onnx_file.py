"""ONNX files: read with every check that a stranger's file needs, written whole or not at all."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import google.protobuf.message
import onnx
import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.reading import light
from aerocam.export.reading.light import GRAPH, INITIALIZER, RAW_DATA, LightModel
from aerocam.files import unreadable, write_together
from aerocam.onnx_metadata import header, not_onnx

MOST_BYTES = (1 << 31) - 1
"""What protobuf takes in one file."""

LAST_FIELD = 1 << 29
"""One more than the highest number of a field."""

Piece: TypeAlias = "bytes | ir.TensorProtocol"
"""A part of a file: bytes, or a weight whose data are got when it is written."""


def read_model(path: str | Path) -> LightModel:
    """Parse a file; large weights stay where they are. External data come from the model's own folder only.

    Raises:
        ModelError: The file does not exist, is not ONNX or is truncated, or its external data are missing or outside
            the folder.
    """
    path = Path(path)
    proto, offsets = _parse(path)
    if not proto.graph.node or not proto.ir_version:
        raise ModelError(f"{path}: not an ONNX model (it holds no graph); give a file written by an ONNX exporter")
    try:
        _check_external_data(proto, path)
        weights = _load_external_data(proto, path.parent)
    except (ValueError, OSError, onnx.checker.ValidationError) as error:  # links and offsets that onnx refuses
        raise ModelError(f"{path}: its external data cannot be read ({error}); copy the files anew") from error
    for tensor in proto.graph.initializer:
        if tensor.name in offsets:
            weights[tensor.name] = light.tensor_in_file(path, offsets[tensor.name], tensor)
        if tensor.name in weights:
            light.refer(tensor)
    return LightModel(proto, weights)


def _parse(path: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Return the model without the data of its large weights, and where in the file those begin.

    Raises:
        ModelError: The file does not exist, is no protobuf message, or is truncated.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        rest, offsets = light.without_weights(data)
        return onnx.ModelProto.FromString(rest), offsets
    except (ValueError, google.protobuf.message.DecodeError) as error:
        raise not_onnx(path, f"{size} bytes do not parse") from error


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


def _load_external_data(proto: onnx.ModelProto, folder: Path) -> dict[str, ir.TensorProtocol]:
    """Read all external data: large weights into tensors of their own, by name, the rest into `proto`."""
    weights: dict[str, ir.TensorProtocol] = {}
    for tensor in proto.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            loaded = onnx.TensorProto()  # memory that `proto` once had it would keep
            loaded.CopyFrom(tensor)
            onnx.external_data_helper.load_external_data_for_tensor(loaded, str(folder))
            loaded.ClearField("data_location")
            del loaded.external_data[:]
            if light.is_weight(loaded, len(loaded.raw_data)):
                weights[tensor.name] = ir.serde.deserialize_tensor(loaded)
                tensor.CopyFrom(light.without_data(loaded))
            else:
                tensor.CopyFrom(loaded)
    onnx.external_data_helper.load_external_data_for_model(proto, str(folder))  # of constants and branches
    return weights


def write_models(models: Mapping[Path, LightModel]) -> None:
    """Write models with their weights, each to its path: all of them whole, or none.

    Raises:
        ModelError: A model is over protobuf's 2 GiB.
        WriteError: A folder does not exist or cannot be written to.
    """
    pieces = {path: _model_pieces(model) for path, model in models.items()}
    for path, parts in pieces.items():
        if _size(parts) > MOST_BYTES:
            raise ModelError(f"{path}: the model is over protobuf's 2 GiB, which one file cannot hold")
    write_together({path: map(_bytes, parts) for path, parts in pieces.items()})


def _bytes(piece: Piece) -> bytes | memoryview:
    return piece if isinstance(piece, bytes) else light.data_of(piece)


def _model_pieces(model: LightModel) -> list[Piece]:
    """Return the pieces of the file from its begin to its end, as protobuf would write it."""
    before, after = _around(model.proto, GRAPH)
    graph_before, graph_after = _around(model.proto.graph, INITIALIZER)
    graph: list[Piece] = [graph_before]
    for tensor in model.proto.graph.initializer:
        content = _tensor_pieces(tensor, model.weights.get(tensor.name))
        graph += [header(INITIALIZER, _size(content)), *content]
    graph.append(graph_after)
    return [before, header(GRAPH, _size(graph)), *graph, after]


def _tensor_pieces(tensor: onnx.TensorProto, weight: ir.TensorProtocol | None) -> list[Piece]:
    if weight is None:
        return [tensor.SerializeToString()]
    before, after = _around(light.without_data(tensor), RAW_DATA)
    return [before, header(RAW_DATA, weight.nbytes), weight, after]


def _around(message: google.protobuf.message.Message, number: int) -> tuple[bytes, bytes]:
    """Return the bytes that protobuf writes of `message` before the field `number`, and those behind it."""
    parts = []
    for kept in (range(number), range(number + 1, LAST_FIELD)):
        part = type(message)()
        part.CopyFrom(message)
        for field, _ in message.ListFields():
            if field.number not in kept:
                part.ClearField(field.name)
        parts.append(part.SerializeToString())
    return parts[0], parts[1]


def _size(pieces: Sequence[Piece]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)
