"""Work beside the main thread through a bounded queue: writing behind."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """Ends a queue: no more items come, or this error came instead."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class WriteBehind(contextlib.AbstractContextManager["WriteBehind[Item]"], Generic[Item]):
    """Hands items to a function in a thread of its own, in order, at most `depth` of them waiting.

    At the end of the `with` block everything handed over is done, however it ends. An error of the function is raised
    by the next `put` or at the end of the block; nothing more is done then.
    """

    def __init__(self, function: Callable[[Item], None], depth: int = 2) -> None:
        """Start the thread."""
        self._function = function
        self._waiting: queue.Queue[Item | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="aerocam-write", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item; waits while the queue is full."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Wait until all is done."""
        self._waiting.put(_End())
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _work(self) -> None:
        """Do the items until the end; after an error only take them, so that nobody waits for ever."""
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is None:
                try:
                    self._function(item)
                except BaseException as error:  # it is raised again in the main thread
                    self._error = error
