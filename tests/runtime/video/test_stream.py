"""Explaining a stream: order, counts, records, errors in any of its threads, and stopping."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.errors import AerocamError, MediaError
from aerocam.runtime import Explainer, Objects, VideoSink, VideoSource, process
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.video.background import WriteBehind
from runtime_fixtures import moving_square, noise, picture, read_video, write_video
from tiny_models import model

pytestmark = pytest.mark.runtime


class Frames:
    """Frames from memory, as a camera or a file."""

    fps = 10.0

    def __init__(self, frames: list[np.ndarray], live: bool = False) -> None:
        self.frames, self.live = frames, live

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)


class Kept:
    """A sink that keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def write(self, frame: np.ndarray, time: float) -> None:
        self.frames.append(frame)


@pytest.fixture
def explainer() -> Iterator[Explainer]:
    with Explainer(model("stretch"), threads=1) as one:
        yield one


def test_every_frame_in_order(explainer: Explainer) -> None:
    frames = moving_square(30)
    sink, records, done = Kept(), [], []  # type: ignore[var-annotated]
    summary = process(
        Frames(frames), explainer, sink, records.append, look=Look(0.7, "turbo", False), progress=done.append
    )
    assert (summary.frames, summary.warned, summary.stopped) == (30, 0, False)
    assert done == list(range(1, 31))
    assert [record["frame"] for record in records] == list(range(30))
    assert [record["time"] for record in records] == pytest.approx(np.arange(30) / 10)
    for frame, drawn in zip(frames, sink.frames, strict=True):
        np.testing.assert_array_equal(drawn, explainer(frame).overlay(0.7, "turbo", False))


def test_a_record(explainer: Explainer) -> None:
    records: list[dict[str, Any]] = []
    process(Frames(moving_square(2)), explainer, Kept(), records.append, target="red")
    record = json.loads(json.dumps(records[1], allow_nan=False))
    assert list(record)[:8] == ["type", "frame", "time", "captured", "age", "skipped", "damaged", "explained"]
    assert list(record)[8:] == ["map_of", "targets", "classes", "timings_ms", "warnings"]
    assert (record["skipped"], record["damaged"], record["explained"], record["map_of"]) == (0, 0, True, 1)
    assert record["captured"] + record["age"] == pytest.approx(time.time(), abs=5)
    (target,) = record["targets"]
    assert target["label"] == "red"
    assert target["logit"] == pytest.approx(4 / 96)
    assert [one["label"] for one in record["classes"]] == ["red", "green", "blue", "darkness"]
    assert list(record["timings_ms"]) == ["read", "preprocess", "infer", "scores", "explain", "cam", "overlay", "write"]


def test_regions_are_drawn_and_recorded(explainer: Explainer) -> None:
    frames = moving_square(4)
    sink, records = Kept(), []  # type: ignore[var-annotated]
    process(Frames(frames), explainer, sink, records.append, target=["red", "green"], look=Look(regions=0.5))
    assert list(records[0]["timings_ms"])[-3:] == ["regions", "overlay", "write"]
    for frame, shown, record in zip(frames, sink.frames, records, strict=True):
        expected = explainer(frame, ["red", "green"])
        np.testing.assert_array_equal(shown, expected.overlay(regions=0.5))
        red, green = record["targets"]
        assert green["regions"] == []
        assert red["regions"] == [expected.regions(0.5)[0][0].record()]
    lefts = [record["targets"][0]["regions"][0]["box"][0] for record in records]
    assert lefts[-1] - lefts[0] == pytest.approx(12, abs=3)  # the square moves by 4 px a frame


def test_without_a_sink_no_overlay_is_made(explainer: Explainer) -> None:
    records: list[dict[str, Any]] = []
    summary = process(Frames(moving_square(3)), explainer, record=records.append)
    assert summary.frames == 3
    assert list(records[0]["timings_ms"]) == ["read", "preprocess", "infer", "scores", "explain", "cam"]


def test_warnings_are_counted_and_recorded() -> None:
    records: list[dict[str, Any]] = []
    with Explainer(model("nan")) as explainer:
        summary = process(Frames(moving_square(4)), explainer, Kept(), records.append)
    assert summary.warned == 4
    assert all(record["targets"][0]["logit"] is None and record["warnings"] for record in records)


def test_max_frames(explainer: Explainer) -> None:
    sink = Kept()
    assert process(Frames(moving_square(9)), explainer, sink, max_frames=4).frames == 4
    assert len(sink.frames) == 4


def test_times_of_a_live_source_are_real(explainer: Explainer) -> None:
    records: list[dict[str, Any]] = []
    begun, shown = time.time(), threading.Event()

    class Slow(Frames):
        def __iter__(self) -> Iterator[np.ndarray]:
            for frame in self.frames:
                shown.clear()
                time.sleep(0.05)
                yield frame
                assert shown.wait(20)

    def show(record: dict[str, Any]) -> None:
        records.append(record)
        shown.set()

    process(Slow(moving_square(3), live=True), explainer, record=show)
    times = [record["time"] for record in records]
    assert times[0] == 0 <= times[1] - 0.05 <= times[2] - 0.1
    assert records[1]["timings_ms"]["read"] >= 50
    assert begun + 0.05 <= records[0]["captured"] <= records[1]["captured"] - 0.05 <= time.time()
    spent = [sum(record["timings_ms"].values()) - record["timings_ms"]["read"] for record in records]
    assert all(1e3 * record["age"] >= ms * 0.9 for record, ms in zip(records, spent, strict=True))


def test_a_file_to_a_file(explainer: Explainer, tmp_path: Path) -> None:
    source_path = write_video(tmp_path / "in.avi", moving_square(40))
    with VideoSource(source_path) as source, VideoSink(tmp_path / "out.webm", source.size, source.fps) as sink:
        assert process(source, explainer, sink).frames == 40
    assert len(read_video(tmp_path / "out.webm")) == 40


def test_stopping_writes_what_was_begun(explainer: Explainer) -> None:
    stop, sink = threading.Event(), Kept()

    def at_seven(done: int) -> None:
        if done == 7:
            stop.set()

    summary = process(Frames(moving_square(500)), explainer, sink, stop=stop, progress=at_seven)
    assert summary.stopped
    assert 7 <= summary.frames < 30
    assert len(sink.frames) == summary.frames


def test_a_hung_camera_can_be_stopped(explainer: Explainer) -> None:
    hung, stop = threading.Event(), threading.Event()

    class Camera(Frames):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield self.frames[0]
            hung.wait(30)

    threading.Timer(0.3, stop.set).start()
    started = time.perf_counter()
    assert process(Camera(moving_square(1), live=True), explainer, stop=stop).frames == 1
    assert time.perf_counter() - started < 5
    hung.set()


@pytest.mark.parametrize("where", ["source", "sink", "record", "explainer"])
def test_an_error_anywhere_comes_out_and_no_thread_is_left(where: str, explainer: Explainer) -> None:
    def fail(*_: object) -> None:
        raise MediaError("it broke")

    class Broken(Frames):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield from self.frames[:3]
            fail()

    frames = moving_square(20)
    sink = Kept()
    if where == "sink":
        sink.write = fail  # type: ignore[assignment]
    if where == "explainer":
        frames[5] = frames[5][:, :, 0]
    source = Broken(frames) if where == "source" else Frames(frames)
    with pytest.raises(AerocamError, match=r"it broke|expected uint8"):
        process(source, explainer, None if where == "record" else sink, fail if where == "record" else None)
    time.sleep(0.05)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("aerocam")]


def test_an_error_with_the_last_frame_is_not_lost(explainer: Explainer) -> None:
    class Full(Kept):
        def write(self, frame: np.ndarray, at: float) -> None:
            super().write(frame, at)
            time.sleep(0.2)  # the reading end is through by now
            raise MediaError("disk full")

    with pytest.raises(MediaError, match="disk full"):
        process(Frames(moving_square(1)), explainer, Full())


def test_write_behind_finishes_however_the_block_ends() -> None:
    def run(error: BaseException | None) -> list[int]:
        written: list[int] = []

        def write(item: int) -> None:
            time.sleep(0.02)
            written.append(item)

        try:
            with WriteBehind(write, depth=8) as writer:
                for number in range(8):
                    writer.put(number)
                if error is not None:
                    raise error
        except (KeyboardInterrupt, ValueError):
            pass
        return written

    assert run(None) == list(range(8))
    assert run(KeyboardInterrupt()) == list(range(8))
    assert run(ValueError()) == list(range(8))


def test_memory_does_not_grow(explainer: Explainer) -> None:
    """Frames go through and are let go: at most a handful is alive at any time."""
    import gc
    import weakref

    given: list[weakref.ref[np.ndarray]] = []
    most = 0

    class Watched(Frames):
        def __iter__(self) -> Iterator[np.ndarray]:
            nonlocal most
            for _ in range(60):
                frame = self.frames[0].copy()
                given.append(weakref.ref(frame))
                most = max(most, sum(one() is not None for one in given))
                yield frame

    gc.disable()
    try:
        process(Watched(moving_square(1)), explainer, Kept())
    finally:
        gc.enable()
    assert most <= 10


def test_frames_between_keep_the_last_map_and_have_targets_of_their_own(explainer: Explainer) -> None:
    records: list[dict[str, Any]] = []
    sink = Kept()
    frames = moving_square(5)
    process(Frames(frames), explainer, sink, records.append, every=2)
    assert [record["explained"] for record in records] == [True, False, True, False, True]
    assert [record["map_of"] for record in records] == [0, 0, 2, 2, 4]
    explained = [explainer(frame) for frame in frames]
    np.testing.assert_array_equal(sink.frames[2], explained[2].overlay())
    (target,) = records[3]["targets"]
    assert target["score"] == pytest.approx(explained[3].target.score)
    assert target["logit"] is None
    assert "extent" not in target
    assert records[3]["classes"][0]["score"] == pytest.approx(explained[3].classes[0].score)
    assert "explain" not in records[3]["timings_ms"]
    shown = replace(explained[2], prediction=explained[3].prediction)
    np.testing.assert_array_equal(sink.frames[3], shown.overlay())


ASKED = [None, "red", ("red", None), ["green", ("red", 3)], Objects(most=3, confidence=0.1), Objects(confidence=0.999)]


@pytest.mark.parametrize("target", ASKED)
def test_held_targets_are_those_that_an_explanation_would_have(target: Any) -> None:
    frames = [left | moving_square(9)[6] for left in (picture((64, 96), (40, 8, 56, 24), 1), noise((64, 96)) // 4)]
    with Explainer(model("detect"), threads=1) as explainer:
        last = explainer(frames[0], target)
        for frame in frames:
            wanted = explainer(frame, target)
            held = explainer.hold(explainer.predict(frame), last, target)
            assert [replace(one, logit=0) for one in held.targets] == [replace(one, logit=0) for one in wanted.targets]
            assert all(np.isnan(one.logit) for one in held.targets)
            np.testing.assert_array_equal(held.map, last.map)


@pytest.mark.parametrize("name", ["stretch", "softmax", "sigmoid", "crop"])
def test_held_classes_are_those_that_an_explanation_would_have(name: str) -> None:
    frames, target = [noise((64, 96)), noise((64, 96), 1) | moving_square(9)[8]], [-1, -2, "blue"]
    with Explainer(model(name), threads=1) as explainer:
        last = explainer(frames[0], target)
        wanted = [explainer(frames[1], one).target for one in target]
        held = explainer.hold(explainer.predict(frames[1]), last, target)
    assert [(one.index, one.label) for one in held.targets] == [(one.index, one.label) for one in wanted]
    assert [one.score for one in held.targets] == pytest.approx([one.score for one in wanted])


def test_nothing_is_drawn_where_a_detector_finds_nothing() -> None:
    records: list[dict[str, Any]] = []
    sink, frames = Kept(), [noise((64, 96)) // 16, *moving_square(2)]
    with Explainer(model("detect"), threads=1) as explainer:
        surest = [explainer(frame).target.score for frame in frames]
        assert surest[0] < 0.3 < surest[1]
        for target in (None, Objects(confidence=0.3, guess=False)):
            process(Frames(frames), explainer, sink, records.append, target=target, least=0.3)
            np.testing.assert_array_equal(sink.frames[-3], frames[0])
            assert (sink.frames[-2] != frames[1]).any()
            assert [bool(record["targets"]) for record in records[-3:]] == [False, True, True]
            assert [record["map_of"] for record in records[-3:]] == [None, 1, 2]
        process(Frames(frames), explainer, sink, target=Objects(confidence=0.3))
        assert (sink.frames[-3] != frames[0]).any()


@pytest.mark.parametrize("broken", ["sink", "record"])
def test_the_other_output_goes_on_alone(broken: str, explainer: Explainer) -> None:
    records: list[dict[str, Any]] = []

    class Full(Kept):
        def write(self, frame: np.ndarray, time: float) -> None:
            if broken == "sink" and 0.25 < time < 0.65:
                raise MediaError("the disk is full")
            super().write(frame, time)

    def record(line: dict[str, Any]) -> None:
        if broken == "record" and 0.25 < line.get("time", 0) < 0.65:
            raise OSError("the disk is full")
        records.append(line)

    sink = Full()
    summary = process(Frames(moving_square(9)), explainer, sink, record)
    lines = [line for line in records if line["type"] == "frame"]
    assert (summary.frames, summary.missed) == (9, 4)
    assert (len(sink.frames), len(lines)) == ((5, 9) if broken == "sink" else (9, 5))
    begun, ended = (line for line in records if line["type"] == "event")
    assert (begun["kind"], begun["frame"], begun["text"], begun["end"]) == ("disk", 2, "the disk is full", None)
    assert ended == begun | {"end": ended["end"]}
    assert ended["end"] >= ended["begin"]
    assert summary.events["disk"][0] == 1
