"""Video out: one file, or segments; what was written is kept, however the run ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import AerocamError, MediaError, UsageError, missing
from aerocam.files import make_folder
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.sessions.session import Closing
from aerocam.runtime.video.recording.part import PartFile, free_name, name_leftovers
from aerocam.runtime.video.recording.space import Space
from aerocam.runtime.video.recording.writers import FORMATS, AtOneRate, AvWriter, OpencvWriter, VideoWriter

logger = logging.getLogger(__name__)

FOURCCS = {".webm": "VP80", ".avi": "MJPG"}
"""What OpenCV writes where PyAV is not installed."""

LOOK = 1.0
"""How often room on the disk is looked after, s; also whenever a quarter of the floor was written."""

RETRY = 10.0
"""How long after a failure the next file is begun, s."""


class VideoSink(Closing):
    """Writes frames to a video file, or to one after the other.

    A file grows under a hidden name in the same folder and takes its own name when it is finished: at the end of the
    `with` block, of a segment, or before a frame of another size. It is finished and kept after an error too, but then
    it replaces no earlier file. What a killed run left in the folder is given a name at the start.

    Frames keep the times they are written with. Where the container or OpenCV knows only a rate, frames are repeated or
    left out, so that the video plays as long as it took. An odd height or width is rounded up, the last row or column
    repeated.

    Example:
        >>> from aerocam.runtime import Explainer, VideoSink, VideoSource, process
        >>> with Explainer("model.cam.onnx") as explainer, VideoSource("flight.avi") as source:
        ...     with VideoSink("overlay.avi", source.size, source.fps) as sink:
        ...         summary = process(source, explainer, sink)
        >>> summary.frames, sink.frames, [path.name for path in sink.files]
        (6, 6, ['overlay.avi'])

    Attributes:
        path: Where the video will be, or its first segment.
        frames: Number of frames written so far.
        files: The files that are finished.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float,
        codec: str | None = None,
        *,
        segment: float | None = None,
        space: Space | None = None,
    ) -> None:
        """Open the file for writing.

        Args:
            path: `.webm` (VP8) and `.mp4` (H.264, needs PyAV) play in a browser; `.mkv` and `.ts` are H.264 too, `.avi`
                is Motion JPEG.
            size: (H, W) of the first frame, px.
            fps: Frames per second, about; the one rate of what knows no time stamps.
            codec: Four letters that OpenCV knows a codec by, such as `mp4v`, for that codec instead, in any container.
            segment: Begin a new file after so many seconds; no file is then replaced: `fly.mp4`, `fly.0002.mp4`, and in
                the next run `fly.0003.mp4`. None: one file, which replaces an earlier one.
            space: Room on the disk; None: `Space()`.

        Raises:
            UsageError: A suffix, a codec or a length that cannot be.
            MediaError: The file cannot be written, or this machine lacks the codec.
            MissingDependencyError: `.mp4`, `.mkv` or `.ts` without PyAV.
        """
        self.path, self.files, self.frames = Path(path), list[Path](), 0
        self._fps, self._segment, self._space = fps, segment, space or Space()
        self._make = _maker(self.path, codec)
        if segment is not None and not segment >= 1:
            raise UsageError(f"`segment={segment}`: expected 1 s or more")
        make_folder(self.path.parent)
        if self.path.is_dir():
            raise MediaError(f"{path}: this is a folder, expected the name of a video file; give one")
        self._file: PartFile | None = None
        self._closed, self._failed, self._why = False, -RETRY, ""
        self._looked = self._began = self._last = 0.0
        self._size_seen = 0
        self._open(size)
        name_leftovers(self.path.parent)

    def write(self, frame: NDArray[np.uint8], time: float | None = None) -> None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3), BGR. One of another size than the last begins a new file.
            time: Its time in the video, s; None: one frame's after the last.

        Raises:
            MediaError: No video frame, or the file cannot be written any further: it is finished as far as it is good,
                and some seconds later the next one is tried.
        """
        if self._closed:
            raise MediaError(f"{self.path}: the video is closed; nothing can be added to it")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise MediaError(f"{self.path}: got a frame {frame.shape} of {frame.dtype}, expected uint8 (H, W, 3)")
        if monotonic() < self._failed + RETRY:
            raise MediaError(f"{self.path}: {self._why}")
        if time is None:
            time = self._last + 1 / self._fps
        try:
            self._roll(frame.shape[:2], time)
            self._writer.write(_even(frame), time - self._began)
        except MediaError as error:
            self._why, self._failed = str(error).removeprefix(f"{self.path}: "), monotonic()
            self._finish(whole=False)
            raise MediaError(f"{self.path}: {self._why}") from error
        self.frames += 1
        self._written += 1
        self._last = time

    def _roll(self, size: tuple[int, ...], time: float) -> None:
        """Begin the next file where it is time to, and look after the disk."""
        if self._file is not None and self._written:
            if size != self._size:
                logger.info("%s: frames are %dx%d px from here on; a new file begins", self.path, *size[::-1])
                self._finish(whole=True)
            elif self._segment is not None and time - self._began >= self._segment:
                self._finish(whole=True)
        if self._file is None or size != self._size:
            self._abandon()
            self._open((size[0], size[1]))
        if not self._written:
            self._began = time
        elif time <= self._last:  # the source began anew: its frames follow at once
            self._began += time - self._last - 1 / self._fps
        if monotonic() >= self._looked + LOOK or self._size_now - self._size_seen > self._space.floor / 4:
            self._look()

    def _open(self, size: tuple[int, int]) -> None:
        """Begin a file."""
        self._look()
        self._size, self._written = size, 0
        self._file = PartFile(self.path)
        try:
            self._writer = self._make(self._file, (size[0] + size[0] % 2, size[1] + size[1] % 2), self._fps)
        except BaseException:
            self._abandon()
            raise

    def _look(self) -> None:
        """Look after the disk."""
        self._looked, self._size_seen = monotonic(), self._size_now
        self._space.make(self.path, self._size_seen)

    @property
    def _size_now(self) -> int:
        """Return how long the open file is, bytes."""
        return 0 if self._file is None else self._file.size

    def _abandon(self) -> None:
        """Leave nothing of the file that is open."""
        if self._file is not None:
            self._file.remove()
            self._file = None

    def _finish(self, whole: bool) -> None:
        """Finish the open file and give it its name, or leave nothing of one without frames.

        Raises:
            MediaError: It cannot be finished to its end; it has its name all the same.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        error: MediaError | None = None
        try:
            self._writer.close()
        except MediaError as failure:
            error = failure
        if self._written and file.size:
            replacing = whole and error is None and self._segment is None and not self.files
            name = self.path if replacing else free_name(self.path)
            file.finish(name)
            self.files.append(name)
            logger.debug("%s: finished, %d frames", name, self._written)
        else:
            file.remove()
        if error is not None and whole:
            raise MediaError(f"{self.path}: {error}") from error

    def close(self, whole: bool = True) -> None:
        """Finish the file and give it its name; a video without a single frame is not kept.

        Args:
            whole: Whether the video is all it was to be: an earlier file of the name is replaced.

        Raises:
            MediaError: The file cannot be finished.
        """
        self._closed = True
        self._finish(whole)

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Finish the file; what goes wrong with that after an error is logged."""
        try:
            self.close(whole=kind is None or issubclass(kind, KeyboardInterrupt))
        except AerocamError as failure:
            if kind is None:
                raise
            logger.warning("%s", failure)


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frame with an even height and width: the last row or column once more."""
    height, width = frame.shape[:2]
    if height % 2 == width % 2 == 0:
        return frame
    return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _maker(path: Path, codec: str | None) -> Callable[[PartFile, tuple[int, int], float], VideoWriter]:
    """Return the function that makes the writer for this container and codec."""
    suffix = path.suffix.lower()
    if codec is None and suffix not in FORMATS:
        raise UsageError(f"{path}: no codec is set for '{suffix}'; take one of {', '.join(FORMATS)}, or name a codec")
    if codec is not None and (len(codec) != 4 or not codec.isascii()):
        raise UsageError(f"codec '{codec}': expected four letters, such as VP80, mp4v or MJPG")

    def make(file: PartFile, size: tuple[int, int], fps: float) -> VideoWriter:
        if codec is not None:
            return AtOneRate(OpencvWriter(file, codec, size, fps), fps)
        try:
            writer = AvWriter(file, suffix, size, fps)
        except ImportError as error:
            if suffix in FOURCCS:
                return AtOneRate(OpencvWriter(file, FOURCCS[suffix], size, fps), fps)
            raise missing("av", "video", f"to write H.264 into {suffix}; .webm needs nothing more") from error
        return writer if FORMATS[suffix].stamps else AtOneRate(writer, fps)

    return make
