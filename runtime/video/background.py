"""Work beside the main thread through bounded queues: reading ahead and writing behind."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

POLL = 0.1
"""How often a waiting thread looks whether it is to stop, s."""


class _End:
    """Ends a queue: no more items come, or this error came instead."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead(contextlib.AbstractContextManager["ReadAhead[Item]"], Generic[Item]):
    """Takes the items of an iterable in a thread of its own, at most `depth` of them in advance.

    Ends when the items end or soon after `stop` is set, even if the next item never comes. An error of the iterable is
    raised here.
    """

    def __init__(self, items: Iterable[Item], stop: threading.Event, depth: int = 2) -> None:
        """Start the thread."""
        self._waiting: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop, self._abandoned = stop, threading.Event()
        self._end: _End | None = None
        arguments = (items, self._waiting, self._abandoned)
        self._thread = threading.Thread(target=_fill, args=arguments, name="aerocam-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, as they come."""
        while not self._stop.is_set() and self._end is None:
            if (item := self._next(POLL)) is not None:
                yield item
        if self._end is not None and self._end.error is not None:
            raise self._end.error

    def ready(self) -> Item | None:
        """Return the next item if it is there already, else None; what ends the items shows in the iteration."""
        return self._next(0) if self._end is None and not self._stop.is_set() else None

    def _next(self, seconds: float) -> Item | None:
        """Return the next item if it comes within so many seconds, else None, as at the end, which is kept."""
        with contextlib.suppress(queue.Empty):
            item = self._waiting.get(timeout=seconds)
            if not isinstance(item, _End):
                return item
            self._end = item
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Stop the thread; it is not waited for where the next item does not come."""
        self._abandoned.set()
        self._thread.join(timeout=1)


def _fill(items: Iterable[Item], waiting: queue.Queue[Item | _End], abandoned: threading.Event) -> None:
    """Put the items into the queue, then the end, until nobody wants them any more."""
    try:
        for item in items:
            _put(item, waiting, abandoned)
            if abandoned.is_set():
                return
        _put(_End(), waiting, abandoned)
    except BaseException as error:  # it is raised again where the items are used
        _put(_End(error), waiting, abandoned)


def _put(item: Item | _End, waiting: queue.Queue[Item | _End], abandoned: threading.Event) -> None:
    """Put one item into the queue, unless nobody wants it any more."""
    while not abandoned.is_set():
        with contextlib.suppress(queue.Full):
            return waiting.put(item, timeout=POLL)


class WriteBehind(contextlib.AbstractContextManager["WriteBehind[Item]"], Generic[Item]):
    """Hands items to a function in a thread of its own, in order, at most `depth` of them waiting.

    At the end of the `with` block everything handed over is done, unless the block ends with an error other than
    Ctrl-C. An error of the function is raised by the next `put` or at the end of the block.
    """

    def __init__(self, function: Callable[[Item], None], depth: int = 2) -> None:
        """Start the thread."""
        self._function = function
        self._waiting: queue.Queue[Item | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._work, name="aerocam-write", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item; waits while the queue is full."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Wait until all is done, or drop what waits after an error."""
        self._dropping = kind is not None and not issubclass(kind, KeyboardInterrupt)
        self._waiting.put(_End())
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _work(self) -> None:
        """Do the items until the end; after an error only take them, so that nobody waits for ever."""
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is None and not self._dropping:
                try:
                    self._function(item)
                except BaseException as error:  # it is raised again in the main thread
                    self._error = error
