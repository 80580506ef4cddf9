"""Reads cameras and GStreamer pipelines through OpenCV; files and URLs too where PyAV is not installed."""

from __future__ import annotations

import math
import os
import re
from collections import deque
from time import monotonic
from typing import Any

from aerocam.errors import MediaError, SourceLostError
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.video.sources.address import REAL_TIME, Address
from aerocam.runtime.video.sources.protocol import DAMAGED, DEFAULT_FPS, Picture, require_size

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # OpenCV looks at it when it opens its first source
if "OPENCV_LOG_LEVEL" not in os.environ:  # else the user wants to see what OpenCV says
    (cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)  # OpenCV 4, OpenCV 5

ATTEMPTS, PATIENCE = 100, 1.0
"""OpenCV says the same of a damaged picture and of the end: so many reads without one, or so many s, are the end."""


class OpencvReader:
    """Reads a source through OpenCV; see `Reader`.

    What OpenCV and its FFmpeg say for themselves is switched off for the whole process, unless the environment
    variables `OPENCV_LOG_LEVEL` and `OPENCV_FFMPEG_LOGLEVEL` are set.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        """Open the source.

        Args:
            address: What to open.
            timeout: How long opening and one read may take, s, where OpenCV's FFmpeg does it.

        Raises:
            MediaError: It cannot be opened.
        """
        self._capture: Any = _open(address, timeout)
        if not self._capture.isOpened():
            self._capture.release()
            raise MediaError(_why_not(address))
        self._name = address.name
        try:
            sizes = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            require_size(address.name, *sizes)
        except MediaError:
            self._capture.release()
            raise
        fps, count = (float(self._capture.get(key)) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS
        self.live = address.kind != "file" and (not count > 0 or REAL_TIME.match(address.text) is not None)
        self.count = int(count) if math.isfinite(count) and count > 0 and not self.live else 0
        self._ahead: deque[Picture] = deque()
        self._number, self._stamp = 0, -1.0

    def read(self) -> Picture | None:
        """Return the next picture; damaged ones come to light with the good one behind them."""
        if self._ahead:
            return self._ahead.popleft()
        started, failed = monotonic(), 0
        while not (got := self._capture.read())[0]:
            failed += 1
            if failed == ATTEMPTS or monotonic() - started > PATIENCE:
                if self.live:
                    raise SourceLostError(f"{self._name}: no more frames come")
                return None
        self._number += failed
        self._ahead.extend([DAMAGED] * failed + [Picture(got[1], self._time())])
        self._number += 1
        return self._ahead.popleft()

    def close(self) -> None:
        """Let the source go."""
        self._capture.release()

    def _time(self) -> float:
        """Return the time stamp of the frame just read, s; by number and rate where OpenCV's does not go on."""
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        self._stamp = stamp if math.isfinite(stamp) and stamp > self._stamp else self._number / self.fps
        return self._stamp


def _open(address: Address, timeout: float) -> Any:
    """Return OpenCV's capture for a source, open or not."""
    if address.kind == "camera":
        return cv2.VideoCapture(int(address.text))
    if address.kind == "pipeline":
        return cv2.VideoCapture(address.text, cv2.CAP_GSTREAMER)
    if address.kind != "url" or cv2.CAP_FFMPEG not in cv2.videoio_registry.getStreamBackends():
        return cv2.VideoCapture(address.text)
    limit = int(1e3 * min(timeout, 1e6))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    return cv2.VideoCapture(address.text, cv2.CAP_FFMPEG, limits)


def _why_not(address: Address) -> str:
    """Say why nothing could be opened, by kind of source."""
    name = address.name
    if address.kind in ("camera", "device"):
        return f"camera {name}: there is none, or another program has it; see: ls /dev/video*"
    if address.kind == "pipeline":
        has = re.search(r"GStreamer:\s*YES", cv2.getBuildInformation()) is not None
        hint = "see: gst-launch-1.0" if has else "this OpenCV is built without GStreamer; take a build that has it"
        return f"pipeline '{name}': it gives no frame, expected one that ends in appsink; {hint}"
    if address.kind == "url":
        return f"{name}: no video comes from this address; check it with: ffprobe"
    return f"{name}: OpenCV finds no video in it; expected a video file that FFmpeg can decode"
