"""Bands of a TIFF with several samples per px, such as multispectral pictures: OpenCV takes them for colours, or grey.

Read are strips, plain or deflated, interleaved or plane by plane, as GDAL and tifffile write them by default.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
"""Byte order by how a file begins."""

FIELDS = {1: "B", 3: "H", 4: "I"}
"""Types of the entries that are read, by their number."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS = 256, 257, 258, 259, 262, 273
SAMPLES, ROWS, COUNTS, PLANAR, PREDICTOR, FORMAT = 277, 278, 279, 284, 317, 339

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


def _bands(content: bytes, order: str) -> NDArray[Any] | None:
    """See `read_bands`."""
    tags = _tags(content, order)
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
    data = b"".join(_strip(content[at : at + count], compression, size) for at, count in strips)
    if len(set(bits)) != 1 or len(data) != size:
        raise ValueError(f"{len(data)} bytes for {samples} bands of {width}x{height} px of {bits[0]} bits")
    pixels = np.frombuffer(data, dtype).reshape((samples, height, width) if planar else (height, width, samples))
    return np.ascontiguousarray(np.moveaxis(pixels, 0, 2) if planar else pixels, dtype.newbyteorder("="))


def _tags(content: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """Return the whole numbers of the first page's directory, by tag."""
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (entries,) = struct.unpack_from(f"{order}H", content, at)
    tags = {}
    for place in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, place)
        if kind in FIELDS:
            form = f"{order}{count}{FIELDS[kind]}"
            start = place + 8
            if struct.calcsize(form) > 4:
                (start,) = struct.unpack_from(f"{order}I", content, start)
            tags[tag] = struct.unpack_from(form, content, start)
    return tags


def _strip(data: bytes, compression: int, most: int) -> bytes:
    """Return a strip's bytes, of a deflated one no more than `most`."""
    return data if compression == PLAIN else zlib.decompressobj().decompress(data, most)
