"""Sources: what a text means, and what each reader gives of real files, pipes and folders."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, SourceLostError, UsageError
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.source import VideoSource
from aerocam.runtime.video.sources.address import Address, address_of
from aerocam.runtime.video.sources.connection import DEPTH, ReadingThread
from aerocam.runtime.video.sources.pipe import PipeReader, end_of_jpeg
from aerocam.runtime.video.sources.protocol import DAMAGED, Picture
from cameras import number_of, numbered
from runtime_fixtures import moving_square, noise, write_video

try:
    import av
except ImportError:  # as on a Jetson
    av = None

pytestmark = pytest.mark.runtime


@pytest.fixture(params=["pyav", "opencv"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and addresses are read by each library in turn."""
    if request.param == "pyav":
        if av is None:
            pytest.skip("PyAV is not installed")
    else:
        monkeypatch.setitem(sys.modules, "av", None)


def test_what_exists_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("2024", "wow! flight.mp4", "-", "[a].png", "b1.png"):
        Path(name).write_text("")
    Path("folder!").mkdir()
    os.mkfifo("fifo")
    kinds = {
        "2024": "file", "wow! flight.mp4": "file", str(tmp_path / "wow! flight.mp4"): "file", "-": "file",
        "[a].png": "file", "folder!": "pictures", "fifo": "device", "/dev/null": "device", "[!a]*.png": "pictures",
        "%d": "pictures", "b%d.png": "pictures", "b%02d.png": "absent", "2025": "camera", "²": "absent",
        "rtspsrc location=rtsp://a/b ! appsink": "pipeline", "rtsp://a:b!c@d/e": "url", "http://a/%20b.mp4": "url",
        "raw:640x480": "stdin", "raw:0x480": "absent", "no*.png": "absent", "absent.mp4": "absent",
    }  # fmt: skip
    assert {text: address_of(text).kind for text in kinds} == kinds
    os.remove("-")
    assert address_of("-").kind == "stdin"
    assert address_of(2024).kind == "camera"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtsp://admin:p@ss@host:554/live", "rtsp://***@host:554/live"),
        ("rtsp://admin:a/b@host/live", "rtsp://***@host/live"),
        ("rtsp://admin:a b@host/live", "rtsp://***@host/live"),
        ("rtsp://admin:%40!?#@host", "rtsp://***@host"),
        ("rtsp://host/live?user=admin&password=secret&x=1", "rtsp://host/live?user=admin&password=***&x=1"),
        ("http://host/token=secret", "http://host/token=***"),
        ("src location=rtsp://a:b@host user-pw=c ! appsink", "src location=rtsp://***@host user-pw=*** ! appsink"),
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("me@home.mp4", "me@home.mp4"),
    ],
)  # fmt: skip
def test_no_password_is_shown(text: str, name: str) -> None:
    assert address_of(text).name == name


@pytest.mark.usefixtures("_library")
def test_a_file_gives_its_frames(tmp_path: Path) -> None:
    frames = moving_square(12)
    with VideoSource(write_video(tmp_path / "v.avi", frames, 20)) as source:
        assert (source.fps, source.size, source.count, source.live) == (20, (64, 96), 12, False)
        read = list(source)
    assert len(read) == 12
    for got, want in zip(read, frames, strict=True):
        assert np.abs(got.astype(int) - want).mean() < 4
    assert read[0] is not read[1]


def written(path: Path, stamps: list[float]) -> Path:
    """A video of numbered pictures at these times, s, written by PyAV."""
    if av is None:
        pytest.skip("PyAV is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 10**8
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="bgr24")
            frame.pts = round(1000 * stamp)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_times_are_the_containers(suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a variable frame rate: 10 frames at 25/s, 10 at 5/s, one after a long pause."""
    stamps = [*np.arange(10) / 25, *(0.4 + np.arange(10) / 5), 7.0]
    with VideoSource(written(tmp_path / f"v{suffix}", stamps)) as source:
        frames = list(source.frames())
    assert [number_of(frame.pixels) for frame in frames] == list(range(21))
    assert [frame.time for frame in frames] == pytest.approx(stamps, abs=0.001)
    assert caplog.records == []


@pytest.mark.usefixtures("_library")
def test_a_file_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", [noise((64, 96), seed) for seed in range(9)])
    content = bytearray(path.read_bytes())
    begins = [at for at in range(len(content)) if content.startswith(b"\xff\xd8\xff", at)]
    for at in begins[3:5]:
        content[at : at + 400] = bytes(400)
    path.write_bytes(content)
    with VideoSource(path) as source:
        frames = list(source.frames())
    assert [(frame.number, frame.damaged) for frame in frames] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (5, 2),
        (6, 0),
        (7, 0),
        (8, 0),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.mp4", "absent.mp4: there is no such video"),
        ("text.mp4", "text.mp4: .*no video in it"),
        ("77", "camera 77: there is none"),
        ("nosuchsrc ! appsink", "pipeline 'nosuchsrc ! appsink': it gives no frame"),
        ("rtsp://me:secret@127.0.0.1:9/x", r"rtsp://\*\*\*@127.0.0.1:9/x: no video comes from this address"),
    ],
)
@pytest.mark.usefixtures("_library")
def test_no_video(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("not a video" * 100)
    with pytest.raises(MediaError, match=message) as caught:
        VideoSource(source)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert capfd.readouterr() == ("", "")


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no picture in this folder"):
        VideoSource(tmp_path)


@pytest.mark.parametrize("setting", [{"frames": "last"}, {"timeout": 0}, {"reconnect": -1}, {"fps": 0}])
def test_settings_that_cannot_be(setting: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(setting))}`: got"):
        VideoSource("v.avi", **setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [".", "*.png", "%d.png"])
def test_pictures_in_order(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (8, 9, 10):
        cv2.imwrite(f"{number}.png", numbered(number))
    Path("9.png").write_text("no picture")
    with caplog.at_level(logging.INFO, "aerocam"), VideoSource(source) as pictures:
        frames = list(pictures.frames())
    assert "3 pictures, taken for 25 a second; `fps` says otherwise" in caplog.text
    assert "9.png: found 10 bytes that OpenCV cannot decode" in caplog.text
    order = [8, 10] if source == "%d.png" else [10, 8]  # by number; by name
    assert [number_of(frame.pixels) for frame in frames] == order
    damaged = [(frame.number, frame.damaged) for frame in frames]
    assert damaged == ([(0, 0), (2, 1)] if source == "%d.png" else [(0, 0), (1, 0)])
    with VideoSource(source, fps=2) as pictures:
        assert (pictures.fps, pictures.count, pictures.live) == (2, 3, False)
        assert list(pictures.frames())[1].time == frames[1].number / 2


def piped(content: bytes, text: str, chunk: int = 1000) -> Iterator[Picture]:
    """What a reader makes of what another thread writes into a pipe, a little at a time."""
    out, into = os.pipe()

    def write() -> None:
        for at in range(0, len(content), chunk):
            os.write(into, content[at : at + chunk])
        os.close(into)

    thread = threading.Thread(target=write)
    thread.start()
    reader = PipeReader(Address(text, "stdin", text), out)
    assert reader.live
    try:
        while (picture := reader.read()) is not None:
            yield picture
    finally:
        os.close(out)
        thread.join()


def jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", numbered(number))[1].tobytes()


def numbers(pictures: Iterator[Picture]) -> list[int | None]:
    """The number in each picture; None for a damaged one."""
    return [None if picture.pixels is None else number_of(picture.pixels) for picture in pictures]


@pytest.mark.parametrize("chunk", [1, 7, 100000])
def test_motion_jpeg_on_standard_input(chunk: int) -> None:
    thumbnail = jpeg(30)
    with_one = jpeg(4)[:2] + b"\xff\xe5" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + jpeg(4)[2:]
    short, torn = jpeg(5)[:300], b"\xff\xd8\xff\xe0\x00\x04abcdefgh"
    content = jpeg(1) + b"--next\r\nContent-Length: 9\r\n\r\n" + jpeg(2) + with_one + short + jpeg(6) + torn + jpeg(7)
    assert numbers(piped(content + jpeg(8)[:-1], "-", chunk)) == [1, 2, 4, None, 6, None, 7, None]


def test_where_a_jpeg_ends() -> None:
    content = cv2.imencode(
        ".jpg", noise((64, 64)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    )[1].tobytes()
    assert content.count(b"\xff\xda") > 1
    assert end_of_jpeg(content + b"more") == len(content)
    assert all(end_of_jpeg(content[:length]) is None for length in range(3, len(content)))


def test_raw_pictures_on_standard_input() -> None:
    frames = [noise((4, 6), seed) for seed in range(3)]
    content = b"".join(frame.tobytes() for frame in frames)
    *whole, last = piped(content + b"xyz", "raw:6x4", 50)
    for picture, frame in zip(whole, frames, strict=True):
        np.testing.assert_array_equal(picture.pixels, frame)
    assert last == DAMAGED


def test_something_else_on_standard_input() -> None:
    with pytest.raises(MediaError, match=r"-: standard input begins with b'\\x1aE\\xdf\\xa3', expected Motion JPEG"):
        list(piped(b"\x1a\x45\xdf\xa3", "-"))


class Stepped:
    """A reader that gives a picture each time the test lets it."""

    fps, count = 100.0, 0

    def __init__(self, live: bool, most: int = 1000) -> None:
        self.live, self.closed, self.number, self.most = live, threading.Event(), 0, most
        self.go = threading.Semaphore(0)

    def read(self) -> Picture | None:
        self.go.acquire()
        self.number += 1
        if self.number > self.most:
            return None
        return DAMAGED if self.number == 3 else Picture(numbered(self.number))

    def close(self) -> None:
        self.closed.set()


def settled(reader: Stepped, steps: int, until: Callable[[], bool]) -> None:
    """Let it read so many pictures and wait until that shows."""
    for _ in range(steps):
        reader.go.release()
    for _ in range(1000):
        if until():
            return
        threading.Event().wait(0.005)
    raise AssertionError


def test_the_newest_picture_takes_the_place_of_one_that_waits() -> None:
    reader = Stepped(live=True)
    connection = ReadingThread(lambda: reader)
    settled(reader, 1, lambda: connection.take(0, keep=True) is not None)
    settled(reader, 4, lambda: number_of(connection.take(1, keep=True).pixels) == 5)  # type: ignore[union-attr]
    arrival = connection.take(0)
    assert arrival is not None
    assert (number_of(arrival.pixels), arrival.skipped, arrival.damaged) == (5, 3, 1)
    assert connection.take(0) is None
    assert not reader.closed.is_set()
    reader.go.release()
    assert connection.close(5)
    assert reader.closed.is_set()


def test_every_picture_waits_until_it_is_taken() -> None:
    reader = Stepped(live=False)
    connection = ReadingThread(lambda: reader)
    settled(reader, 50, lambda: reader.number >= DEPTH + 2)
    assert reader.number == DEPTH + 2  # two wait, one is held, the third was damaged
    taken = [connection.take(5) for _ in range(10)]
    assert [number_of(arrival.pixels) for arrival in taken if arrival] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [arrival.damaged for arrival in taken if arrival] == [0, 0, 1, *[0] * 7]
    assert connection.close(5)


def test_a_reader_that_hangs_holds_up_nobody_and_is_closed_by_its_own_thread() -> None:
    reader = Stepped(live=True)
    connection = ReadingThread(lambda: reader)
    assert connection.take(0.01) is None
    assert not connection.close(0.01)
    assert not reader.closed.is_set()
    reader.go.release()
    assert reader.closed.wait(5)


def test_a_file_is_played_in_real_time_where_the_newest_frame_is_wanted() -> None:
    reader = Stepped(live=False, most=20)
    for _ in range(30):
        reader.go.release()
    connection = ReadingThread(lambda: reader, newest=True)
    arrivals = []
    while not connection.ended or connection.take(0, keep=True):
        if (arrival := connection.take(1)) is not None:
            arrivals.append(arrival)
    shown = [number_of(arrival.pixels) for arrival in arrivals]
    assert shown[-1] == 20
    assert sum(1 + arrival.skipped + arrival.damaged for arrival in arrivals) == 20
    for arrival, number in zip(arrivals, shown, strict=True):  # never before its time
        assert arrival.arrived - arrivals[0].arrived >= (number - shown[0]) / reader.fps - 1e-3


def test_an_error_of_the_reader_comes_behind_what_was_read() -> None:
    class Broken(Stepped):
        def read(self) -> Picture | None:
            if self.number == 2:
                raise SourceLostError("gone")
            return super().read()

    reader = Broken(live=False)
    reader.go.release()
    reader.go.release()
    connection = ReadingThread(lambda: reader)
    assert reader.closed.wait(5)
    assert [connection.take(5) is not None for _ in range(3)] == [True, True, False]
    assert connection.ended
    assert isinstance(connection.error, SourceLostError)


def test_a_source_that_nobody_closes_does_not_read_for_ever(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "v.avi", moving_square(9)))
    before = [thread for thread in threading.enumerate() if thread.name == "aerocam-read"]
    assert before
    del source
    assert not [thread for thread in before if thread.is_alive()]


def test_frames_of_one_source_are_all_given_once(tmp_path: Path) -> None:
    with VideoSource(write_video(tmp_path / "v.avi", moving_square(9))) as source:
        frames: list[Frame] = [next(source.frames()), *source.frames()]
        assert source.ended
        assert source.poll(1) is None
    assert [frame.number for frame in frames] == list(range(9))
