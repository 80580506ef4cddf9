"""Videos out: what is in the file, when it plays, and what is left of it when the disk, the run or the power ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, MissingDependencyError, UsageError, WriteError
from aerocam.runtime.video.recording import part
from aerocam.runtime.video.recording import sink as sinks
from aerocam.runtime.video.recording.sink import VideoSink
from aerocam.runtime.video.recording.space import Space
from runtime_fixtures import most_in_a_file, moving_square, noise, picture, read_video

pytestmark = pytest.mark.runtime

STAMPED = (".mp4", ".mkv", ".ts", ".webm")
"""Containers with a time stamp for every frame."""


SINKS = [
    *((f"v{suffix}", None) for suffix in (*STAMPED, ".avi")),
    ("v.mp4", "mp4v"), ("v.avi", "VP80"), ("v1.webm", "VP90"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), SINKS)
def test_written_frames_can_be_read_again(
    name: str, codec: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if codec is None and name.endswith((".mp4", ".mkv", ".ts")):
        pytest.importorskip("av")
    frames = moving_square(15)
    with VideoSink(tmp_path / name, (64, 96), 20, codec) as sink:
        for frame in frames:
            sink.write(frame)
        assert not (tmp_path / name).exists()
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    read = read_video(tmp_path / name)
    assert len(read) == 15
    for got, want in zip(read, frames, strict=True):
        assert np.abs(got.astype(int) - want).mean() < 8
    assert cv2.VideoCapture(str(tmp_path / name)).get(cv2.CAP_PROP_FPS) == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(("size", "fps"), [((64, 96), 20.0), ((63, 95), 29.97), ((64, 95), 20.0)])
def test_h264(size: tuple[int, int], fps: float, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = [frame[: size[0], : size[1]] for frame in moving_square(15)]
    with VideoSink(tmp_path / "v.mp4", size, fps) as sink:
        for frame in frames:
            sink.write(frame)
    read = read_video(tmp_path / "v.mp4")
    assert len(read) == 15
    assert read[0].shape == (64, 96, 3)
    for got, want in zip(read, frames, strict=True):
        assert np.abs(got[: size[0], : size[1]].astype(int) - want).mean() < 8
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(fps, abs=0.01)


def test_mp4_without_pyav_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"\.webm needs nothing more.*pip install 'aerocam\[video\]'"):
        VideoSink(tmp_path / "v.mp4", (64, 96), 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "codec", "kind", "message"),
    [
        (
            "v1.webm",
            "XXXX",
            MediaError,
            r"codec 'XXXX' in a \.webm file of 96x64 px: OpenCV .* cannot write it; .*webm",
        ),
        ("v.mp4", "VP80", MediaError, r"codec 'VP80' in a \.mp4 file"),
        ("v.mp4", "avc1", MediaError, r"codec 'avc1' in a \.mp4 file"),
        ("v.xyz", None, UsageError, r"no codec is set for '\.xyz'; take one of \.mp4, \.mkv, \.ts, \.webm, \.avi"),
        ("v", None, UsageError, "no codec is set for ''"),
        ("v.avi", "MJPEG", UsageError, "codec 'MJPEG': expected four letters"),
        ("text/v.avi", None, WriteError, "cannot make this folder"),
        ("folder.avi", None, MediaError, "this is a folder"),
    ],
)
def test_a_video_that_cannot_be_written_leaves_nothing(
    name: str,
    codec: str | None,
    kind: type[Exception],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text").write_text("")
    (tmp_path / "folder.avi").mkdir()
    with pytest.raises(kind, match=message) as caught:
        VideoSink(tmp_path / name, (64, 96), 20, codec)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.avi", "text"]
    assert capfd.readouterr() == ("", "")


def write_and_fail(sink: VideoSink, error: BaseException) -> None:
    with sink:
        sink.write(picture((64, 96), (0, 0, 9, 9)))
        raise error


def test_after_an_error_the_video_is_kept_and_replaces_none(tmp_path: Path) -> None:
    for number in range(2):
        with pytest.raises(MediaError, match="unrelated"):
            write_and_fail(VideoSink(tmp_path / "v.webm", (64, 96), 20), MediaError("unrelated"))
        assert len(list(tmp_path.iterdir())) == number + 1
    assert [len(read_video(tmp_path / name)) for name in ("v.webm", "v.0002.webm")] == [1, 1]
    with VideoSink(tmp_path / "v.webm", (64, 96), 20) as sink:
        for frame in moving_square(3):
            sink.write(frame)
    assert len(read_video(tmp_path / "v.webm")) == 3


def test_after_ctrl_c_the_file_is_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(VideoSink(tmp_path / "v.webm", (64, 96), 20), KeyboardInterrupt())
    assert len(read_video(tmp_path / "v.webm")) == 1


def test_a_video_without_frames_is_not_kept(tmp_path: Path) -> None:
    VideoSink(tmp_path / "v.webm", (64, 96), 20).close()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_begins_a_new_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "v.webm", (64, 96), 20) as sink:
        for size in ((64, 96), (64, 96), (96, 64)):
            sink.write(np.zeros((*size, 3), np.uint8))
        with pytest.raises(MediaError, match=r"got a frame \(64, 96\) of uint8, expected uint8 \(H, W, 3\)"):
            sink.write(np.zeros((64, 96), np.uint8))
    assert [len(read_video(path)) for path in sink.files] == [2, 1]
    assert read_video(tmp_path / "v.0002.webm")[0].shape == (96, 64, 3)
    with pytest.raises(MediaError, match="the video is closed"):
        sink.write(np.zeros((64, 96, 3), np.uint8))


def stamps(path: Path) -> list[float]:
    """When each frame is shown, s after the first, as FFmpeg reads it."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


UNEVEN = [100 + number / 25 for number in range(10)] + [100.4 + number / 5 for number in range(10)]
"""Ten frames at 25/s, then ten at 5/s, as a phone in the dusk; the clock does not begin at 0."""


@pytest.mark.parametrize("suffix", STAMPED)
def test_frames_keep_their_times(suffix: str, tmp_path: Path) -> None:
    if suffix in (".mp4", ".mkv", ".ts"):
        pytest.importorskip("av")
    with VideoSink(tmp_path / f"v{suffix}", (64, 96), 12.5) as sink:
        for frame, time in zip(moving_square(20), UNEVEN, strict=True):
            sink.write(frame, time)
    np.testing.assert_allclose(stamps(sink.files[0]), np.array(UNEVEN) - 100, atol=0.001)


@pytest.mark.parametrize(("name", "codec"), [("v.avi", None), ("v.mp4", "mp4v"), ("v.webm", "without PyAV")])
def test_at_one_rate_frames_are_repeated(
    name: str, codec: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if codec == "without PyAV":
        monkeypatch.setitem(sys.modules, "av", None)
        codec = None
    with VideoSink(tmp_path / name, (64, 96), 25, codec) as sink:
        for frame, time in zip(moving_square(20), UNEVEN, strict=True):
            sink.write(frame, time)
    shown = read_video(tmp_path / name)
    assert len(shown) / 25 == pytest.approx(UNEVEN[-1] - 100 + 1 / 25)
    for number, picture_ in enumerate(shown):
        at = max(i for i, time in enumerate(UNEVEN) if time <= 100 + number / 25 + 1e-6)
        assert np.abs(picture_.astype(int) - moving_square(20)[at]).mean() < 8


def test_at_one_rate_frames_that_come_too_fast_are_left_out_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with VideoSink(tmp_path / "v.avi", (64, 96), 25) as sink:
        for number, frame in enumerate(moving_square(50)):
            sink.write(frame, number / 50)
    assert len(read_video(tmp_path / "v.avi")) == pytest.approx(25, abs=1)
    assert "frames came faster than 25/s" in caplog.text


def test_times_that_go_back_go_on(tmp_path: Path) -> None:
    """A source that was opened again counts from 0."""
    pytest.importorskip("av")
    with VideoSink(tmp_path / "v.mkv", (64, 96), 10) as sink:
        for frame, time in zip(moving_square(6), (5.0, 5.1, 5.2, 0.0, 0.1, 0.2), strict=True):
            sink.write(frame, time)
    np.testing.assert_allclose(stamps(sink.files[0]), np.arange(6) / 10, atol=0.001)


def test_segments_are_finished_one_by_one_and_replace_none(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for run in range(2):
        with VideoSink(tmp_path / "v.mkv", (64, 96), 10, segment=1) as sink:
            for number, frame in enumerate(moving_square(25)):
                sink.write(frame, number / 10)
                assert len(sink.files) == number // 10
        assert [path.name for path in sink.files] == [["v.mkv", "v.0002.mkv", "v.0003.mkv"], ["v.0004.mkv"]][run] + (
            [] if run == 0 else ["v.0005.mkv", "v.0006.mkv"]
        )
        assert [len(read_video(path)) for path in sink.files] == [10, 10, 5]
    with pytest.raises(UsageError, match=r"`segment=0\.5`: expected 1 s or more"):
        VideoSink(tmp_path / "v.mkv", (64, 96), 10, segment=0.5)


def test_the_oldest_segments_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(sinks, "LOOK", 0.0)
    (tmp_path / "other.mkv").write_bytes(b"x" * 50_000)
    space = Space(keep=60_000)
    with VideoSink(tmp_path / "v.mkv", (64, 96), 10, segment=1, space=space) as sink:
        for number in range(80):
            sink.write(noise((64, 96), number), number / 10)
            assert sum(path.stat().st_size for path in tmp_path.glob("*v.*mkv")) < 60_000 + 30_000
    left = sorted(tmp_path.glob("v.*mkv"))
    assert left == sink.files[-len(left) :]
    assert 1 < len(left) < 7
    assert (tmp_path / "other.mkv").exists()


def write_all(sink: VideoSink, frames: list[np.ndarray]) -> None:
    """Write frames one after the other."""
    for frame in frames:
        sink.write(frame)


def fill(sink: VideoSink, most: int) -> int:
    """Write noise until the disk is full; return how many frames went well."""
    before = sink.frames
    with most_in_a_file(most), pytest.raises(MediaError, match="File too large"):
        write_all(sink, [noise((64, 96), number) for number in range(500)])
    return sink.frames - before


@pytest.mark.parametrize("suffix", [*STAMPED, ".avi"])
def test_a_full_disk_is_noticed_and_what_was_written_plays(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(sinks, "RETRY", 0.0)
    path = tmp_path / f"v{suffix}"
    with VideoSink(path, (64, 96), 20) as sink:
        written = fill(sink, 200_000)
        assert sink.files == [path]
        assert written - 15 <= len(read_video(path)) <= written  # what the encoder had in hand is lost
        sink.write(noise((64, 96)))  # there is room again
    assert len(read_video(tmp_path / f"v.0002{suffix}")) == 1
    assert sorted(tmp_path.iterdir()) == sorted(sink.files)


def test_until_it_is_tried_again_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with VideoSink(tmp_path / "v.mkv", (64, 96), 20) as sink:
        fill(sink, 100_000)
        with pytest.raises(MediaError, match="File too large"):
            sink.write(noise((64, 96)))
        assert len(list(tmp_path.iterdir())) == 1


def test_opencv_says_nothing_of_a_full_disk_so_it_is_looked_after_at_the_end(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "v.avi", (64, 96), 20, "MJPG")
    with most_in_a_file(100_000):
        for number in range(100):
            sink.write(noise((64, 96), number))
        with pytest.raises(MediaError, match=r"v\.avi: OpenCV could not write all of it: File too large"):
            sink.close()
    assert 5 < len(read_video(tmp_path / "v.avi")) < 60


def test_the_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    with pytest.raises(MediaError, match=r"MB are free in .*, expected at least 1e\+06 MB; .* set `floor`$"):
        VideoSink(tmp_path / "v.mkv", (64, 96), 20, space=Space(floor=10**12))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sinks, "LOOK", 0.0)
    monkeypatch.setattr(sinks, "RETRY", 0.0)
    disk, low = os.statvfs(tmp_path), False

    class Disk:
        f_frsize = disk.f_frsize

        @property
        def f_bavail(self) -> int:
            return 0 if low else disk.f_bavail

    monkeypatch.setattr(os, "statvfs", lambda path: Disk())
    with VideoSink(tmp_path / "v.mkv", (64, 96), 20) as sink:
        for number, frame in enumerate(moving_square(9)):
            low = 3 <= number < 6
            if low:
                with pytest.raises(MediaError, match="0 MB are free"):
                    sink.write(frame)
            else:
                sink.write(frame)
    assert [(path.name, len(read_video(path))) for path in sink.files] == [("v.mkv", 3), ("v.0002.mkv", 3)]


WRITING = """
import sys, time
from aerocam.runtime import VideoSink
from runtime_fixtures import moving_square
sinks = [VideoSink("v" + suffix, (64, 96), 20) for suffix in sys.argv[1:]]
for number, frame in enumerate(moving_square(100000)):
    for sink in sinks:
        sink.write(frame, number / 20)
    print(number, flush=True)
"""


def test_a_killed_run_loses_two_seconds_at_most_and_the_next_one_names_what_it_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("av")
    suffixes = (*STAMPED, ".avi")
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", WRITING, *suffixes]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 130:
                process.send_signal(signal.SIGKILL)
                break
        written = 1 + int([line, *process.stdout][-1])
    assert written >= 131
    with VideoSink(tmp_path / "w.mkv", (64, 96), 20) as running:
        VideoSink(tmp_path / "v.mkv", (64, 96), 20).close()
        running.write(moving_square(1)[0])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*(f"v.recovered{suffix}" for suffix in suffixes), "w.mkv"}
    assert caplog.text.count("a run that was killed left") == len(suffixes)
    for suffix in suffixes:
        assert written - 40 <= len(read_video(tmp_path / f"v.recovered{suffix}")) <= written + 1


def test_a_part_file_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its name were known beforehand."""
    (tmp_path / "precious").write_text("a model")
    (tmp_path / "part.mkv").symlink_to(tmp_path / "precious")
    monkeypatch.setattr(part, "part_name", lambda path: tmp_path / "part.mkv")
    with pytest.raises(MediaError, match="cannot write into"):
        VideoSink(tmp_path / "v.mkv", (64, 96), 20)
    assert (tmp_path / "precious").read_text() == "a model"
