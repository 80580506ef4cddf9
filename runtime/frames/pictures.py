"""Reading pictures."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
from aerocam.files import VIDEO_SUFFIXES
from aerocam.runtime.frames.opencv import captured_stderr, cv2
from aerocam.runtime.frames.tiff import read_bands

logger = logging.getLogger(__name__)

NPY = b"\x93NUMPY"
"""How an .npy file begins."""

ORDER = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
"""OpenCV's channels in the file's order, by their number."""


def read_picture(path: str | Path, bands: bool = False) -> NDArray[Any]:
    """Read a picture in any format that OpenCV has: grey becomes colour, transparency is dropped, EXIF turns applied.

    Args:
        path: The file. An .npy file holds the frame as it is.
        bands: Whether all channels are kept, in the file's order, pages one behind the other: for `Preprocess.color`
            BANDS.

    Returns:
        (H, W, 3) in BGR, or (H, W, C) in the file's order; uint8, or as the file has it uint16 or float32.

    Raises:
        MediaError: The file is absent or is not a picture that OpenCV can read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot read it: {error.strerror or error}") from error
    return decode_picture(content, str(path), bands)


def decode_picture(content: bytes, name: str, bands: bool = False) -> NDArray[Any]:
    """Decode a picture from the content of its file; see `read_picture`.

    Args:
        content: The file's.
        name: What to call it in messages.
        bands: See `read_picture`.

    Raises:
        MediaError: The content is not a picture that OpenCV can read.
    """
    if _cut_short(content):
        raise MediaError(f"{name}: found a JPEG that is cut short at {len(content)} bytes, expected a whole one")
    if content.startswith(NPY):
        return _array(content, name)
    try:
        own = read_bands(content) if bands else None
    except ValueError as error:
        raise MediaError(f"{name}: found {error}") from error
    if own is not None:
        return own
    picture = None
    with captured_stderr() as said:
        try:
            if content:
                picture = _decoded(np.frombuffer(content, np.uint8), bands)
        except cv2.error as error:
            said.append(str(error))
    for line in said:
        logger.log(logging.DEBUG if picture is None else logging.WARNING, "%s: the decoder says: %s", name, line)
    if picture is None:
        way = "; give a video to `aerocam stream`" if Path(name).suffix.lower() in VIDEO_SUFFIXES else ""
        raise MediaError(
            f"{name}: found {len(content)} bytes that OpenCV cannot decode, expected a picture (PNG, JPEG, ...){way}"
        )
    return picture


def _decoded(content: NDArray[np.uint8], bands: bool) -> NDArray[Any] | None:
    """Return what OpenCV decodes, in the depth that the file has; None where it cannot."""
    if not bands:
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if picture is None:  # grey in floats
            picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        return np.dstack([picture] * 3) if picture is not None and picture.ndim == 2 else picture
    pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)[1]
    if not pages or any(page.shape[:2] != pages[0].shape[:2] for page in pages):
        return None
    ordered = [page if page.ndim == 2 else page[..., ORDER[page.shape[2]]] for page in pages]
    return np.dstack(ordered)


def _array(content: bytes, name: str) -> NDArray[Any]:
    """Return the array in an .npy file."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    except (EOFError, MemoryError, ValueError) as error:
        raise MediaError(f"{name}: found an .npy file that NumPy cannot read ({error}), expected (H, W, C)") from error


def _cut_short(content: bytes) -> bool:
    """Say whether this is a JPEG without its end: older OpenCV gives what lies in memory for the missing part."""
    if not content.startswith(b"\xff\xd8"):
        return False
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # segments before the first scan
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) < 0
