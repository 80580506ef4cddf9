"""Bands of a TIFF with several samples per px, such as multispectral pictures: OpenCV takes them for colours, or grey.

Read are strips, plain or deflated, interleaved or plane by plane, as GDAL and tifffile write them by default.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
"""Byte order by how a file begins."""

FIELDS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types of the entries that are read, by their number."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS = 256, 257, 258, 259, 262, 273
SAMPLES, ROWS, COUNTS, PLANAR, PREDICTOR, FORMAT = 277, 278, 279, 284, 317, 339

SIZE = frozenset({WIDTH, HEIGHT, SAMPLES})
READ = SIZE | {BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, ROWS, COUNTS, PLANAR, PREDICTOR, FORMAT}

MOST_NUMBERS, MOST_TAGS, MOST_PAGES = 1 << 20, 1024, 4096
"""Numbers of a tag, tags of a page, and pages that are read."""

PLAIN, DEFLATED = 1, (8, 32946)

MOST_COLOURS = 4
"""Samples up to which OpenCV reads red, green, blue and one more."""


def read_bands(content: bytes) -> NDArray[Any] | None:
    """Return the bands of a TIFF, (H, W, C), in the file's order and type; None where it is for OpenCV to read.

    Raises:
        ValueError: It has several samples per px in a form that is not read, or is damaged.
    """
    order = ORDERS.get(content[:4])
    try:
        return None if order is None else _bands(content, order)
    except (IndexError, KeyError, OverflowError, TypeError, struct.error, zlib.error) as error:
        raise ValueError(f"a damaged TIFF ({error!r})") from error


def page_sizes(content: bytes) -> list[tuple[int, int]]:
    """Return the size of each page, (width, height) in px; four samples count as one px, more as a wider page.

    Raises:
        KeyError, TypeError, ValueError, struct.error: It is damaged, or has too many pages.
    """
    order = "<" if content[:1] == b"I" else ">"
    at, sizes, places = _first_page(content, order), [], set()
    while at and at not in places:
        places.add(at)
        if len(places) > MOST_PAGES:
            raise ValueError(f"more than {MOST_PAGES} pages")
        tags, at = _tags(content, order, at, SIZE)
        (width, *_), (height, *_), samples = tags[WIDTH], tags[HEIGHT], tags.get(SAMPLES, (1,))[0]
        sizes.append((width * max(-(-samples // MOST_COLOURS), 1), height))
    return sizes


def _first_page(content: bytes, order: str) -> int:
    """Return where the first page's directory is."""
    big = _is_big(content)
    (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, 8 if big else 4)
    return int(at)


def _is_big(content: bytes) -> bool:
    return b"+" in content[2:4]


def _bands(content: bytes, order: str) -> NDArray[Any] | None:
    """See `read_bands`."""
    tags, _ = _tags(content, order, _first_page(content, order))
    samples = tags.get(SAMPLES, (1,))[0]
    if samples == 1:
        return None
    compression = tags.get(COMPRESSION, (PLAIN,))[0]
    if compression not in (PLAIN, *DEFLATED) or OFFSETS not in tags or tags.get(PREDICTOR, (1,))[0] != 1:
        if tags.get(PHOTOMETRIC, (0,))[0] == 2 and samples <= MOST_COLOURS:
            return None
        raise ValueError(f"{samples} bands, compressed or in tiles; strips, plain or deflated, are expected, or .npy")
    (width,), (height,), bits = tags[WIDTH], tags[HEIGHT], tags[BITS]
    dtype = np.dtype(f"{order}{'uif'[tags.get(FORMAT, (1,))[0] - 1]}{bits[0] // 8}")
    planar = tags.get(PLANAR, (1,))[0] != 1
    size = height * width * samples * dtype.itemsize
    strips = zip(tags[OFFSETS], tags[COUNTS], strict=True)
    data = bytearray()
    for at, count in strips:
        data += _strip(content[at : at + count], compression, size)
        if len(data) > size:
            break
    if len(set(bits)) != 1 or len(data) != size:
        raise ValueError(f"{len(data)} bytes for {samples} bands of {width}x{height} px of {bits[0]} bits")
    pixels = np.frombuffer(data, dtype).reshape((samples, height, width) if planar else (height, width, samples))
    return np.ascontiguousarray(np.moveaxis(pixels, 0, 2) if planar else pixels, dtype.newbyteorder("="))


def _tags(content: bytes, order: str, at: int, wanted: Set[int] = READ) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the whole numbers of a page's directory that are read, by tag, and where the next one's is; 0: none."""
    short, entry, word = ("Q", "HHQ", "Q") if _is_big(content) else ("H", "HHI", "I")
    (entries,) = struct.unpack_from(order + short, content, at)
    if entries > MOST_TAGS:
        raise ValueError(f"a page of {entries} tags")
    at, step = at + struct.calcsize(order + short), struct.calcsize(order + entry + word)
    tags, end = {}, at + step * entries
    for place in range(at, end, step):
        tag, kind, count = struct.unpack_from(order + entry, content, place)
        if tag in wanted and kind in FIELDS and count <= MOST_NUMBERS:
            form = f"{order}{count}{FIELDS[kind]}"
            start = place + struct.calcsize(order + entry)
            if struct.calcsize(form) > struct.calcsize(word):
                (start,) = struct.unpack_from(order + word, content, start)
            tags[tag] = struct.unpack_from(form, content, start)
    behind = content[end : end + struct.calcsize(order + word)]
    return tags, int.from_bytes(behind, "little" if order == "<" else "big")


def _strip(data: bytes, compression: int, most: int) -> bytes:
    """Return a strip's bytes, of a deflated one no more than `most`."""
    return data if compression == PLAIN else zlib.decompressobj().decompress(data, most)
