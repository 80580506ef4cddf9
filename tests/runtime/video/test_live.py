"""Live sources: a real camera on this machine that drops, is silent, sends damage and comes back."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from aerocam.errors import MediaError, SourceLostError
from aerocam.runtime import Explainer, VideoSource, process
from cameras import camera, number_of, numbered
from runtime_fixtures import RUN
from tiny_models import model

pytestmark = pytest.mark.runtime


@pytest.fixture(params=["pyav", "opencv"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Addresses are read by each library in turn."""
    if request.param == "pyav":
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param


@pytest.fixture
def silence() -> Iterator[socket.socket]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def pictures(*numbers: int) -> list[Any]:
    return [numbered(number) for number in numbers]


def test_a_dropped_connection_is_made_again() -> None:
    events: list[tuple[str, bool]] = []
    with (
        camera([pictures(*range(5)), pictures(*range(5, 10)), [threading.Event()]]) as address,
        VideoSource(address, frames="every", event=lambda kind, begins, _: events.append((kind, begins))) as source,
    ):
        assert source.live
        seen = []
        for frame in source.frames():
            seen.append(number_of(frame.pixels))
            if len(seen) == 9:
                break
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 8] or seen == [0, 1, 2, 3, 5, 6, 7, 8, 9]  # FFmpeg may keep the last
    assert events == [("lost", True), ("lost", False)]


def test_a_source_that_stays_away_is_lost() -> None:
    with camera([pictures(1, 2, 3), [threading.Event()]]) as address, VideoSource(address, reconnect=0) as source:
        with pytest.raises(SourceLostError, match="no more frames come") as caught:
            list(source.frames())
        assert caught.value.exit_code == 3
        assert source.ended


def test_a_silent_source_is_left() -> None:
    events: list[tuple[str, bool]] = []
    silent = threading.Event()
    with (
        camera([[*pictures(1, 2), silent], pictures(3, 4, 5)]) as address,
        VideoSource(address, timeout=0.5, event=lambda kind, begins, _: events.append((kind, begins))) as source,
    ):
        assert next(number for frame in source.frames() if (number := number_of(frame.pixels)) >= 3)
    assert events == [("stalled", True), ("stalled", False)]


def test_damaged_frames_are_passed_over_and_counted() -> None:
    bad = b"\xff\xd8\xff" + bytes(300)
    with (
        camera([[*pictures(1, 2), bad, bad, *pictures(5, 6), threading.Event()]]) as address,
        VideoSource(address, frames="every", timeout=5) as source,
    ):
        frames = [source.poll(5) for _ in range(3)]
    assert [number_of(frame.pixels) for frame in frames if frame] == [1, 2, 5]
    assert [frame.damaged for frame in frames if frame] == [0, 0, 2]
    assert [frame.number for frame in frames if frame] == [0, 1, 4]


def test_the_newest_frame_is_explained() -> None:
    """The frames that come while one is explained are passed over, and counted to the last."""
    go, stop = threading.Event(), threading.Event()
    records: list[dict[str, Any]] = []
    with (
        Explainer(model("stretch"), threads=1) as explainer,
        camera([[numbered(0), numbered(1), go, *pictures(*range(2, 20)), threading.Event()]]) as address,
        VideoSource(address, timeout=20) as source,
    ):
        explain = explainer.explain

        def slow(*given: Any) -> Any:
            for _ in range(0 if go.is_set() else 2000):
                go.set()
                waiting = source.playback._connection.take(0.01, keep=True)  # type: ignore[union-attr]
                if waiting is not None and waiting.skipped >= 10:
                    break
                time.sleep(0.001)
            return explain(*given)

        def record(one: dict[str, Any]) -> None:
            records.append(one)
            if one["frame"] >= 17:
                stop.set()

        explainer.explain = slow  # type: ignore[method-assign]
        summary = process(source, explainer, record=record, stop=stop)
    assert summary.skipped == sum(one["skipped"] for one in records) >= 10
    assert records[-1]["frame"] + 1 == len(records) + summary.skipped
    assert all(0 <= one["age"] < 20 for one in records)


def test_a_lost_source_ends_a_stream_whose_summary_says_so() -> None:
    records: list[dict[str, Any]] = []
    with (
        Explainer(model("stretch"), threads=1) as explainer,
        camera([pictures(1, 2, 3), [threading.Event()]]) as address,
        VideoSource(address, frames="every", reconnect=0) as source,
    ):
        summary = process(source, explainer, record=records.append)
    assert summary.lost.startswith(f"{address}: no more frames come")
    assert not summary.stopped
    assert summary.frames == len(records) >= 2


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_never_answers(scheme: str, silence: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"no frame came within 0\.3 s") as caught:
        VideoSource(f"{scheme}://me:secret@127.0.0.1:{silence.getsockname()[1]}/live", timeout=0.3)
    assert time.monotonic() - started < 20  # OpenCV by itself waits for 30 s
    assert "secret" not in str(caught.value)


def program(library: str, *arguments: str) -> subprocess.Popen[str]:
    """The command as a program of its own, by one library."""
    without = "import sys; sys.modules['av'] = None\n" if library == "opencv" else ""
    code = without + RUN.replace("cli.main(sys.argv[1:])", "cli.main()")
    command = [sys.executable, "-c", code, "stream", str(model("stretch")), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_while_a_source_is_silent(library: str, silence: socket.socket) -> None:
    """It says what it waits for, and a reader that hangs holds up neither Ctrl-C nor the end of the process."""
    with program(library, f"rtsp://127.0.0.1:{silence.getsockname()[1]}/live", "--timeout", "60") as process:
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], 30)[0]
        assert "waits for the first frame, 60 s at most" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.communicate(timeout=30)[1] == "aerocam stream: interrupted\n"
    assert time.monotonic() - started < 5
    assert process.returncode == 130


def test_ctrl_c_while_a_source_is_away(library: str) -> None:
    """A live source that is stopped ends with 0, also while it is lost; one that does not come back with 3."""
    with camera([pictures(1, 2), [threading.Event()]]) as address:
        with program(library, address, "--timeout", "2") as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "connecting again" in line:
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "stopped after" in err
        records = [json.loads(line) for line in out.splitlines()]
        assert {record["damaged"] for record in records if record["type"] == "frame"} == {0}
        assert "lost" in {record["kind"] for record in records if record["type"] == "event"}
    with camera([pictures(1, 2), [threading.Event()]]) as address:
        with program(library, address, "--timeout", "2", "--reconnect", "0") as process:
            err = process.communicate(timeout=30)[1]
        assert process.returncode == 3
        assert err.splitlines()[-1].startswith(f"aerocam stream: error: {address}: ")


def test_motion_jpeg_on_standard_input() -> None:
    content = b"".join(cv2.imencode(".jpg", numbered(number))[1].tobytes() for number in range(6))
    command = [sys.executable, "-c", RUN, "stream", str(model("stretch")), "-", "--frames", "every"]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    header, *frames = (json.loads(line) for line in done.stdout.splitlines())
    assert header["source"]["live"]
    assert [frame["frame"] for frame in frames] == list(range(6))
