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

from aerocam.cli.stream import size_of, stop_on_signal
from aerocam.files import sha256
from runtime_fixtures import RUN, most_in_a_file, moving_square, noise, read_video, run_cli, write_video
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
    """The records of the frames; in front of them is the header."""
    header, *frames = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert (header["type"], header["schema"]) == ("header", 1)
    return frames


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
    assert [json.loads(line).get("frame") for line in out.splitlines()] == [None, 0, 1, 2]
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
        ("stretch", ["in.avi", "out.mpg"], 2, "no codec is set for '.mpg'"),
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_the_header_says_what_was_run() -> None:
    options = ["--method", "layercam", "--every", "3", "--target", "red,blue"]
    assert (
        run_cli("stream", model("stretch"), "in.avi", "--records", "r.jsonl", "-q", "--max-frames", "1", *options) == 0
    )
    header = json.loads(Path("r.jsonl").read_text().splitlines()[0])
    assert (header["method"], header["every"], header["target"]) == ("layercam", 3, ["red", "blue"])
    assert header["model"] == {"path": str(model("stretch")), "sha256": sha256(model("stretch"))}
    assert header["source"] == {"name": "in.avi", "live": False, "fps": 20, "frames": 30}
    assert time.time() - 60 < header["started"] < time.time()


def test_the_video_of_a_full_disk_ends_and_the_records_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    write_video(Path("noise.avi"), [noise((64, 96), number) for number in range(60)])
    with most_in_a_file(100_000):
        code = run_cli("stream", model("stretch"), "noise.avi", "out.avi", "--records", "r.jsonl", "--alpha", "0", "-q")
    assert code == 1
    frames = [line for line in lines("r.jsonl") if line["type"] == "frame"]
    written = len(read_video(Path("out.avi")))
    assert len(frames) == 60
    assert 5 < written < 40
    event = next(line for line in lines("r.jsonl") if line["type"] == "event")
    assert (event["kind"], event["frame"]) == ("disk", written - 1)
    err = capfd.readouterr().err.splitlines()
    assert err[0] == "out.avi: cannot write any further: File too large"
    assert err[-1] == f"aerocam stream: error: {60 - written} of 60 frames could not be written"


def test_where_a_detector_finds_nothing_nothing_is_drawn_unless_a_guess_is_asked_for() -> None:
    write_video(Path("dark.avi"), [noise((64, 96)) // 16] * 2)
    for options, count in (([], 0), (["--guess"], 1), (["--conf", "0.3"], 0), (["--conf", "0.3", "--guess"], 1)):
        assert run_cli("stream", model("detect"), "dark.avi", "--records", "r.jsonl", "-q", *options) == 0
        assert [len(line["targets"]) for line in lines("r.jsonl")] == [count, count]  # type: ignore[arg-type]
        Path("r.jsonl").unlink()


@pytest.mark.parametrize(("text", "size"), [("2G", 2e9), ("1.5 MB", 1.5e6), ("64k", 64e3), ("17", 17)])
def test_sizes(text: str, size: float) -> None:
    assert size_of(text) == size


def test_what_is_no_size_and_outputs_that_are_in_use(capfd: pytest.CaptureFixture[str]) -> None:
    os.link("in.avi", "also.avi")
    os.symlink(model("stretch"), "m.onnx")
    before = Path("m.onnx").read_bytes()
    for arguments, message in (
        (["m.onnx", "in.avi", "--records", "m.onnx"], "m.onnx: this is the model; name another file"),
        (["m.onnx", "in.avi", "also.avi"], "also.avi: this is the source itself; name another file"),
        (["m.onnx", "in.avi", "o.avi", "--records", "./o.avi"], "./o.avi: this is SINK; name another file"),
        (["m.onnx", "in.avi", "o.avi", "--keep", "1G", "--segment", "0"], "--keep: got --segment 0 as well"),
        (["m.onnx", "in.avi", "--keep", "1G"], "--keep: there is no SINK"),
        (["m.onnx", "in.avi", "o.avi", "--segment", "0.1"], "--segment: got 0.1, expected 1 s or more"),
    ):
        assert run_cli("stream", *arguments) == 2
        assert message in capfd.readouterr().err
    assert run_cli("stream", "m.onnx", "in.avi", "o.avi", "--keep", "much") == 2
    assert "argument --keep: 'much' is no size; expected one such as 2G or 500M" in capfd.readouterr().err
    assert Path("m.onnx").read_bytes() == before
    assert names() == ["also.avi", "in.avi", "m.onnx"]


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.wait(0.05)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
