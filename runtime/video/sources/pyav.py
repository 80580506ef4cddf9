"""Reads files and URLs through PyAV: with the container's time stamps, time limits, and the reason of a failure."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any

import av
import numpy as np

from aerocam.errors import MediaError, SourceLostError
from aerocam.runtime.video.sources.address import REAL_TIME, Address
from aerocam.runtime.video.sources.protocol import DAMAGED, DEFAULT_FPS, Picture, require_size

FAILURES = (av.error.FFmpegError, OSError, ValueError)
"""What PyAV raises."""


class AvReader:
    """Reads a source through PyAV; see `Reader`."""

    def __init__(self, address: Address, timeout: float) -> None:
        """Open the source.

        Args:
            address: What to open.
            timeout: How long opening and one read may take, s.

        Raises:
            MediaError: It cannot be opened, or there is no video in it.
        """
        self._name, self._limit = address.name, timeout
        file = address.kind == "file"
        options = {"rtsp_flags": "prefer_tcp"} if address.text.lower().startswith("rtsp") else {}
        try:
            limits = None if math.isinf(timeout) else (timeout, timeout)
            self._container: Any = av.open(address.text, timeout=limits, options=options)
        except FAILURES as error:
            hint = "expected a video file that FFmpeg can decode" if file else "check it with: ffprobe"
            what = "found no video in it" if file else "no video comes from this address"
            raise MediaError(f"{self._name}: {what} ({self._reason(error)}); {hint}") from error
        if not self._container.streams.video:
            self._container.close()
            raise MediaError(f"{self._name}: found sound alone, expected a video")
        self._stream: Any = self._container.streams.video[0]
        try:
            require_size(self._name, self._stream.width, self._stream.height)
        except MediaError:
            self._container.close()
            raise
        duration = (self._container.duration or 0) / av.time_base
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FPS)
        self.live = not file and (duration <= 0 or REAL_TIME.match(address.text) is not None)
        self.count = 0 if self.live else self._stream.frames or round(max(duration, 0) * self.fps)
        self._stream.thread_type = "SLICE" if self.live else "AUTO"  # threads by frames give each one later
        self._pictures = self._decode()

    def read(self) -> Picture | None:
        """Return the next picture."""
        return next(self._pictures, None)

    def close(self) -> None:
        """Let the source go."""
        self._pictures.close()
        self._container.close()
        del self._container, self._stream, self._pictures  # they hold each other, and megabytes

    def _decode(self) -> Generator[Picture, None, None]:
        """Yield the pictures in the order in which they are shown."""
        packets = self._container.demux(self._stream)
        while (packet := self._next(packets)) is not None:
            if packet.size == 0 and packet.dts is not None:
                continue  # in AVI: the frame before, again; PyAV would take it for the flush at the end
            try:
                frames = packet.decode()
            except FAILURES:
                yield DAMAGED
                continue
            for frame in frames:
                yield DAMAGED if frame.is_corrupt else self._picture(frame)
        if self.live:
            raise SourceLostError(f"{self._name}: no more frames come")

    def _next(self, packets: Iterator[Any]) -> Any:
        """Return the next packet; None behind the last one."""
        try:
            return next(packets, None)
        except FAILURES as error:
            raise SourceLostError(f"{self._name}: no more frames come ({self._reason(error)})") from error

    def _picture(self, frame: Any) -> Picture:
        """Return a frame in BGR, turned as the container says, its time stamp counted from the begin."""
        pixels = frame.to_ndarray(format="bgr24")
        if turns := round(getattr(frame, "rotation", 0) / 90) % 4:
            pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        if frame.pts is None:
            return Picture(pixels)
        return Picture(pixels, float((frame.pts - (self._stream.start_time or 0)) * frame.time_base))

    def _reason(self, error: Exception) -> str:
        """Return what FFmpeg says, without the address, which may hold a password."""
        if isinstance(error, av.error.ExitError):
            return f"no answer within {self._limit:g} s"
        return getattr(error, "strerror", None) or type(error).__name__
