"""The two ways to write a video: OpenCV, and PyAV for H.264, which the OpenCV wheels cannot write."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError, missing
from aerocam.runtime.frames.opencv import cv2

BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER, cv2.CAP_OPENCV_MJPEG)
"""OpenCV's video writers, in the order they are tried: left to itself it might write a folder of pictures."""


class _Silent:
    """Sends standard error nowhere while a writer is opened: OpenCV prints there of each codec what it thinks of it.

    The descriptor is that of all threads, so that one at a time does so. What they write meanwhile is lost, and none of
    them waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._kept: int | None = os.dup(2)
        except OSError:  # a service without standard error: nothing to keep quiet
            self._kept = None
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            os.dup2(self._kept, 2)
            os.close(self._kept)
        self._lock.release()


_silent = _Silent()


class VideoWriter(Protocol):
    """Writes frames of one size to an open file."""

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 (H, W, 3), BGR."""

    def close(self) -> None:
        """Finish the file."""


class OpencvWriter:
    """Writes a video through OpenCV."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, fourcc: str) -> None:
        """Open the file.

        Args:
            path: Where; the suffix is the container.
            size: (H, W), px.
            fps: Frames per second.
            fourcc: The codec's four letters.

        Raises:
            MediaError: This machine's OpenCV cannot write the codec into that container.
        """
        height, width = size
        code = cv2.VideoWriter_fourcc(*fourcc)
        with _silent:
            for backend in BACKENDS:
                self._writer: Any = cv2.VideoWriter(str(path), backend, code, fps, (width, height))
                if self._writer.isOpened():
                    break
        if not self._writer.isOpened():
            raise MediaError(
                f"codec '{fourcc}' in a {path.suffix} file of {width}x{height} px: OpenCV {cv2.__version__} here cannot"
                " write it; leave out the codec and take .webm (VP8), .mp4 (H.264 through PyAV) or .avi (Motion JPEG)"
            )

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 (H, W, 3), BGR."""
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()


class AvWriter:
    """Writes an H.264 video through PyAV that a browser plays (yuv420p)."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        """Open the file.

        Args:
            path: Where; the suffix is the container.
            size: (H, W), px; an odd one is rounded up, the last row or column repeated, as H.264 needs even ones.
            fps: Frames per second.

        Raises:
            MissingDependencyError: PyAV is not installed.
            MediaError: PyAV cannot write the file or lacks the codec.
        """
        try:
            import av
        except ImportError as error:
            raise missing("av", "video", f"to write H.264 into {path.suffix}; .webm needs nothing more") from error
        self._path = path
        self._errors = (av.error.FFmpegError, OSError, ValueError)
        self._make_frame: Callable[..., Any] = av.VideoFrame.from_ndarray
        self._odd = (size[0] % 2, size[1] % 2)
        try:
            self._container: Any = av.open(str(path), "w")
            self._stream: Any = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        except self._errors as error:
            raise MediaError(
                f"H.264 in {path.suffix}: PyAV {av.__version__} cannot write it ({error}); take .webm"
            ) from error
        self._stream.height, self._stream.width = size[0] + self._odd[0], size[1] + self._odd[1]
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "23"}

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 (H, W, 3), BGR."""
        if any(self._odd):
            frame = cv2.copyMakeBorder(frame, 0, self._odd[0], 0, self._odd[1], cv2.BORDER_REPLICATE)
        self._put(self._make_frame(frame, format="bgr24"))

    def close(self) -> None:
        """Finish the file."""
        try:
            self._put(None)
        finally:
            self._container.close()

    def _put(self, frame: Any) -> None:
        """Encode a frame, or what is left for None, and write the packets."""
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._errors as error:
            raise MediaError(f"{self._path}: PyAV cannot write any further: {error}") from error
