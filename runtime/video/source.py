"""Video in: a file, a camera, a URL or a GStreamer pipeline, frame by frame."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
from aerocam.runtime.frames.opencv import cv2, quiet
from aerocam.runtime.frames.pictures import MOST_PIXELS
from aerocam.runtime.sessions.session import Closing

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
"""Taken where a source does not say its own."""


class VideoSource(Closing):
    """Reads frames from a file, a camera index, a URL or a GStreamer pipeline; uint8 (H, W, 3), BGR.

    Iterating gives the frames once, in order. The first one is read at once, so that a source that opens but gives
    nothing is an error here and the size is that of a real frame.

    Example:
        >>> from aerocam.runtime import VideoSource
        >>> with VideoSource("flight.avi") as source:
        ...     print(source.size, source.fps, len(list(source)))
        (64, 96) 20.0 6

    Attributes:
        name: The source as error messages show it, without a password.
        fps: Frames per second, as far as the source says.
        size: (H, W) of the first frame, px.
        count: Number of frames as the source announces it, or 0 where it has no end or does not say.
        live: Whether it has no known end, as a camera.
    """

    def __init__(self, source: str | int | Path) -> None:
        """Open the source.

        Args:
            source: A path; a camera's index, also as text (`0`); a URL (`rtsp://...`); or a GStreamer pipeline that
                ends in an appsink (recognised by its `!`).

        Raises:
            MediaError: It is absent, cannot be opened, or gives no frame.
        """
        text = str(source)
        self.name = re.sub(r"(://[^:/@]*):[^/@]*@", r"\1:***@", text)
        self._busy = threading.Lock()
        with quiet():
            self._capture: Any = _open(text)
            opened = bool(self._capture.isOpened())
            self._refuse_huge()
            first = self._capture.read()[1] if opened else None
        if first is None:
            self._capture.release()
            raise MediaError(_why_not(text, self.name, opened))
        self._first: NDArray[np.uint8] | None = first
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS
        self.count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.live = self.count == 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames that are left; each is a new array."""
        count = 0
        while (frame := self._read()) is not None:
            count += 1
            yield frame
        if count < self.count:
            logger.warning("%s: it announces %d frames, %d could be read", self.name, self.count, count)

    def close(self) -> None:
        """Let the source go; one that another thread is hung reading from is left to the end of the process."""
        if self._busy.acquire(timeout=2):
            self._capture.release()
            self._busy.release()

    def _refuse_huge(self) -> None:
        """Raise MediaError for frames of more px than a picture may have."""
        width, height = (int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            self._capture.release()
            raise MediaError(f"{self.name}: found frames of {width}x{height} px, at most {MOST_PIXELS} px are read")

    def _read(self) -> NDArray[np.uint8] | None:
        """Return the next frame, or None at the end."""
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        with self._busy:
            good, frame = self._capture.read()
        return frame if good else None


def _open(text: str) -> Any:
    """Return OpenCV's capture for a source, open or not."""
    if text.isdigit():
        return cv2.VideoCapture(int(text))
    if "!" in text:
        return cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
    if "://" not in text and (Path(text).is_dir() or not Path(text).exists()):
        return cv2.VideoCapture()
    return cv2.VideoCapture(text)


def _why_not(text: str, name: str, opened: bool) -> str:
    """Say why there is no video, by kind of source."""
    if text.isdigit():
        return f"camera {name}: {'it opens but gives no frame' if opened else 'there is none'}; see: ls /dev/video*"
    if "!" in text:
        has = re.search(r"GStreamer:\s*YES", cv2.getBuildInformation()) is not None
        hint = "see: gst-launch-1.0" if has else "this OpenCV is built without GStreamer; take a build that has it"
        return f"pipeline '{name}': it gives no frame, expected one that ends in appsink; {hint}"
    if "://" in text:
        return f"{name}: no video comes from this address; check it with: ffprobe"
    if Path(text).is_dir() or not Path(text).exists():
        return f"{name}: there is no such video; expected a file, a camera's index or a URL"
    return f"{name}: OpenCV finds no video in it; expected a video file that FFmpeg can decode"
