"""Reading pictures."""

from __future__ import annotations

import io
import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError, UsageError
from aerocam.files import VIDEO_SUFFIXES
from aerocam.foreign import load_array
from aerocam.runtime.frames.opencv import cv2, quiet
from aerocam.runtime.frames.picture_sizes import announced_sizes
from aerocam.runtime.frames.tiff import read_bands

logger = logging.getLogger(__name__)

MOST_PIXELS = 100_000_000
"""Pixels of a picture that is read unless more are asked for: reading and explaining it takes less than 1 GB."""

BYTES_PER_PIXEL = 8
"""Bytes of a file for each of them, at most."""

PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II", b"MM")
"""How PNG and TIFF files begin."""

NPY = b"\x93NUMPY"
"""How an .npy file begins."""

ORDER = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
"""OpenCV's channels in the file's order, by their number."""


def read_picture(path: str | Path, bands: bool = False, max_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Read a picture in any format that OpenCV has: grey becomes colour, transparency is dropped, EXIF turns applied.

    Args:
        path: The file. An .npy file holds the frame as it is.
        bands: Whether all channels are kept, in the file's order, a TIFF's pages one behind the other: for
            `Preprocess.color` BANDS.
        max_pixels: Most pixels, by the header of the file; a larger one is not decoded. Of bands, four channels count
            as one pixel.

    Returns:
        (H, W, 3) in BGR, or (H, W, C) in the file's order; uint8, or as the file has it uint16 or float32.

    Raises:
        MediaError: The file is absent, is not a picture that OpenCV can read, or has too many pixels.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(most_bytes(max_pixels) + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise MediaError(f"{path}: cannot read it: {getattr(error, 'strerror', None) or error}") from error
    return decode_picture(content, str(path), bands, max_pixels)


def decode_picture(content: bytes, name: str, bands: bool = False, max_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Decode a picture from the content of its file; see `read_picture`.

    Args:
        content: The file's.
        name: What to call it in messages.
        bands: See `read_picture`.
        max_pixels: See `read_picture`.

    Raises:
        MediaError: The content is not a picture that OpenCV can read, or has too many pixels.
    """
    if len(content) > most_bytes(max_pixels):
        raise MediaError(
            f"{name}: found more than {most_bytes(max_pixels)} bytes, at most {BYTES_PER_PIXEL} for each of"
            f" {max_pixels} px are read; raise `max_pixels` if it is a picture"
        )
    if _cut_short(content):
        raise MediaError(f"{name}: found a JPEG that is cut short at {len(content)} bytes, expected a whole one")
    if content.startswith(PNG) and (fault := _png_fault(content)):
        raise MediaError(f"{name}: found a PNG with {fault} in {len(content)} bytes, expected a whole one")
    if content.startswith(NPY):
        return _array(content, name, max_pixels)
    try:
        sizes = announced_sizes(content)
        if (pixels := sum(wide * high for wide, high in (sizes if bands else sizes[:1]))) > max_pixels:
            (wide, high), pages = sizes[0], f" on {len(sizes)} pages" if bands and len(sizes) > 1 else ""
            raise MediaError(
                f"{name}: found {wide}x{high} px{pages}, {pixels} in all, at most {max_pixels} are read; make it"
                " smaller, or raise `max_pixels`"
            )
        own = read_bands(content) if bands else None
    except ValueError as error:
        raise MediaError(f"{name}: found {error}, expected a picture") from error
    if own is not None:
        return own
    picture = None
    with quiet():
        try:
            if content:
                picture = _decoded(np.frombuffer(content, np.uint8), bands, content.startswith(TIFF))
        except (cv2.error, MemoryError) as error:
            logger.debug("%s: the decoder says: %s", name, error)
    if picture is None:
        way = "; give a video to `aerocam stream`" if Path(name).suffix.lower() in VIDEO_SUFFIXES else ""
        raise MediaError(
            f"{name}: found {len(content)} bytes that OpenCV cannot decode, expected a picture (PNG, JPEG, ...){way}"
        )
    return picture


def most_bytes(max_pixels: int) -> int:
    """Return how many bytes of a file are read for so many pixels.

    Raises:
        UsageError: It is no number of pixels.
    """
    if max_pixels < 1:
        raise UsageError(f"`max_pixels={max_pixels}`: expected 1 or more")
    return BYTES_PER_PIXEL * max_pixels


def _decoded(content: NDArray[np.uint8], bands: bool, paged: bool) -> NDArray[Any] | None:
    """Return what OpenCV decodes, in the depth that the file has, of bands all pages; None where it cannot."""
    if not bands:
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if picture is None:  # grey in floats
            picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        return np.dstack([picture] * 3) if picture is not None and picture.ndim == 2 else picture
    whole = cv2.IMREAD_UNCHANGED
    pages = cv2.imdecodemulti(content, whole)[1] if paged else [cv2.imdecode(content, whole)]
    if not pages or any(page is None or page.shape[:2] != pages[0].shape[:2] for page in pages):
        return None
    ordered = [page if page.ndim == 2 else page[..., ORDER[page.shape[2]]] for page in pages]
    return np.dstack(ordered)


def _array(content: bytes, name: str, max_pixels: int) -> NDArray[Any]:
    """Return the array in an .npy file."""
    try:
        array = load_array(io.BytesIO(content))
    except ValueError as error:
        raise MediaError(f"{name}: found an .npy file of {error}, expected (H, W, C)") from error
    if array.size > max(ORDER) * max_pixels:
        raise MediaError(
            f"{name}: found {array.size} numbers, at most {max_pixels} px of four are read; raise `max_pixels`"
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _png_fault(content: bytes) -> str:
    """Say what of a PNG libpng would refuse, with a line on standard error: a needed chunk is damaged, or no end."""
    at = len(PNG)
    while at + 12 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 8 + size
        if kind[:1].isupper() and zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return f"a damaged chunk at byte {at}"
        if kind == b"IEND":
            return ""
        at = end + 4
    return "no end"


def _cut_short(content: bytes) -> bool:
    """Say whether this is a JPEG without its end: older OpenCV gives what lies in memory for the missing part."""
    if not content.startswith(b"\xff\xd8"):
        return False
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # segments before the first scan
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) < 0
