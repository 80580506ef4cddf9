"""OpenCV, imported in one place: with a clear error where it is missing, and with a way to keep it quiet."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from aerocam.errors import missing

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg is silent, unless someone set another level
try:
    import cv2 as _cv2
except ImportError as error:
    raise missing("opencv-python-headless", "cv", "for pictures, video and overlays") from error

cv2: Any = _cv2
"""OpenCV. Its type stubs differ from version to version and give every array as "integer or floating"."""

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
"""The manifest's names for ways to resize."""

SILENT = 0
"""OpenCV's level of logging that says nothing."""

MOST_CHANNELS = 4
"""Channels up to which all of OpenCV's functions take a picture."""

COLORMAPS = {name[9:].lower(): getattr(cv2, name) for name in sorted(dir(cv2)) if name.startswith("COLORMAP_")}
"""OpenCV's colour maps by name: `jet`, `turbo`, `viridis`, ..."""


_logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, OpenCV 5
_quiet_lock = threading.Lock()
_quiet_blocks: list[int] = []
"""OpenCV's level before the first of the blocks that are quiet now, once for each of them."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV from logging what it also says by its result, in this and all other threads, while one is in a block.

    It is OpenCV's own level that changes, never a file descriptor, which other threads and child processes share. What
    libpng and libjpeg write to standard error by themselves stays there.
    """
    with _quiet_lock:
        _quiet_blocks.append(_quiet_blocks[0] if _quiet_blocks else _logging.getLogLevel())
        _logging.setLogLevel(SILENT)
    try:
        yield
    finally:
        with _quiet_lock:
            before = _quiet_blocks.pop()
            if not _quiet_blocks:
                _logging.setLogLevel(before)
