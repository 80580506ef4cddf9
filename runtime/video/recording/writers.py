"""The two ways to write a video: PyAV, which keeps time stamps and reports errors, and OpenCV, which does neither."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.video.recording.part import PartFile

logger = logging.getLogger(__name__)

BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER, cv2.CAP_OPENCV_MJPEG)
"""OpenCV's video writers, in the order they are tried: left to itself it might write a folder of pictures."""

TICKS = 90_000
"""Of a time stamp, per second."""

KEY = 1.0
"""At least so often a frame can be decoded without those before it, s."""

HYBRID = (61, 7)
"""Version of libavformat from which on a fragmented .mp4 becomes a plain one when it is finished."""


@dataclass(frozen=True)
class Format:
    """Says how PyAV writes into a container.

    Attributes:
        muxer: FFmpeg's name of the container.
        codec: And of the encoder.
        options: Of the container: nothing waits for the end of the file, so that at most half a second is lost.
        settings: Of the encoder.
        pixels: Its pixel format.
        stamps: Whether every frame has a time stamp; else there is but a rate.
    """

    muxer: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    stamps: bool = True


H264 = {"preset": "veryfast", "crf": "23", "bf": "0", "x264-params": "rc-lookahead=4:sync-lookahead=0:sliced-threads=1"}
VP8 = {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "100M"}  # constant quality: the rate is no limit
CLUSTERS = {"cluster_time_limit": "500"}
FRAGMENTS = {"movflags": "frag_keyframe+default_base_moof", "frag_duration": "500000"}

FORMATS = {
    ".mp4": Format("mp4", "libx264", FRAGMENTS, H264),
    ".mkv": Format("matroska", "libx264", CLUSTERS, H264),
    ".ts": Format("mpegts", "libx264", {}, H264),
    ".webm": Format("webm", "libvpx", CLUSTERS, VP8),
    ".avi": Format("avi", "mjpeg", {}, {"qmin": "3", "qmax": "3"}, "yuvj420p", stamps=False),
}
"""By suffix."""


class VideoWriter(Protocol):
    """Writes frames of one size to an open file."""

    def write(self, frame: NDArray[np.uint8], time: float) -> None:
        """Add a frame, uint8 (H, W, 3), BGR; its time counts from the first one on, s, and only grows.

        Raises:
            MediaError: It cannot be written.
        """

    def close(self) -> None:
        """Finish the file.

        Raises:
            MediaError: It cannot be written to its end; what was written before is good.
        """


class AvWriter:
    """Writes a video through PyAV. A browser plays .mp4 and .webm."""

    def __init__(self, file: PartFile, suffix: str, size: tuple[int, int], fps: float) -> None:
        """Begin the file.

        Args:
            file: Takes the bytes.
            suffix: One of `FORMATS`.
            size: (H, W), px, both even.
            fps: Frames per second, about.

        Raises:
            ImportError: PyAV is not installed.
            MediaError: This PyAV lacks the codec.
        """
        import av

        self._file, self._errors = file, (av.error.FFmpegError, OSError, ValueError)
        opened: Callable[..., Any] = av.open
        self._make_frame: Callable[..., Any] = av.VideoFrame.from_ndarray
        self._key, self._format = av.video.frame.PictureType.I, FORMATS[suffix]
        rate = Fraction(fps).limit_denominator(1001)
        self._tick = Fraction(1, TICKS) if self._format.stamps else 1 / rate
        self._last, self._last_key = -1, -KEY
        options = {**self._format.options, "flush_packets": "1"}
        if "movflags" in options:
            hybrid = av.library_versions["libavformat"] >= HYBRID
            options["movflags"] += "+hybrid_fragmented" if hybrid else "+empty_moov"
        try:
            self._container = opened(file, "w", format=self._format.muxer, options=options)
            self._stream = self._container.add_stream(self._format.codec, rate=rate)
        except self._errors as error:
            raise MediaError(
                f"{suffix}: PyAV {av.__version__} here cannot write {self._format.codec} ({error}); take another of"
                f" {', '.join(FORMATS)}"
            ) from error
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt, self._stream.options = self._format.pixels, dict(self._format.settings)
        self._stream.codec_context.time_base = self._tick

    def write(self, frame: NDArray[np.uint8], time: float) -> None:
        """Add a frame; see `VideoWriter`."""
        picture = self._make_frame(frame, format="bgr24")
        self._last = max(round(time / self._tick), self._last + 1)
        picture.pts, picture.time_base = self._last, self._tick
        if time - self._last_key >= KEY:
            picture.pict_type, self._last_key = self._key, time
        self._put(picture)

    def close(self) -> None:
        """Finish the file; see `VideoWriter`."""
        try:
            self._put(None)
        finally:
            try:
                self._container.close()
            except self._errors as error:  # after a failed write the end of the file is not written
                logger.debug("%s: PyAV says on closing: %s", self._file.path, error)
        self._check()

    def _put(self, frame: Any) -> None:
        """Encode a frame, or what is left for None, and write the packets."""
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._errors as error:
            raise MediaError(f"PyAV cannot write any further: {error}") from error
        self._check()
        if (
            not self._format.options
        ):  # frames are written one by one; of a fragment cut short, those in front can be read
            self._file.good = self._file.size

    def _check(self) -> None:
        """Make sure that every byte was written."""
        if self._file.error is not None:
            raise MediaError(f"cannot write any further: {self._file.error.strerror}")


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


class OpencvWriter:
    """Writes a video through OpenCV: at one rate, and whether it could be written shows at the end."""

    def __init__(self, file: PartFile, fourcc: str, size: tuple[int, int], fps: float) -> None:
        """Open the file.

        Args:
            file: The suffix of its path is the container.
            fourcc: The codec's four letters.
            size: (H, W), px, both even.
            fps: Frames per second.

        Raises:
            MediaError: This machine's OpenCV cannot write the codec into that container.
        """
        self._file = file
        height, width = size
        code = cv2.VideoWriter_fourcc(*fourcc)
        with _silent:
            for backend in BACKENDS:
                self._writer: Any = cv2.VideoWriter(str(file.path), backend, code, fps, (width, height))
                if self._writer.isOpened():
                    break
        if not self._writer.isOpened():
            raise MediaError(
                f"codec '{fourcc}' in a {file.path.suffix} file of {width}x{height} px: OpenCV {cv2.__version__} here"
                " cannot write it; leave out the codec and take .webm (VP8), .mp4 (H.264 through PyAV) or .avi (Motion"
                " JPEG)"
            )

    def write(self, frame: NDArray[np.uint8], time: float) -> None:
        """Add a frame; its time is that of its place among the others."""
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file; see `VideoWriter`."""
        self._writer.release()
        self._file.probe()
        if self._file.error is not None:
            raise MediaError(f"OpenCV could not write all of it: {self._file.error.strerror}")


class AtOneRate:
    """Keeps real time in a file that knows only a rate: frames are repeated, or left out.

    Attributes:
        repeated: How many times a frame was written once more.
        left_out: Number of frames that came faster than the rate and are not in the file.
    """

    def __init__(self, writer: VideoWriter, fps: float) -> None:
        """Wrap a writer of that many frames per second."""
        self._writer, self._fps = writer, fps
        self._shown: NDArray[np.uint8] | None = None
        self._next = self.repeated = self.left_out = 0

    def write(self, frame: NDArray[np.uint8], time: float) -> None:
        """Add a frame, as often as its time asks for; one that comes a little early is let pass."""
        place = round(time * self._fps)
        if place < self._next - 1:
            self.left_out += 1
            return
        while self._next < place and self._shown is not None:
            self.repeated += 1
            self._add(self._shown)
        self._shown = frame
        self._add(frame)

    def _add(self, frame: NDArray[np.uint8]) -> None:
        self._writer.write(frame, self._next / self._fps)
        self._next += 1

    def close(self) -> None:
        """Finish the file; see `VideoWriter`."""
        self._writer.close()
        if self.left_out:
            logger.warning("%d frames came faster than %.3g/s, the file's one rate; left out", self.left_out, self._fps)
