"""The policy of sources: what is waited for, tried again and counted, by a clock that only the test moves."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from aerocam.errors import MediaError, SourceLostError
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.sources.connection import Arrival
from aerocam.runtime.video.sources.policy import Playback, Rules

pytestmark = pytest.mark.runtime

LOST = SourceLostError("cam: no more frames come")
REFUSED = MediaError("cam: connection refused")
HANGS = "hangs"


class Scripted:
    """A connection that gives what is written: numbers are pauses, arrivals come, an error or None ends it."""

    def __init__(self, world: World, script: Sequence[object], live: bool = True) -> None:
        self.reader = SimpleNamespace(live=live, fps=10.0, count=5) if REFUSED not in script else None
        self.ended, self.error = False, None
        self.world, self.script, self.closed = world, list(script), False

    def take(self, seconds: float, keep: bool = False) -> Arrival | None:
        until = self.world.now + seconds
        while self.script:
            item = self.script[0]
            if item == HANGS:
                break
            if isinstance(item, float):
                step = min(item, until - self.world.now)
                self.world.now += step
                self.script[0] = item - step
                if self.script[0] > 1e-9:
                    return None
                self.script.pop(0)
                continue
            if isinstance(item, tuple):
                if not keep:
                    self.script.pop(0)
                return self.world.arrival(*item)
            self.ended, self.error = True, item  # type: ignore[assignment]
            return None
        self.world.now = until
        return None

    def close(self, seconds: float = 0.0) -> bool:
        self.closed = True
        return HANGS not in self.script


class World:
    """A clock, the connections in turn, and what is said of them."""

    def __init__(self, *scripts: Sequence[object], live: bool = True) -> None:
        self.now = 100.0
        self.made: list[float] = []
        self.connections: list[Scripted] = []
        self.events: list[tuple[str, bool, float]] = []
        self._scripts, self._live = scripts, live

    def connect(self) -> Scripted:
        self.made.append(self.now)
        script = self._scripts[min(len(self.made), len(self._scripts)) - 1]
        self.connections.append(Scripted(self, script, self._live))
        return self.connections[-1]

    def arrival(self, stamp: float | None = None, skipped: int = 0, damaged: int = 0) -> Arrival:
        return Arrival(np.zeros((2, 2, 3), np.uint8), stamp, 1e9 + self.now, self.now, 1.0, skipped, damaged)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def playback(self, rules: Rules, jitter: Callable[[], float] = lambda: 1.0) -> Playback:
        def event(kind: str, begins: bool, text: str) -> None:
            assert text.startswith("cam: ")
            self.events.append((kind, begins, round(self.now - 100, 6)))

        return Playback(self.connect, "cam", rules, event, clock=lambda: self.now, sleep=self.sleep, jitter=jitter)


def play(playback: Playback) -> list[Frame]:
    frames = []
    while not playback.ended:
        if (frame := playback.poll(0.1)) is not None:
            frames.append(frame)
    return frames


def test_frames_passed_over_and_damaged_count_in_the_number() -> None:
    world = World([(None,), (None, 3, 0), 0.5, (None, 1, 2), (None,), None])
    frames = play(world.playback(Rules()))
    assert [(frame.number, frame.skipped, frame.damaged) for frame in frames] == [
        (0, 0, 0),
        (4, 3, 0),
        (8, 1, 2),
        (9, 0, 0),
    ]
    assert world.events == [("damaged", True, 0.5), ("damaged", False, 0.5)]


def test_times_are_the_containers_or_those_of_the_clock() -> None:
    stamped = [(0.0,), (0.04,), 7.0, (3.5,), None]
    assert [frame.time for frame in play(World(stamped, live=False).playback(Rules()))] == [0, 0.04, 3.5]
    live = play(World(stamped).playback(Rules()))
    assert [frame.time for frame in live] == pytest.approx([0, 0, 7])
    assert [frame.captured - 1e9 for frame in live] == [100, 100, 107]
    assert [frame.time for frame in play(World([(), (), (None, 2), None], live=False).playback(Rules()))] == [
        0,
        0.1,
        0.4,
    ]


def test_a_lost_source_is_connected_at_once_then_ever_more_seldom() -> None:
    world = World([(), LOST], [REFUSED])
    with pytest.raises(
        SourceLostError, match=r"^cam: connection refused; it did not come back within 60 s \(`reconnect`\)$"
    ):
        play(world.playback(Rules(5, 60)))
    assert np.diff(world.made[1:]) == pytest.approx([0.5, 1, 2, 4, 8, 8, 8, 8, 8, 8, 4.5])  # the last in time
    assert world.made[1] == world.made[0] == 100
    assert world.events == [("lost", True, 0)]
    assert all(connection.closed for connection in world.connections)


def test_pauses_are_shortened_by_chance() -> None:
    world = World([(), LOST], [REFUSED])
    with pytest.raises(SourceLostError):
        play(world.playback(Rules(5, 6), jitter=lambda: 0.0))
    assert np.diff(world.made[1:]) == pytest.approx([0.25, 0.5, 1, 2, 2.25])


def test_a_source_that_comes_back_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    world = World([(), (), LOST], [REFUSED], [REFUSED], [0.3, (None, 1), None])
    with caplog.at_level(logging.WARNING, "aerocam"):
        frames = play(world.playback(Rules(5, 60)))
    assert [frame.number for frame in frames] == [0, 1, 3]
    assert frames[2].time == pytest.approx(1.8)
    assert world.events == [("lost", True, 0), ("lost", False, 1.8)]
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["cam: no more frames come; connecting again, for 60 s at most", "cam: back after 1.8 s"]


def test_a_connection_that_holds_makes_attempts_count_anew() -> None:
    brief = World(*[[(), LOST]] * 4, [(), None])
    play(brief.playback(Rules(5, 60)))
    assert np.diff(brief.made) == pytest.approx([0, 0.5, 1, 2])
    steady = World(*[[(), 4.9, (), 0.2, (), LOST]] * 4, [(), None])
    play(steady.playback(Rules(5, 60)))
    assert np.diff(steady.made) == pytest.approx([5.1] * 4)


def test_a_stalled_source_is_left_and_connected_again() -> None:
    world = World([(), 1.0, (), HANGS], [2.0, (), None])
    frames = play(world.playback(Rules(3, 60)))
    assert len(frames) == 3
    begun, back = [at for *_, at in world.events]
    assert [event[:2] for event in world.events] == [("stalled", True), ("stalled", False)]
    assert 4 <= begun <= 4.3
    assert back == pytest.approx(begun + 2)
    assert world.connections[0].closed


def test_time_that_nobody_spent_waiting_is_no_stall() -> None:
    world = World([(), (), (), None])
    playback = world.playback(Rules(3, 60))
    for _ in range(3):
        assert playback.poll(0.1) is not None
        world.now += 1000
    assert playback.poll(0.1) is None
    assert playback.ended
    assert world.events == []


def test_not_more_than_a_few_connections_are_left_hanging() -> None:
    world = World([(), HANGS])
    world._scripts = ([(), HANGS], [HANGS])
    with pytest.raises(SourceLostError, match="no frame for 1 s"):
        play(world.playback(Rules(1, math.inf)))
    assert len(world.made) == 5


@pytest.mark.parametrize(("live", "reconnect"), [(True, 0.0), (False, 60.0)])
def test_what_is_not_tried_again_is_lost_in_one_line(
    live: bool, reconnect: float, caplog: pytest.LogCaptureFixture
) -> None:
    world = World([(), LOST], [()], live=live)
    with pytest.raises(SourceLostError, match=r"^cam: no more frames come$"):
        play(world.playback(Rules(5, reconnect)))
    assert len(world.made) == 1
    assert world.events == [("lost", True, 0)]
    assert caplog.records == []


def test_an_error_of_another_kind_comes_out_as_it_is() -> None:
    for error in (MediaError("cam: too odd"), ValueError("cam: odder")):
        playback = World([(), error]).playback(Rules(5, 60))
        with pytest.raises(type(error), match="odd"):
            play(playback)
        assert playback.ended


def test_the_first_frame_is_left_to_be_taken() -> None:
    world = World([0.5, (None, 4), None])
    playback = world.playback(Rules(5))
    reader, arrival = playback.first()
    assert (reader.fps, arrival.skipped, world.now) == (10, 4, pytest.approx(100.5))
    assert [frame.number for frame in play(playback)] == [4]


def test_no_first_frame(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "aerocam"),
        pytest.raises(MediaError, match="cam: no frame came within 5 s") as caught,
    ):
        World([HANGS]).playback(Rules(5, 60)).first()
    assert caught.value.exit_code == 1
    assert [record.getMessage() for record in caplog.records] == ["cam: waits for the first frame, 5 s at most"]
    for end, message in (
        (REFUSED, "connection refused"),
        (LOST, "opens but gives no frame"),
        (None, "opens but gives no"),
    ):
        with pytest.raises(MediaError, match=message) as caught:
            World([end]).playback(Rules(5, 60)).first()
        assert caught.value.exit_code == 1


def test_a_file_with_fewer_frames_than_it_announces(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aerocam"):
        play(World([(), (), None], live=False).playback(Rules()))
    assert "cam: it announces 5 frames, 2 could be read" in caplog.text
