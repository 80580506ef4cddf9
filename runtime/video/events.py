"""Events: what happens in a flight beside the frames, from when to when, and the frame that shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import time as clock
from typing import Any

KINDS = {
    "lost": "the source is gone",
    "stalled": "the source gives no frame",
    "damaged": "frames cannot be decoded",
    "disk": "video or records cannot be written",
    "budget": "explaining takes longer than it may",
}
"""What is an event, and what it says."""

QUIET = 1.0
"""How long an event must be over before it ends, s: one that comes back sooner goes on."""


@dataclass
class Event:
    """Holds one event.

    Attributes:
        number: Its number in the run, from 1 on.
        kind: One of `KINDS`.
        begin: When it began, Unix time, s.
        end: When it was over, Unix time, s; None: it is not.
        frame: Number of the last frame before it began, its evidence; None: there was none yet.
        text: What happened, in words.
    """

    number: int
    kind: str
    begin: float
    end: float | None = None
    frame: int | None = None
    text: str = ""

    def record(self) -> dict[str, Any]:
        """Return the event as a record, ready for JSON."""
        return {"type": "event", **asdict(self)}


class Events:
    """Keeps the events of a run. Any thread may report; what is to be logged, whoever reports it logs.

    An event begins at once. It ends when it has been over for `QUIET` seconds, so that what flickers is one event.

    Example:
        >>> from aerocam.runtime.video.events import Events
        >>> events = Events()
        >>> events("lost", True, "connection refused")
        >>> events("lost", False)
        >>> events.close()
        >>> [(event.kind, event.text) for event in events.all]
        [('lost', 'connection refused')]

    Attributes:
        all: The events, in order of their beginnings.
        record: Called with an event's record when it begins and when it ends; None: nobody is told.
    """

    def __init__(self, now: Callable[[], float] = clock) -> None:
        """Start without events; `now` gives the Unix time, s."""
        self.all: list[Event] = []
        self.record: Callable[[dict[str, Any]], None] | None = None
        self._now, self._lock = now, threading.RLock()
        self._open: dict[str, Event] = {}
        self._over: dict[str, float] = {}
        self._frame: int | None = None

    def __call__(self, kind: str, begins: bool, text: str = "") -> None:
        """Report that something happens, or happens no more; as often as it is known.

        Args:
            kind: One of `KINDS`.
            begins: Whether it happens.
            text: In words; those of the beginning are kept.
        """
        with self._lock:
            self._settle()
            if not begins:
                if kind in self._open:
                    self._over.setdefault(kind, self._now())
            elif kind in self._open:
                self._over.pop(kind, None)
            else:
                event = Event(len(self.all) + 1, kind, self._now(), None, self._frame, text)
                self.all.append(event)
                self._open[kind] = event
                self._tell(event)

    def frame(self, number: int) -> None:
        """Note the frame that is done, and end what has been over for long enough."""
        with self._lock:
            self._frame = number
            self._settle()

    def close(self) -> None:
        """End the events that are over; what still goes on at the end of the run has no end."""
        with self._lock:
            self._settle(0)

    def summary(self) -> dict[str, tuple[int, float]]:
        """Return how many events of each kind there were, and how long they took together, s."""
        with self._lock:
            return {kind: self._sum(kind) for kind in KINDS if any(event.kind == kind for event in self.all)}

    def _sum(self, kind: str) -> tuple[int, float]:
        spans = [(event.end or self._now()) - event.begin for event in self.all if event.kind == kind]
        return len(spans), sum(spans)

    def _settle(self, quiet: float = QUIET) -> None:
        """End what has been over for so long."""
        for kind, over in list(self._over.items()):
            if self._now() - over >= quiet:
                event = self._open.pop(kind)
                event.end = self._over.pop(kind)
                self._tell(event)

    def _tell(self, event: Event) -> None:
        if self.record is not None:
            self.record(event.record())


def counted(summary: Mapping[str, tuple[int, float]]) -> str:
    """Return a summary of events as text: `lost twice, 3.1 s; disk once, 0.4 s`."""
    times = {1: "once", 2: "twice"}
    parts = (f"{kind} {times.get(count, f'{count} times')}, {spent:.1f} s" for kind, (count, spent) in summary.items())
    return "; ".join(parts)
