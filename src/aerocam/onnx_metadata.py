"""An ONNX file's `metadata_props`, read without onnx: a device that builds an engine from a file does not have it.

Of protobuf's wire format it knows as much as finding things in an ONNX file takes, without a copy.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aerocam import manifest
from aerocam.errors import ManifestError, ModelError
from aerocam.files import ENGINE_SUFFIXES, unreadable
from aerocam.manifest import Manifest

VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of fields; the two others are groups, which ONNX does not have."""


class Field(NamedTuple):
    """Where a field of a message lies: its number and kind, its tag, its content, its end."""

    number: int
    kind: int
    start: int
    first: int
    end: int


def fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in `data[start:end]`.

    Raises:
        ValueError: The bytes are no message.
    """
    while start < end:
        tag, first = _varint(data, start, end)
        kind = tag & 7
        if kind == DELIMITED:
            size, first = _varint(data, first, end)
            stop = first + size
        elif kind == VARINT:
            stop = _varint(data, first, end)[1]
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            stop = first + (8 if kind == EIGHT_BYTES else 4)
        else:
            raise ValueError(f"a field of kind {kind} at byte {start}")
        if stop > end:
            raise ValueError(f"a field at byte {start} ends behind its message")
        yield Field(tag >> 3, kind, start, first, stop)
        start = stop


def _varint(data: bytes | mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Read an integer of seven bits per byte; return it, and where it ends."""
    value = 0
    for place in range(start, min(end, start + 10)):
        value |= (data[place] & 0x7F) << 7 * (place - start)
        if data[place] < 0x80:
            return value, place + 1
    raise ValueError(f"an integer at byte {start} does not end")


def header(number: int, size: int) -> bytes:
    """Return the tag and the length of a field whose content has `size` bytes."""
    written = bytearray()
    for value in (number << 3 | DELIMITED, size):
        while value >= 0x80:
            written.append(value & 0x7F | 0x80)
            value >>= 7
        written.append(value)
    return bytes(written)


METADATA_PROPS = 14
"""Number of the field in onnx's ModelProto."""

KEY, VALUE = 1, 2
"""Numbers of the fields in onnx's StringStringEntryProto."""


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the `metadata_props` of an ONNX file.

    Raises:
        ModelError: The file does not exist, or is not ONNX.
    """
    try:
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _entries(data)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # also of an empty file, which mmap refuses
        raise not_onnx(path, str(error)) from error


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest in an ONNX file.

    Raises:
        ModelError: The file does not exist, or is not ONNX.
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
    """Make the error for a file that does not parse, in words for what it may be."""
    name = os.fspath(path)
    if Path(path).suffix.lower() in ENGINE_SUFFIXES:
        return ModelError(f"{name}: this is an engine, ONNX was expected; give the .onnx file it was built of")
    return ModelError(f"{name}: not an ONNX file, or a truncated one ({reason}); give another, or copy it again")


def _entries(data: mmap.mmap) -> dict[str, str]:
    """Read the keys and values of the whole file.

    Raises:
        ValueError: The bytes are no message, or its texts are not UTF-8.
    """
    metadata = {}
    for entry in fields(data, 0, len(data)):
        if entry.number == METADATA_PROPS and entry.kind == DELIMITED:
            texts = {
                part.number: data[part.first : part.end].decode()
                for part in fields(data, entry.first, entry.end)
                if part.kind == DELIMITED
            }
            metadata[texts.get(KEY, "")] = texts.get(VALUE, "")
    return metadata
