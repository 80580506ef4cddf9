"""One policy for every source: which frames are given, how long is waited, and how a source that is lost comes back."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from aerocam.errors import MediaError, SourceLostError
from aerocam.runtime.sessions.session import Closing
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.sources.connection import Arrival, Connection
from aerocam.runtime.video.sources.protocol import Reader

logger = logging.getLogger(__name__)

Event = Callable[[str, bool, str], None]
"""Is told of what happens to a source: its kind (`lost`, `stalled`, `damaged`), whether it begins, and a sentence."""

AWAY = ("lost", "stalled")
"""Events during which no frames come."""

POLL = 0.1
"""How often whoever waits for a frame looks whether it is to stop, s."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""The pause before the second attempt to connect again, doubled for each one after it, s; the first is made at once."""

STEADY = 5.0
"""How long a new connection must hold before attempts are counted anew, s."""

MOST_HUNG = 4
"""How many connections may hang in foreign code before no further one is made."""


@dataclass(frozen=True)
class Rules:
    """Says what is waited for.

    Attributes:
        timeout: How long no frame may come, and opening may take, s.
        reconnect: How long a live source that is lost is tried again, s; 0: not at all.
    """

    timeout: float = math.inf
    reconnect: float = 0.0


class Playback(Closing):
    """Gives the frames of a source by its rules, from connection to connection.

    It makes no thread and never blocks for longer than it is told to: everything foreign is behind a `Connection`.

    Attributes:
        ended: Whether no more frames come.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        name: str,
        rules: Rules,
        event: Event | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Connect.

        Args:
            connect: Makes a connection.
            name: The source as messages show it.
            rules: What is waited for.
            event: Is told when the source is lost, stalls or gives damaged frames, and when that is over.
            clock: A monotonic clock, s.
            sleep: Waits so many seconds.
            jitter: Gives a number from 0 to 1, for the pauses: many that lose one source do not come back at once.
        """
        self.ended = False
        self._name, self._rules, self._event = name, rules, event
        self._connect, self._clock, self._sleep, self._jitter = connect, clock, sleep, jitter
        self._number, self._time = -1, 0.0
        self._began: float | None = None
        self._open: dict[str, float] = {}  # events that have begun, and when
        self._attempts, self._retry = 0, -math.inf
        self._hung: list[Connection] = []
        self._idle: float | None = None  # since when nothing has come
        self._connection: Connection | None = None
        self._make()

    def first(self) -> tuple[Reader, Arrival]:
        """Wait for the first frame, which is left to be taken.

        Returns:
            What reads the source, and the frame as it came.

        Raises:
            MediaError: The source cannot be opened, gives no frame, or none in time.
        """
        said, started = False, self._clock()
        while True:
            assert self._connection is not None
            if (arrival := self._connection.take(POLL, keep=True)) is not None:
                assert self._connection.reader is not None
                return self._connection.reader, arrival
            spent = self._clock() - started
            if self._connection.ended:
                self.ended = True
                if (error := self._connection.error) is None or isinstance(error, SourceLostError):
                    raise MediaError(f"{self._name}: it opens but gives no frame") from error
                raise error
            if spent > self._rules.timeout:
                self.ended = True
                limit = f"{self._rules.timeout:g} s"
                raise MediaError(f"{self._name}: no frame came within {limit}; `timeout` is how long to wait for one")
            if spent > 1 and not said:
                said = True
                logger.info("%s: waits for the first frame, %g s at most", self._name, self._rules.timeout)

    def poll(self, seconds: float) -> Frame | None:
        """Return the next frame if it comes within so many seconds, else None; see `ended`.

        Raises:
            SourceLostError: The source is lost and did not come back in time.
            MediaError: It failed in another way.
        """
        if self.ended:
            return None
        if self._connection is None:
            pause = self._retry - self._clock()
            if pause > 0:
                self._sleep(min(pause, seconds))
                return None
            self._make()
        assert self._connection is not None
        if (arrival := self._connection.take(seconds)) is not None:
            return self._frame(arrival)
        now = self._clock()
        self._idle = now if self._idle is None else self._idle
        if self._connection.ended:
            self._end(self._connection.error)
        elif now - self._idle > self._rules.timeout:
            self._lose("stalled", f"{self._name}: no frame for {self._rules.timeout:g} s")
        return None

    def close(self) -> None:
        """Let the source go; one that hangs is left to the end of the process."""
        self.ended = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(0.5)

    def _make(self) -> None:
        """Connect."""
        self._connection, self._connected = self._connect(), self._clock()
        self._idle = None

    def _frame(self, arrival: Arrival) -> Frame:
        """Return a picture that came as a frame."""
        assert self._connection is not None
        reader = self._connection.reader
        assert reader is not None
        self._idle = None
        if self._clock() - self._connected > STEADY:
            self._attempts = 0
        for kind in AWAY:
            self._over(kind, "back after {:.1f} s")
        if arrival.damaged:
            self._begin("damaged", f"{self._name}: damaged frames, which are passed over: {arrival.damaged} before one")
        else:
            self._over("damaged", "frames can be decoded again after {:.1f} s")
        self._number += 1 + arrival.skipped + arrival.damaged
        self._began = arrival.arrived if self._began is None else self._began
        by_rate = self._number / reader.fps if arrival.stamp is None else arrival.stamp
        self._time = arrival.arrived - self._began if reader.live else by_rate
        return Frame(
            self._number,
            self._time,
            arrival.pixels,
            arrival.captured,
            arrival.arrived,
            arrival.skipped,
            arrival.damaged,
            arrival.read,
        )

    def _end(self, error: BaseException | None) -> None:
        """End, or connect again: what ended one connection may be over."""
        lost = isinstance(error, SourceLostError) or (isinstance(error, MediaError) and self._attempts > 0)
        if error is not None and lost:
            return self._lose("lost", str(error))
        self.ended = True
        if error is not None:
            raise error
        reader = self._connection.reader if self._connection is not None else None
        if reader is None or self._number + 1 >= reader.count:
            return
        announced = reader.count / reader.fps  # where the rate varies the count may be reckoned from this one
        if self._time + max(2 / reader.fps, 0.02 * announced) < announced:
            found = self._number + 1
            logger.warning("%s: it announces %d frames, %d could be read", self._name, reader.count, found)

    def _lose(self, kind: str, reason: str) -> None:
        """Leave the connection and set the time for the next one.

        Raises:
            SourceLostError: It has been tried for long enough.
        """
        assert self._connection is not None
        connection, self._connection = self._connection, None
        self._hung = [one for one in [*self._hung, connection] if not one.close()]
        again = self._rules.reconnect if connection.reader is None or connection.reader.live else 0.0
        now, pause = self._clock(), 0.0
        if self._attempts:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._attempts - 1)) * (0.5 + 0.5 * self._jitter())
        self._attempts += 1
        since = next((self._open[name] for name in AWAY if name in self._open), now)
        self._retry = min(now + pause, since + again)
        final = now - since >= again or len(self._hung) > MOST_HUNG
        if since == now:
            self._begin(kind, reason if final else f"{reason}; connecting again, for {again:g} s at most", not final)
        if final:
            self.ended = True
            tried = f"; it did not come back within {again:g} s (`reconnect`)" if again else ""
            raise SourceLostError(reason + tried)

    def _begin(self, kind: str, text: str, say: bool = True) -> None:
        """Say that something has begun, unless it had; `say` also in the log."""
        if kind not in self._open:
            self._open[kind] = self._clock()
            if say:
                logger.warning("%s", text)
            if self._event is not None:
                self._event(kind, True, text)

    def _over(self, kind: str, text: str) -> None:
        """Say that something is over, if it had begun."""
        if kind in self._open:
            text = f"{self._name}: {text.format(self._clock() - self._open.pop(kind))}"
            logger.log(logging.DEBUG if kind == "damaged" else logging.WARNING, "%s", text)
            if self._event is not None:
                self._event(kind, False, text)
