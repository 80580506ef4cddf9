"""Reading pictures."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
from aerocam.files import VIDEO_SUFFIXES
from aerocam.runtime.frames.opencv import captured_stderr, cv2

logger = logging.getLogger(__name__)


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture in any format that OpenCV has: grey becomes colour, transparency is dropped, EXIF turns applied.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        MediaError: The file is absent or is not a picture that OpenCV can read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot read it: {error.strerror or error}") from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a picture from the content of its file; see `read_picture`.

    Args:
        content: The file's.
        name: What to call it in messages.

    Raises:
        MediaError: The content is not a picture that OpenCV can read.
    """
    if _cut_short(content):
        raise MediaError(f"{name}: found a JPEG that is cut short at {len(content)} bytes, expected a whole one")
    picture = None
    with captured_stderr() as said:
        try:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
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


def _cut_short(content: bytes) -> bool:
    """Say whether this is a JPEG without its end: older OpenCV gives what lies in memory for the missing part."""
    if not content.startswith(b"\xff\xd8"):
        return False
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # segments before the first scan
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) < 0
