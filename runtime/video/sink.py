"""Video out: a file that is written whole or not at all."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError, UsageError
from aerocam.files import make_folder, make_part
from aerocam.runtime.sessions.session import Closing
from aerocam.runtime.video.writers import AvWriter, OpencvWriter, VideoWriter

FOURCCS = {".webm": "VP80", ".avi": "MJPG"}
"""What OpenCV writes by default; `.mp4` is H.264 through PyAV."""


class VideoSink(Closing):
    """Writes frames to a video file.

    The file grows under a hidden name in the same folder and takes its own name when it is closed. As a context
    manager: after an error nothing is left; after Ctrl-C the file is finished and kept.

    Example:
        >>> from aerocam.runtime import Explainer, VideoSink, VideoSource, process
        >>> with Explainer("model.cam.onnx") as explainer, VideoSource("flight.avi") as source:
        ...     with VideoSink("overlay.avi", source.size, source.fps) as sink:
        ...         summary = process(source, explainer, sink)
        >>> summary.frames, sink.frames
        (6, 6)

    Attributes:
        path: Where the video will be.
        frames: Number of frames written so far.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float, codec: str | None = None) -> None:
        """Open the file for writing.

        Args:
            path: `.webm` (VP8) and `.mp4` (H.264, needs PyAV) play in a browser; `.avi` is Motion JPEG.
            size: (H, W) of the frames, px.
            fps: Frames per second.
            codec: Four letters that OpenCV knows a codec by, such as `mp4v`, for that codec instead, in any container.

        Raises:
            UsageError: A suffix or a codec that cannot be.
            MediaError: The file cannot be written, or this machine lacks the codec.
            MissingDependencyError: `.mp4` without PyAV.
        """
        self.path = Path(path)
        self.frames = 0
        self._size = size
        make = _writer(self.path, codec)
        make_folder(self.path.parent)
        if self.path.is_dir():
            raise MediaError(f"{path}: this is a folder, expected the name of a video file; give one")
        if not os.access(self.path.parent, os.W_OK):
            raise MediaError(f"{path}: cannot write into {self.path.parent}; give another place")
        try:
            self._part = make_part(self.path)
        except OSError as error:
            raise MediaError(f"{path}: cannot write it: {error.strerror or error}") from error
        try:
            self._writer: VideoWriter | None = make(self._part, size, fps)
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3), BGR, of the size given.

        Raises:
            MediaError: Another size, or the file cannot be written any further.
        """
        if self._writer is None:
            raise MediaError(f"{self.path}: the video is closed; nothing can be added to it")
        if frame.shape != (*self._size, 3):
            raise MediaError(f"{self.path}: got a frame {frame.shape}, expected {(*self._size, 3)}: one size per video")
        self._writer.write(frame)
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; a video without a single frame is not kept.

        Raises:
            MediaError: The file cannot be finished.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
            if self.frames:
                os.replace(self._part, self.path)
        except OSError as error:
            raise MediaError(f"{self.path}: cannot finish it: {error.strerror or error}") from error
        finally:
            self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Stop writing and leave nothing."""
        self.frames = 0
        self.close()

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Finish the file, or leave nothing after an error other than Ctrl-C."""
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()


def _writer(path: Path, codec: str | None) -> Callable[[Path, tuple[int, int], float], VideoWriter]:
    """Return the function that makes the writer for this container and codec."""
    suffix = path.suffix.lower()
    if codec is None and suffix == ".mp4":
        return AvWriter
    fourcc = codec or FOURCCS.get(suffix)
    if fourcc is None:
        raise UsageError(f"{path}: no codec is set for '{suffix}'; take .webm, .mp4 or .avi, or name a codec")
    if len(fourcc) != 4 or not fourcc.isascii():
        raise UsageError(f"codec '{fourcc}': expected four letters, such as VP80, mp4v or MJPG")
    return functools.partial(OpencvWriter, fourcc=fourcc)
