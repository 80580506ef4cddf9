"""The progress line."""

from __future__ import annotations

import io

import pytest

from aerocam import progress
from aerocam.progress import Progress

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


def test_failures_and_a_line_of_text_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "perf_counter", lambda: 100.5)
    stream = Terminal()
    bar = Progress(4, stream)
    bar._started = 100.0
    bar(1)
    bar.close()
    assert stream.getvalue().split("\r")[-2].isspace()  # nothing is left of it
    bar(2, 1)  # at once, although no time has passed
    assert stream.getvalue().split("\r")[-1].strip() == "[##########..........] 2/4, 4.0/s, 0 s left, 1 failed"
    end = stream.getvalue()
    Progress(4, stream).close()
    assert stream.getvalue() == end


def test_without_a_total() -> None:
    stream = Terminal()
    Progress(0, stream)(7)
    assert stream.getvalue().strip().startswith("7 frames, ")
