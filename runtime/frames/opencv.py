"""OpenCV, imported in one place: with a clear error where it is missing, and with a way to keep it quiet."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from aerocam.errors import missing

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

COLORMAPS = {name[9:].lower(): getattr(cv2, name) for name in sorted(dir(cv2)) if name.startswith("COLORMAP_")}
"""OpenCV's colour maps by name: `jet`, `turbo`, `viridis`, ..."""


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Keep what OpenCV and its codecs write to standard error from the terminal, and hand it over as lines.

    OpenCV reports a missing file, camera or codec only there, from C, in many lines. The whole process's file
    descriptor 2 is diverted, so keep the block short. The list is filled when the block ends.
    """
    lines: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:  # a service without standard error: nothing to keep quiet
        yield lines
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    out, into = os.pipe()
    os.set_blocking(into, False)  # what does not fit into the pipe (64 kB) is dropped
    os.dup2(into, 2)
    os.close(into)
    try:
        yield lines
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        with os.fdopen(out, "rb") as said:
            lines += said.read().decode(errors="replace").splitlines()
