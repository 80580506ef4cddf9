"""The reading end of the loop: the frames of a source, as many as are wanted, until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from aerocam.errors import SourceLostError
from aerocam.runtime.sessions.session import Closing
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.source import VideoSource
from aerocam.runtime.video.sources.connection import ReadingThread
from aerocam.runtime.video.sources.given import FrameSource, GivenFrames
from aerocam.runtime.video.sources.policy import POLL, Playback, Rules


class Reading(Closing):
    """Takes frames from a source, every so many of them due; a lost source ends them, which `lost` says.

    Attributes:
        lost: Why the source is lost and not back; empty where it is not.
        skipped: Number of frames that were passed over.
        damaged: Number of frames that could not be decoded.
    """

    def __init__(self, source: FrameSource, stop: threading.Event, every: int, most: int | None) -> None:
        """Take a source; one that is no `VideoSource` is read in a thread from now on.

        Args:
            source: Where the frames come from.
            stop: Ends the frames soon after it is set, even if the next one never comes.
            every: How many frames are due: each `every`-th.
            most: How many frames to take; None: all.
        """
        self.lost, self.skipped, self.damaged = "", 0, 0
        self._stop, self._every, self._most, self._count = stop, every, most, 0
        self._own = not isinstance(source, VideoSource)
        self._playback = (
            source.playback
            if isinstance(source, VideoSource)
            else Playback(partial(ReadingThread, partial(GivenFrames, source)), "source", Rules())
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames as they come."""
        while self._wanted():
            if (frame := self._next(POLL)) is not None:
                yield frame

    def ready(self) -> Frame | None:
        """Return the next frame if it is there already, else None; what ends the frames shows in the iteration."""
        return self._next(0.0) if self._wanted() else None

    def close(self) -> None:
        """Stop the thread that reads, if it is not the source's own."""
        if self._own:
            self._playback.close()

    def _wanted(self) -> bool:
        """Tell whether a further frame is to be taken."""
        enough = self._most is not None and self._count >= self._most
        return not (enough or self._playback.ended or self._stop.is_set())

    def _next(self, seconds: float) -> Frame | None:
        """Return the next frame if it comes within so many seconds, else None."""
        try:
            frame = self._playback.poll(seconds)
        except SourceLostError as error:
            self.lost = str(error)
            return None
        if frame is None:
            return None
        self._count += 1
        self.skipped += frame.skipped
        self.damaged += frame.damaged
        return replace(frame, due=(self._count - 1) % self._every == 0)
