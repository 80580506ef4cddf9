"""Pictures and video, in and out."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError
from aerocam.runtime.frames.opencv import quiet
from aerocam.runtime.frames.pictures import read_picture
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime


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
    log = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging
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
    assert log.getLogLevel() == 0
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
