"""Video in: files, pictures, cameras, URLs, pipelines and standard input, frame by frame."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.runtime.sessions.session import Closing
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.sources.address import address_of
from aerocam.runtime.video.sources.connection import ReadingThread
from aerocam.runtime.video.sources.opening import open_reader
from aerocam.runtime.video.sources.policy import POLL, Event, Playback, Rules
from aerocam.runtime.video.sources.protocol import DEFAULT_FPS

logger = logging.getLogger(__name__)

TIMEOUT, RECONNECT = 5.0, 60.0
"""How long to wait for a frame, and how long to try to get a lost source back, unless told otherwise, s."""


class VideoSource(Closing):
    """Reads frames from a file, pictures, standard input, a camera, a URL or a GStreamer pipeline.

    A thread reads and decodes; a source that hangs holds up neither the caller nor the end of the process. Iterating
    gives the pixels of the frames, uint8 (H, W, 3), BGR, once and in order; `frames` gives them with time and age.

    Example:
        >>> from aerocam.runtime import VideoSource
        >>> with VideoSource("flight.avi") as source:
        ...     print(source.size, source.fps, len(list(source)))
        (64, 96) 20.0 6

    Several sources share one model in one loop: `poll` takes what is there, and waits no longer than it is told to.

        >>> from aerocam.runtime import Explainer
        >>> sources, counts = [VideoSource("flight.avi"), VideoSource("flight.avi")], [0, 0]
        >>> with Explainer("model.cam.onnx") as explainer:
        ...     while not all(source.ended for source in sources):
        ...         for number, source in enumerate(sources):
        ...             if (frame := source.poll(0.01)) is not None:
        ...                 explanation = explainer(frame.pixels)
        ...                 counts[number] += 1
        >>> counts
        [6, 6]

    Attributes:
        name: The source as error messages show it, without a password.
        fps: Frames per second, as far as the source says.
        size: (H, W) of the first frame, px.
        count: Number of frames as the source announces it, or 0 where it has no end or does not say.
        live: Whether its frames come as they happen, as a camera's.
        playback: What gives the frames by the rules given; for `process`.
    """

    def __init__(
        self,
        source: str | int | Path,
        *,
        frames: Literal["newest", "every"] | None = None,
        timeout: float = TIMEOUT,
        reconnect: float = RECONNECT,
        fps: float | None = None,
        event: Event | None = None,
    ) -> None:
        """Open the source and wait for its first frame.

        Args:
            source: What exists by this path: a video, a folder of pictures, a device, a FIFO; else a pattern of
                pictures (`frames/*.png`) or a sequence of them (`%04d.png`); `-` for Motion JPEG on standard input,
                `raw:640x480` for uncompressed BGR there; a URL (`rtsp://...`); a camera's index; or a GStreamer
                pipeline that ends in an appsink (recognised by its `!`).
            frames: `newest` passes over the frames that came while nobody took any, and plays a source that is not
                live in real time; `every` gives all in order, late where need be. None: `newest` where it is live.
            timeout: How long to wait for the first frame, and between two frames, s. Longer silence is taken for a
                loss. Files may take as long as they like.
            reconnect: How long a live source that is lost is tried again, s; 0: not at all.
            fps: Frames per second of pictures, which do not say; None: 25.
            event: Called with what happens to the source (`lost`, `stalled`, `damaged`), whether it begins, and a
                sentence, from the thread that takes the frames.

        Raises:
            MediaError: It is absent, cannot be opened, or gives no frame in time.
            UsageError: A setting that cannot be.
        """
        if frames not in (None, "newest", "every"):
            raise UsageError(f"`frames`: got {frames!r}, expected 'newest' or 'every'")
        if not timeout > 0:
            raise UsageError(f"`timeout`: got {timeout:g}, expected more than 0 s")
        if not reconnect >= 0:
            raise UsageError(f"`reconnect`: got {reconnect:g}, expected 0 s or more")
        if fps is not None and not 0 < fps < math.inf:
            raise UsageError(f"`fps`: got {fps:g}, expected more than 0")
        address = address_of(source)
        self.name = address.name
        patience = math.inf if address.kind in ("file", "pictures") else timeout
        limit = 2 * patience  # what hangs is left before that; this ends its thread
        connect = partial(open_reader, address, limit, fps or DEFAULT_FPS)
        thread = partial(ReadingThread, connect, None if frames is None else frames == "newest")
        self.playback = Playback(thread, self.name, Rules(patience, reconnect), event)
        weakref.finalize(self, self.playback.close)
        try:
            reader, first = self.playback.first()
        except BaseException:
            self.playback.close()
            raise
        self.size: tuple[int, int] = (first.pixels.shape[0], first.pixels.shape[1])
        self.fps, self.count, self.live = reader.fps, reader.count, reader.live
        if self.live and frames is None:
            logger.info("%s: live, so the newest frame is taken each time; `frames='every'` takes all", self.name)
        if address.kind == "pictures" and fps is None:
            logger.info("%s: %d pictures, taken for %g a second; `fps` says otherwise", self.name, self.count, self.fps)

    @property
    def ended(self) -> bool:
        """Return whether no more frames come."""
        return self.playback.ended

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of the frames that are left, uint8 (H, W, 3), BGR; each is a new array.

        Raises:
            SourceLostError: The source is lost and did not come back in time.
        """
        return (frame.pixels for frame in self.frames())

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are left.

        Raises:
            SourceLostError: The source is lost and did not come back in time.
        """
        while not self.ended:
            if (frame := self.poll(POLL)) is not None:
                yield frame

    def poll(self, seconds: float = 0.0) -> Frame | None:
        """Return the next frame if it comes within so many seconds, else None, as at the end: see `ended`.

        Raises:
            SourceLostError: The source is lost and did not come back in time.
        """
        return self.playback.poll(seconds)

    def close(self) -> None:
        """Let the source go, at once or, where reading hangs, when that ends."""
        self.playback.close()
