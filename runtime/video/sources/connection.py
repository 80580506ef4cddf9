"""A source that is open, read in a thread of its own: what hangs in foreign code holds up nobody else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.video.sources.protocol import Reader

THREAD = "aerocam-read"
"""Name of the threads that read."""

DEPTH = 2
"""How many pictures wait where every one is wanted."""


@dataclass(frozen=True)
class Arrival:
    """Holds a picture as it came.

    Attributes:
        pixels: uint8 (H, W, 3), BGR.
        stamp: The container's time stamp, s, or None.
        captured: When it came, Unix time, s.
        arrived: The same by the monotonic clock, s.
        read: What it took to read, ms.
        skipped: Number of pictures since the one taken before that were passed over.
        damaged: Number of those that could not be decoded.
    """

    pixels: NDArray[np.uint8]
    stamp: float | None
    captured: float
    arrived: float
    read: float
    skipped: int = 0
    damaged: int = 0


class Connection(Protocol):
    """Gives the pictures of an open source as they come. Everything returns within the time given.

    Attributes:
        reader: What reads, as soon as the source is open.
        ended: Whether no more pictures come.
        error: Why not, where the source did not end as it announced.
    """

    reader: Reader | None
    ended: bool
    error: BaseException | None

    def take(self, seconds: float, keep: bool = False) -> Arrival | None:
        """Return the next picture if it comes within so many seconds, else None; `keep` leaves it there."""

    def close(self, seconds: float = 0.0) -> bool:
        """Want no more pictures; tell whether the source was let go within so many seconds."""


class ReadingThread:
    """Opens and reads a source in a daemon thread; a `Connection`.

    The thread alone touches the reader, and closes it: to release OpenCV's capture while another thread reads from it
    ends in a crash.
    """

    def __init__(self, connect: Callable[[], Reader], newest: bool | None = None) -> None:
        """Start the thread.

        Args:
            connect: Opens the source.
            newest: Whether a picture that nobody has taken gives way to the next one; a source that is not live is then
                played in real time, by its time stamps. None: where the source is live.
        """
        self.reader: Reader | None = None
        self.ended, self.error = False, None  # type: bool, BaseException | None
        self._connect, self._newest = connect, newest
        self._waiting: deque[Arrival] = deque()
        self._change = threading.Condition()
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()

    def take(self, seconds: float, keep: bool = False) -> Arrival | None:
        """Return the next picture if it comes within so many seconds, else None; `keep` leaves it there."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self.ended, seconds)
            if not self._waiting or keep:
                return self._waiting[0] if self._waiting else None
            self._change.notify_all()
            return self._waiting.popleft()

    def close(self, seconds: float = 0.0) -> bool:
        """Want no more pictures; tell whether the source was let go within so many seconds."""
        self._unwanted.set()
        with self._change:
            self._waiting.clear()
            self._change.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Open the source and read it to its end."""
        error = None
        try:
            reader = self._connect()
            try:
                self._read(reader)
            finally:
                reader.close()
        except BaseException as caught:  # it is raised again where the pictures are used
            error = caught
        with self._change:
            self.error, self.ended = error, True
            self._change.notify_all()

    def _read(self, reader: Reader) -> None:
        """Read pictures until the end, or until nobody wants them any more."""
        newest = reader.live if self._newest is None else self._newest
        self.reader, damaged, began, started = reader, 0, None, monotonic()
        number = 0
        while not self._unwanted.is_set() and (picture := reader.read()) is not None:
            number += 1
            if picture.pixels is None:
                damaged += 1
                continue
            spent = 1e3 * (monotonic() - started)
            if newest and not reader.live:  # played in real time
                stamp = (number - 1) / reader.fps if picture.stamp is None else picture.stamp
                began = monotonic() - stamp if began is None else began
                self._unwanted.wait(max(0.0, began + stamp - monotonic()))
            self._put(Arrival(picture.pixels, picture.stamp, time(), monotonic(), spent, 0, damaged), newest)
            damaged, started = 0, monotonic()

    def _put(self, arrival: Arrival, newest: bool) -> None:
        """Hand a picture over: in place of one that waits, or when there is room."""
        with self._change:
            if newest and self._waiting:
                late = self._waiting.popleft()
                skipped, damaged = late.skipped + 1, late.damaged + arrival.damaged
                arrival = replace(arrival, skipped=skipped, damaged=damaged)
            self._change.wait_for(lambda: len(self._waiting) < DEPTH or self._unwanted.is_set())
            if not self._unwanted.is_set():
                self._waiting.append(arrival)
                self._change.notify_all()
