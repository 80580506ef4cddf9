"""As much of protobuf's wire format as finding things in an ONNX file takes, without onnx and without a copy.

A message is a sequence of fields, each a tag (number and kind), perhaps a length, and its content.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

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
    """The fields of the message in `data[start:end]`.

    Raises:
        ValueError: These bytes are no message.
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
    """An integer of seven bits per byte, and where it ends."""
    value = 0
    for place in range(start, min(end, start + 10)):
        value |= (data[place] & 0x7F) << 7 * (place - start)
        if data[place] < 0x80:
            return value, place + 1
    raise ValueError(f"an integer at byte {start} does not end")


def header(number: int, size: int) -> bytes:
    """Tag and length of a field whose content has `size` bytes."""
    written = bytearray()
    for value in (number << 3 | DELIMITED, size):
        while value >= 0x80:
            written.append(value & 0x7F | 0x80)
            value >>= 7
        written.append(value)
    return bytes(written)
