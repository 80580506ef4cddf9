"""Pictures and video, in and out."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, MissingDependencyError, UsageError, WriteError
from aerocam.runtime.frames.opencv import quiet
from aerocam.runtime.frames.pictures import read_picture
from aerocam.runtime.video.sink import VideoSink
from aerocam.runtime.video.writers import AvWriter
from runtime_fixtures import moving_square, noise, picture, read_video

pytestmark = pytest.mark.runtime


SINKS = [("v.webm", None), ("v.avi", None), ("v.mp4", "mp4v"), ("v.avi", "VP80"), ("v1.webm", "VP90")]


@pytest.mark.parametrize(("name", "codec"), SINKS)
def test_written_frames_can_be_read_again(
    name: str, codec: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
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


@pytest.mark.parametrize(("size", "coded"), [((64, 96), (64, 96)), ((63, 95), (64, 96)), ((64, 95), (64, 96))])
@pytest.mark.parametrize("fps", [20.0, 29.97])
def test_h264(size: tuple[int, int], coded: tuple[int, int], fps: float, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = [frame[: size[0], : size[1]] for frame in moving_square(15)]
    with VideoSink(tmp_path / "v.mp4", size, fps) as sink:
        for frame in frames:
            sink.write(frame)
    read = read_video(tmp_path / "v.mp4")
    assert len(read) == 15
    assert read[0].shape == (*coded, 3)
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
        ("v.xyz", None, UsageError, r"no codec is set for '\.xyz'; take \.webm, \.mp4 or \.avi"),
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


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "v.webm").write_text("from before")
    with pytest.raises(MediaError, match="unrelated"):
        write_and_fail(VideoSink(tmp_path / "v.webm", (64, 96), 20), MediaError("unrelated"))
    assert [path.name for path in tmp_path.iterdir()] == ["v.webm"]
    assert (tmp_path / "v.webm").read_text() == "from before"


def test_after_ctrl_c_the_file_is_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(VideoSink(tmp_path / "v.webm", (64, 96), 20), KeyboardInterrupt())
    assert len(read_video(tmp_path / "v.webm")) == 1


def test_a_video_without_frames_is_not_kept(tmp_path: Path) -> None:
    VideoSink(tmp_path / "v.webm", (64, 96), 20).close()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "v.webm", (64, 96), 20) as sink:
        with pytest.raises(MediaError, match=r"got a frame \(96, 64, 3\), expected \(64, 96, 3\)"):
            sink.write(np.zeros((96, 64, 3), np.uint8))
        with pytest.raises(MediaError, match="got a frame"):
            sink.write(np.zeros((64, 96), np.uint8))
    with pytest.raises(MediaError, match="the video is closed"):
        sink.write(np.zeros((64, 96, 3), np.uint8))


def test_pyav_errors_become_ours(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(MediaError, match=r"H\.264 in \.nope: PyAV .* cannot write it"):
        AvWriter(tmp_path / "v.nope", (64, 96), 20)


def test_pictures_are_read_in_colour(tmp_path: Path) -> None:
    frame = noise((20, 30))
    cv2.imwrite(str(tmp_path / "colour.png"), frame)
    cv2.imwrite(str(tmp_path / "gray.png"), frame[:, :, 0])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([frame, frame[:, :, 0]]))
    np.testing.assert_array_equal(read_picture(tmp_path / "colour.png"), frame)
    np.testing.assert_array_equal(read_picture(str(tmp_path / "gray.png")), frame[:, :, [0, 0, 0]])
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png"), frame)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.png", "absent.png: cannot read it: No such file"),
        ("text.png", r"text.png: found 12 bytes that OpenCV cannot decode, expected a picture \(PNG, JPEG, ...\)$"),
        ("text.MP4", r"found 12 bytes that OpenCV cannot decode, .*; give a video to `aerocam stream`$"),
        ("empty.png", "empty.png: found 0 bytes"),
        ("folder.png", "folder.png: cannot read it: Is a directory"),
    ],
)
def test_an_unreadable_picture(name: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in (".png", ".MP4"):
        (tmp_path / f"text{suffix}").write_text("not a pixel!")
    (tmp_path / "empty.png").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MediaError, match=message):
        read_picture(tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("suffix", "message"), [(".jpg", "a JPEG that is cut short"), (".png", "a PNG with a damaged chunk at byte")]
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_picture_cut_short(
    suffix: str, message: str, share: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    coded = cv2.imencode(suffix, noise((200, 200)))[1].tobytes()
    path = tmp_path / f"half{suffix}"
    path.write_bytes(coded[: int(share * len(coded))])
    with pytest.raises(MediaError, match=message):
        read_picture(path)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_with_a_thumbnail_and_bytes_behind_its_end(tmp_path: Path) -> None:
    coded = cv2.imencode(".jpg", noise((40, 40)))[1].tobytes()
    small = cv2.imencode(".jpg", noise((8, 8)))[1].tobytes()
    segment = b"\xff\xe5" + (len(small) + 2).to_bytes(2, "big") + small
    first = 4 + int.from_bytes(coded[4:6], "big")  # the end of the JFIF segment
    with_thumbnail = coded[:first] + segment + coded[first:]
    (tmp_path / "a.jpg").write_bytes(with_thumbnail + b"appended \xff\xda")
    assert read_picture(tmp_path / "a.jpg").shape == (40, 40, 3)
    (tmp_path / "b.jpg").write_bytes(with_thumbnail[: len(segment) + len(coded) // 2])
    with pytest.raises(MediaError, match="cut short"):
        read_picture(tmp_path / "b.jpg")


def test_opencv_is_quiet_until_the_last_thread_is_done() -> None:
    log = cv2.utils.logging
    before = log.getLogLevel()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            entered.set()
            leave.wait(10)

    with quiet():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
    assert log.getLogLevel() == log.LOG_LEVEL_SILENT
    leave.set()
    thread.join()
    assert log.getLogLevel() == before


def test_threads_that_read_pictures_leave_standard_error_alone(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), noise((4, 4)))
    before = os.fstat(2)
    with ThreadPoolExecutor(4) as pool:
        for picture in pool.map(read_picture, [tmp_path / "a.png"] * 200):
            assert picture.shape == (4, 4, 3)
    assert os.path.samestat(before, os.fstat(2))
