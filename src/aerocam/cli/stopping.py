"""Ending early, with what was done so far finished and kept, or taken back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTED = 130
"""Exit code of what was cut short."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run early. A hang-up that is ignored from the start, as under nohup, stays so."""

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C, SIGTERM or hang-up sets; the second raises KeyboardInterrupt."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with _handled(handle):
        yield stop


@contextlib.contextmanager
def interrupt_on_signal() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and a hang-up, so that all is tidied up; a second one is as before.

    Ctrl-C is set too: a shell's background job begins with that signal ignored.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        raise KeyboardInterrupt

    with _handled(handle):
        yield


@contextlib.contextmanager
def _handled(handle: Handler) -> Iterator[None]:
    """Send the signals to a function for as long as the context is open."""
    heard = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
