"""`aerocam stream`: video and records, errors, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aerocam.cli.stream import stop_on_signal
from runtime_fixtures import RUN, moving_square, read_video, run_cli, write_video
from tiny_models import model

pytestmark = pytest.mark.runtime


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own with a video."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("in.avi"), moving_square(30))


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def lines(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_video_and_records(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("stream", model("stretch"), "in.avi", "out.webm", "--records", "out.jsonl") == 0
    assert names() == ["in.avi", "out.jsonl", "out.webm"]
    assert len(read_video(Path("out.webm"))) == 30
    records = lines("out.jsonl")
    assert [record["frame"] for record in records] == list(range(30))
    assert records[20]["time"] == 1.0
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("30 frames -> out.webm, ")
    assert "\r" not in err  # no progress line where there is no terminal


def test_without_a_sink_records_go_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("stream", model("stretch"), "in.avi", "--max-frames", "3", "-q") == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2]
    assert err == ""
    assert names() == ["in.avi"]


def test_options() -> None:
    arguments = ["--codec", "MJPG", "--method", "eigencam", "--target", "blue", "--records", "r.jsonl"]
    arguments += ["--max-frames", "5", "--no-caption"]
    assert run_cli("stream", model("stretch"), "in.avi", "out.avi", *arguments) == 0
    assert len(read_video(Path("out.avi"))) == 5
    assert lines("r.jsonl")[0]["targets"][0]["label"] == "blue"  # type: ignore[index]


def test_warnings_are_summed_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("stream", model("nan"), "in.avi", "out.webm", "--records", "r.jsonl") == 0
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 4  # each of the two texts once, the count of frames, the count of warnings
    assert err[-1] == "30 of 30 frames have a warning in their record"
    assert all(record["targets"][0]["logit"] is None for record in lines("r.jsonl"))


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("stretch", ["absent.mp4", "out.webm"], 1, "absent.mp4: there is no such video"),
        ("stretch", ["77", "out.webm"], 1, "camera 77: there is none"),
        ("stretch", ["in.avi", "out.webm", "--codec", "XXXX"], 1, "codec 'XXXX' in a .webm file"),
        ("stretch", ["in.avi", "out.mp4", "--codec", "avc1"], 1, "codec 'avc1' in a .mp4 file"),
        ("stretch", ["in.avi", "out.mkv"], 2, "no codec is set for '.mkv'"),
        ("stretch", ["in.avi", "--codec", "MJPG"], 2, "there is no SINK"),
        ("stretch", ["in.avi", "in.avi"], 2, "this is the source itself"),
        ("stretch", ["in.avi", "--records", "./in.avi"], 2, "this is the source itself"),
        ("stretch", ["in.avi", "out.webm", "--target", "12"], 2, "target class 12: expected 0 to 3"),
        ("stretch", ["in.avi", "out.webm", "--max-frames", "0"], 2, "--max-frames: got 0"),
        ("stretch", ["in.avi", "out.webm", "--colormap", "x"], 2, "colour map 'x'"),
        ("stretch", ["in.avi", "out.webm", "--records", "no/r.jsonl"], 1, "no/r.jsonl: cannot write the records"),
        ("crop", ["tall.avi", "out.webm", "--records", "r.jsonl"], 2, "smaller than the centre crop"),
    ],
)
def test_one_line_and_no_file(
    name: str,
    arguments: list[str],
    code: int,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_video(Path("tall.avi"), moving_square(3, (96, 64)))
    before = Path("in.avi").read_bytes()
    assert run_cli("stream", model(name), *arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("aerocam stream: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert names() == ["in.avi", "tall.avi"]
    assert Path("in.avi").read_bytes() == before


def interrupt(number: int, *arguments: str) -> tuple[int, str]:
    """Start the command on a long video, send a signal after some records, and wait; exit code and standard error."""
    write_video(Path("long.avi"), moving_square(4000))
    command = [sys.executable, "-c", RUN, "stream", str(model("stretch")), "long.avi", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (Path("r.jsonl").exists() and Path("r.jsonl").read_text().count("\n") >= 5):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_video_and_the_records(number: int) -> None:
    code, err = interrupt(number, "out.webm", "--records", "r.jsonl")
    assert code == 130
    frames = len(read_video(Path("out.webm")))
    assert 5 <= frames < 4000
    assert len(lines("r.jsonl")) == frames
    assert err.startswith(f"stopped after {frames} frames -> out.webm")
    assert "Traceback" not in err
    assert names() == ["in.avi", "long.avi", "out.webm", "r.jsonl"]


def test_ctrl_c_finishes_an_mp4() -> None:
    pytest.importorskip("av")
    code, _ = interrupt(signal.SIGINT, "out.mp4", "--records", "r.jsonl")
    assert code == 130
    assert len(read_video(Path("out.mp4"))) == len(lines("r.jsonl"))


def test_the_second_signal_does_not_wait() -> None:
    def twice() -> None:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(5)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_reader_that_goes_away() -> None:
    command = [sys.executable, "-c", RUN, "stream", str(model("stretch")), "in.avi", "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a full disk to write to")
def test_a_full_standard_output_is_one_line() -> None:
    command = [sys.executable, "-m", "aerocam", "stream", str(model("stretch")), "in.avi"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "aerocam stream: error: standard output: No space left on device\n"
    assert done.returncode == 1
