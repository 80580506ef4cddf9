"""ONNX files: read with every check that a stranger's file needs, written whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import google.protobuf.message
import onnx

from aerocam.errors import ModelError
from aerocam.files import write_together


def read_proto(path: str | Path) -> onnx.ModelProto:
    """Parse a file and load its external data, from the model's own folder only.

    Raises:
        ModelError: No such file, not ONNX, truncated, external data missing or outside the folder.
    """
    path, data = Path(path), _read(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except google.protobuf.message.DecodeError as error:
        raise ModelError(
            f"{path}: not an ONNX file, or a truncated one ({len(data)} bytes do not parse); copy it again"
        ) from error
    if not proto.graph.node or not proto.ir_version:
        raise ModelError(f"{path}: not an ONNX model (it holds no graph); give a file written by an ONNX exporter")
    try:
        _check_external_data(proto, path)
        onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:  # links and offsets that onnx refuses
        raise ModelError(f"{path}: its external data cannot be read ({error}); copy the files anew") from error
    return proto


def _read(path: str | Path) -> bytes:
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file, an ONNX model was expected; check the path")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


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


def write_proto(proto: onnx.ModelProto, path: Path) -> None:
    """Serialise `proto` to `path`, whole or not at all.

    Raises:
        ModelError: The model is over protobuf's 2 GiB.
        WriteError: The folder does not exist or cannot be written to.
    """
    try:
        data = proto.SerializeToString()
    except (ValueError, google.protobuf.message.EncodeError) as error:
        raise ModelError(f"{path}: the model is over protobuf's 2 GiB, which one file cannot hold") from error
    write_together({path: data})


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(_read(path)).hexdigest()
