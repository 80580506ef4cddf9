"""Which pictures `aerocam explain` takes its arguments for."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, UsageError
from aerocam.runtime.frames import picture_files as inputs
from aerocam.runtime.frames.picture_files import distinct_stems, find_pictures
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of files, empty ones: only their names are looked at."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "a.cam.png",
        "a.cam.12.png",
        "sub/c.tiff",
        "sub/.d/e.png",
    ):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Path("empty").mkdir()
    Path("odd[1].png").touch()


def test_a_folder_by_suffix_and_name() -> None:
    assert find_pictures(["photos"]) == ["photos/a.JPG", "photos/b.png"]
    assert find_pictures(["photos/"]) == ["photos/a.JPG", "photos/b.png"]
    assert find_pictures(["photos"], recursive=True) == ["photos/a.JPG", "photos/b.png", "photos/sub/c.tiff"]
    os.chdir("photos")
    assert find_pictures(["."]) == ["a.JPG", "b.png"]
    assert find_pictures(["../photos/sub"]) == ["../photos/sub/c.tiff"]


def test_what_a_folder_holds_besides_is_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("c.heic", "D.HEIC", "e.dng", ".f.gif", "flight.MP4", "a.cam.json", "a.cam.npy", "sub/g.avif"):
        Path("photos", name).touch()
    assert find_pictures(["photos", "odd[1].png"]) == ["photos/a.JPG", "photos/b.png", "odd[1].png"]
    way = "convert pictures to PNG or JPEG, give videos to `aerocam stream`"
    assert caplog.messages == [f"photos: left out 1 .dng, 2 .heic, 1 .mp4; {way}"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    assert len(find_pictures(["photos"], recursive=True)) == 3
    assert caplog.messages == [f"photos: left out 1 .avif, 1 .dng, 2 .heic, 1 .mp4; {way}"]
    Path("empty", "h.heif").touch()
    with pytest.raises(UsageError, match=r"empty: found no picture in this folder but 1 \.heif, expected \.bmp"):
        find_pictures(["empty"])


def test_a_folder_of_pictures_alone_is_read_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert len(find_pictures(["photos"])) == 2
    assert not caplog.messages


def test_arguments_keep_their_order() -> None:
    assert find_pictures(["x.png", "photos", "-", "absent.jpg"]) == [
        "x.png",
        "photos/a.JPG",
        "photos/b.png",
        "-",
        "absent.jpg",
    ]


def test_patterns() -> None:
    assert find_pictures(["photos/*.png"]) == ["photos/b.png"]
    assert find_pictures(["photos/**/*.tiff"]) == ["photos/sub/c.tiff"]
    assert find_pictures(["photos/?.[pJ]*"]) == ["photos/a.JPG", "photos/b.png"]
    assert find_pictures(["odd[1].png"]) == ["odd[1].png"]  # there is a file of this name


@pytest.mark.parametrize(
    ("arguments", "recursive", "message"),
    [
        (["empty"], False, r"empty: found no picture in this folder, expected \.bmp, .*; `recursive=True` also looks"),
        (["empty"], True, r"empty: found no picture in this folder, expected .*\.webp$"),
        (["photos/*.gif"], False, r"photos/\*\.gif: found no picture by this pattern"),
        (["phot*"], False, r"phot\*: found no picture by this pattern"),
        (["-", "b.png", "-"], False, "IMAGES: - is there twice"),
    ],
)
def test_nothing_found(arguments: list[str], recursive: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_pictures(arguments, recursive)


def test_distinct_stems() -> None:
    assert distinct_stems(["a/x.png", "b/x.jpg", "y.png", "x.bmp"]) == ["x", "x-2", "y", "x-3"]
    assert distinct_stems(["a/x.png", "b/x.png", "x-2.png"]) == ["x", "x-3", "x-2"]
    assert distinct_stems(["-", "stdin.png"]) == ["stdin", "stdin-2"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = noise((20, 30))
    content = [cv2.imencode(".png", frame)[1].tobytes(), b""]
    for one in content:
        monkeypatch.setattr(inputs.sys, "stdin", io.TextIOWrapper(io.BytesIO(one)))
        if one:
            np.testing.assert_array_equal(inputs.read("-"), frame)
        else:
            with pytest.raises(MediaError, match="standard input: found 0 bytes that OpenCV cannot decode"):
                inputs.read("-")
