"""An ONNX file's `metadata_props`, read without onnx: a device that builds an engine from a file does not have it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from aerocam import manifest
from aerocam.errors import ManifestError, ModelError
from aerocam.files import ENGINE_SUFFIXES, unreadable
from aerocam.manifest import Manifest
from aerocam.wire import DELIMITED, fields

METADATA_PROPS = 14
"""Number of the field in onnx's ModelProto."""

KEY, VALUE = 1, 2
"""Numbers of the fields in onnx's StringStringEntryProto."""


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The `metadata_props` of an ONNX file.

    Raises:
        ModelError: No such file, or not ONNX.
    """
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _entries(data)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # also of an empty file, which mmap refuses
        raise not_onnx(path, str(error)) from error


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """The manifest in an ONNX file.

    Raises:
        ModelError: No such file, or not ONNX.
        ManifestError: The model was not exported by aerocam, or by another version.
    """
    text = read_metadata(path).get(manifest.KEY)
    if text is None:
        raise ManifestError(
            f"{os.fspath(path)}: it carries no aerocam manifest, so nothing in it can be explained;"
            f" run: aerocam export {os.fspath(path)}"
        )
    return Manifest.from_json(text, os.fspath(path))


def not_onnx(path: str | os.PathLike[str], reason: str) -> ModelError:
    """The error for a file that does not parse, in words for what it may be."""
    name = os.fspath(path)
    if Path(path).suffix.lower() in ENGINE_SUFFIXES:
        return ModelError(f"{name}: this is an engine, ONNX was expected; give the .onnx file it was built of")
    return ModelError(f"{name}: not an ONNX file, or a truncated one ({reason}); give another, or copy it again")


def _entries(data: mmap.mmap) -> dict[str, str]:
    """Keys and values of the whole file.

    Raises:
        ValueError: These bytes are no message, or the texts no UTF-8.
    """
    found = {}
    for entry in fields(data, 0, len(data)):
        if entry.number == METADATA_PROPS and entry.kind == DELIMITED:
            texts = {
                item.number: data[item.first : item.end].decode()
                for item in fields(data, entry.first, entry.end)
                if item.kind == DELIMITED
            }
            found[texts.get(KEY, "")] = texts.get(VALUE, "")
    return found
