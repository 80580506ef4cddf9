"""Shared libraries without content, written without a compiler, so that NVIDIA's bindings load without TensorRT.

The bindings look for their libraries, and for a few functions in them. Here every function returns null: names and
signatures can be asked for, nothing can be made.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence

MACHINES = {"x86_64": (62, b"\x31\xc0\xc3"), "aarch64": (183, b"\x00\x00\x80\xd2\xc0\x03\x5f\xd6")}
"""A processor's number in an ELF header, and its instructions for returning null."""

HEADER, SEGMENT, ENTRY, SYMBOL = 64, 56, 16, 24
"""Sizes of an ELF header, a segment, an entry of the dynamic section and a symbol, in bytes."""

LOAD, DYNAMIC, ALL_RIGHTS = 1, 2, 7
HASH, STRINGS, SYMBOLS, STRINGS_SIZE, SYMBOL_SIZE, SONAME, END = 4, 5, 6, 10, 11, 14, 0


def stub_library(name: str, functions: Sequence[str]) -> bytes:
    """A shared library of this name in which every one of these functions returns null."""
    machine, code = MACHINES[platform.machine()]
    names = [b"", name.encode(), *(function.encode() for function in functions)]
    strings = b"\0".join(names) + b"\0"
    at = [0] + [sum(len(text) + 1 for text in names[:number]) for number in range(1, len(names))]
    count, dynamic = len(functions) + 1, HEADER + 2 * SEGMENT
    symbols = dynamic + 7 * ENTRY
    hashes = symbols + count * SYMBOL
    texts = hashes + 4 * (3 + count)
    start = -(-(texts + len(strings)) // 8) * 8
    size = start + len(code)
    entries = ((HASH, hashes), (STRINGS, texts), (SYMBOLS, symbols), (STRINGS_SIZE, len(strings)),
               (SYMBOL_SIZE, SYMBOL), (SONAME, at[1]), (END, 0))  # fmt: skip
    parts = [
        b"\x7fELF" + bytes([2, 1, 1]) + bytes(9),
        struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, HEADER, 0, 0, HEADER, SEGMENT, 2, 0, 0, 0),
        struct.pack("<IIQQQQQQ", LOAD, ALL_RIGHTS, 0, 0, 0, size, size, 4096),
        struct.pack("<IIQQQQQQ", DYNAMIC, ALL_RIGHTS, dynamic, dynamic, dynamic, 7 * ENTRY, 7 * ENTRY, 8),
        *(struct.pack("<QQ", tag, value) for tag, value in entries),
        bytes(SYMBOL),
        *(struct.pack("<IBBHQQ", place, 0x12, 0, 1, start, len(code)) for place in at[2:]),  # global functions
        _hash_table(count),
        strings,
    ]
    content = b"".join(parts)
    return content.ljust(start, b"\0") + code


def _hash_table(count: int) -> bytes:
    """One bucket with all symbols in it: from the last to the first."""
    chain = [0, *range(count - 1)]
    return struct.pack(f"<{3 + count}I", 1, count, count - 1, *chain)
