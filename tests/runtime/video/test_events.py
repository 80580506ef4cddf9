"""Events: when they begin and end, and what is written of them."""

from __future__ import annotations

from typing import Any

import pytest

from aerocam.runtime.video.events import Events, counted

pytestmark = pytest.mark.runtime


def test_an_event_begins_at_once_and_ends_when_it_is_over_for_a_second() -> None:
    now, lines = [100.0], list[dict[str, Any]]()
    events = Events(lambda: now[0])
    events.record = lines.append
    events("stalled", False)
    events.frame(7)
    for at, begins in [(1, True), (2, True), (3, False), (3.5, True), (4, False), (4.5, False)]:
        now[0] = 100 + at
        events("stalled", begins, f"at {at}")
    assert [line["end"] for line in lines] == [None]
    now[0] = 105.1
    events.frame(8)
    now[0] = 106
    events("lost", True)
    events.close()
    begun = {"type": "event", "number": 1, "kind": "stalled", "begin": 101, "end": None, "frame": 7, "text": "at 1"}
    gone = {"type": "event", "number": 2, "kind": "lost", "begin": 106, "end": None, "frame": 8, "text": ""}
    assert lines == [begun, begun | {"end": 104}, gone]
    now[0] = 108
    assert events.summary() == {"lost": (1, 2), "stalled": (1, 3)}
    assert (
        counted(events.summary() | {"disk": (3, 0.25)}) == "lost once, 2.0 s; stalled once, 3.0 s; disk 3 times, 0.2 s"
    )


def test_what_is_over_at_the_end_has_an_end() -> None:
    events = Events()
    events("disk", True, "full")
    events("disk", False)
    events.close()
    assert events.all[0].end is not None
