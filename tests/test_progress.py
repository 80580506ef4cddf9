"""The progress line."""

from __future__ import annotations

import io

import pytest

from aerocam.runtime import progress
from aerocam.runtime.progress import Progress

pytestmark = pytest.mark.runtime


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_unless_it_is_a_terminal() -> None:
    stream = io.StringIO()
    bar = Progress(10, stream)
    bar(5)
    bar.close()
    assert stream.getvalue() == ""


def test_bar_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    stream = Terminal()
    bar = Progress(80, stream)
    now[0] += 2
    bar(20)
    assert stream.getvalue().strip() == "[#####...............] 20/80, 10.0/s, 6 s left"
    bar(21)  # too soon to draw again
    assert stream.getvalue().count("\r") == 1
    now[0] += 1
    bar(90)  # more than were announced
    assert "[####################] 90/80" in stream.getvalue()
    bar.close()
    assert stream.getvalue().endswith("\r")


def test_without_a_total() -> None:
    stream = Terminal()
    Progress(0, stream)(7)
    assert stream.getvalue().strip().startswith("7 frames, ")
