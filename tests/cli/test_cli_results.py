"""`aerocam explain` of many pictures and targets: what it takes, page, sheet, and the examples of the help."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam import progress
from aerocam.cli.arguments import joined
from aerocam.cli.targets import _split
from aerocam.runtime import Explainer
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.frames import picture_files as inputs
from aerocam.runtime.frames import pictures
from aerocam.runtime.results import sheet as results_sheet
from runtime_fixtures import moving_square, picture, run_cli, write_video
from tiny_models import model

pytestmark = pytest.mark.runtime

RED = picture((64, 96), (16, 48, 32, 64))
GREEN = picture((64, 96), (40, 8, 56, 24), 1)
NAMES = {"person": "red", "boat": "green", "football helmet": "blue", "space shuttle": "darkness"}
"""Classes of the examples, and those of the model here in their places."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own with pictures."""
    monkeypatch.chdir(tmp_path)
    for name, frame in (("red.png", RED), ("green.png", GREEN), ("deep/last.png", RED)):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), frame)


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


def record(name: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(Path("out", f"{name}.cam.json").read_text())
    return found


@pytest.mark.parametrize("verb", ["explain", "stream"])
def test_the_examples_of_the_help_work(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, but for the classes; all that need neither a camera nor a network."""
    assert run_cli(verb, "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if f"aerocam {verb} model" in line]
    assert len(lines) >= 4
    shutil.copy(model("stretch"), "model.cam.onnx")
    write_video(Path("flight.avi"), moving_square(5)).rename("flight.mp4")
    for name in ("photo.jpg", "photos/other.jpg"):
        cv2.imwrite(name, RED)
    ran = 0
    for line in lines:
        before, pipe, after = line.partition(" | ")
        command = shlex.split(after if pipe else before)[1:]
        command = [",".join(NAMES.get(part, part) for part in word.split(",")) for word in command]
        if verb == "stream" and (command[2] in ("0", "-") or "://" in command[2]):
            continue
        monkeypatch.setattr(inputs.sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.jpg").read_bytes())))
        assert run_cli(*command) == 0, capsys.readouterr().err
        ran += 1
    assert ran >= {"explain": 5, "stream": 2}[verb]
    if verb == "explain":
        assert {"index.html", "sheet.png", "green.cam.3.png", "last.cam.json", "other.cam.npy"} <= set(names())
        assert Path("stdin.cam.png").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "green", "--target", "blue"],
        ["--target", "green,blue"],
        ["--target", "1, 2"],
        ["--target", "-2", "--target", "2"],
        ["--target", "-2,2"],
        ["--target=-2,blue"],
    ],
)
def test_several_targets(arguments: list[str]) -> None:
    """Green is the second best of a picture with more red than blue, all else equal."""
    cv2.imwrite("more.png", RED + GREEN // 2)
    assert run_cli("explain", model("stretch"), "more.png", "-o", "out", *arguments) == 0
    assert [target["label"] for target in record("more")["targets"]] == ["green", "blue"]
    assert names() == ["more.cam.1.png", "more.cam.2.png", "more.cam.json", "more.cam.npy", "more.cam.png"]


def test_the_best_classes(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("explain", model("stretch"), "photos/red.png", "-o", "out", "--top", "2") == 0
    with Explainer(model("stretch")) as explainer:
        expected = explainer(RED, [-1, -2])
    assert [target["label"] for target in record("red")["targets"]] == [target.label for target in expected.targets]
    assert capfd.readouterr().out.startswith("photos/red.png: red 0.261, green 0.25")
    np.testing.assert_array_equal(np.load("out/red.cam.npy"), expected.raw)


def test_a_class_name_with_a_comma_is_one_class() -> None:
    labels = ("tench, Tinca tinca", "goldfish", "tench")
    assert _split("tench, Tinca tinca", labels) == ["tench, Tinca tinca"]
    assert _split("tench, goldfish", labels) == ["tench", "goldfish"]


def test_what_argparse_would_take_for_an_option() -> None:
    assert joined(["explain", "m", "--target", "-1,-2", "x"]) == ["explain", "m", "--target=-1,-2", "x"]
    assert joined(["--target", "-1,cat"]) == ["--target=-1,cat"]
    for left in (["--target", "-1"], ["--target", "cat,-1"], ["--target", "--top"], ["-1,-2"], ["--alpha", "-1,-2"]):
        assert joined(left) == left


def test_regions_are_drawn_and_recorded() -> None:
    assert run_cli("explain", model("stretch"), "photos/red.png", "-o", "out", "--regions", "0.5") == 0
    with Explainer(model("stretch")) as explainer:
        expected = explainer(RED)
    np.testing.assert_array_equal(cv2.imread("out/red.cam.png"), expected.overlay(regions=0.5))
    (region,) = record("red")["targets"][0]["regions"]  # type: ignore[misc, attr-defined]
    assert region == expected.regions(0.5)[0][0].record()


def test_a_folder_with_a_page_and_a_sheet(capfd: pytest.CaptureFixture[str]) -> None:
    Path("photos/bad.jpg").write_text("not a picture")
    arguments = ["-r", "-o", "out", "--target", "red,green", "--html", "pages/all.html", "--sheet", "out/sheet.jpg"]
    assert run_cli("explain", model("stretch"), "photos", *arguments) == 1
    ends = ("1.png", "2.png", "json", "npy", "png")
    assert names() == [*(f"{stem}.cam.{end}" for stem in ("green", "last", "red") for end in ends), "sheet.jpg"]
    assert names("pages") == ["all.html"]
    out, err = capfd.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "photos/deep/last.png",
        "photos/green.png",
        "photos/red.png",
    ]
    error, page_line, sheet_line = err.splitlines()
    assert error.startswith("aerocam explain: error: photos/bad.jpg: found 13 bytes")
    assert re.fullmatch(r"page: pages/all\.html \(0\.0 MB\)", page_line)
    assert sheet_line == "contact sheet: out/sheet.jpg"
    page = Path("pages/all.html").read_text()
    links = re.findall('href="([^"]*)"', page)
    assert {str((Path("pages") / link).resolve()) for link in links if "out" in link} == {
        str(Path("out", name).resolve()) for name in names() if name != "sheet.jpg"
    }
    assert "<dt>Targets</dt><dd>red, green</dd>" in page
    assert "<dt>Pictures</dt><dd>3 explained, 1 not, 0 with a warning</dd>" in page
    assert "<li>photos/bad.jpg: found 13 bytes that OpenCV cannot decode" in page
    sheet = cv2.imread("out/sheet.jpg")
    assert sheet.shape == (6 + 26 + 2 * 186, 6 + 2 * 3 * 246, 3)


def test_a_picture_from_standard_input(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    content = cv2.imencode(".png", GREEN)[1].tobytes()
    monkeypatch.setattr(inputs.sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run_cli("explain", model("stretch"), "-", "-o", "out", "--html", "out/page.html") == 0
    assert names() == ["page.html", "stdin.cam.json", "stdin.cam.npy", "stdin.cam.png"]
    assert capfd.readouterr().out.startswith("standard input: green 0.261, ")
    page = Path("out/page.html").read_text()
    assert "<h2>standard input</h2>" in page


def test_a_progress_bar_counts_failures(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(progress.Progress, "__call__", lambda self, done, failed=0: said.append((done, failed)))
    images = ["photos/red.png", "absent.png", "photos/green.png"]
    assert run_cli("explain", model("stretch"), *images, "-o", "out") == 1
    assert said == [(1, 0), (2, 1), (3, 1)]
    assert run_cli("explain", model("stretch"), *images, "-o", "out", "-q") == 1
    assert run_cli("explain", model("stretch"), "photos/red.png", "-o", "out") == 0
    assert len(said) == 3
    capfd.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos/red.png", "--regions", "otsi"], "--regions otsi: expected otsu or a share"),
        (["photos/red.png", "--regions", "1.2"], "--regions 1.2"),
        (["photos/red.png", "--target", "red,,blue"], "--target 'red,,blue': found an empty class"),
        (["photos/red.png", "--target", "red,bleu"], "Did you mean 'blue'"),
        (["photos/red.png", "--top", "0"], "--top: got 0, expected 1 or more"),
        (["photos/red.png", "--top", "9"], "target class -5: expected 0 to 3"),
        (["photos/red.png", "--top", "2", "--target", "red"], "--top: got --target as well"),
        (["photos/*.gif"], "photos/*.gif: found no picture"),
        (["photos/red.png", "--sheet", "sheet.xyz"], "sheet.xyz: OpenCV writes no '.xyz'"),
        (["photos/red.png", "--sheet", "photos/red.png"], "photos/red.png: this is one of the pictures"),
        (["photos/red.png", "--html", "photos"], "photos: this is a folder"),
        (["photos/red.png", "--html", "x.png", "--sheet", "./x.png"], "name the same file"),
    ],
)
def test_one_line_and_no_file(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("explain", model("stretch"), *arguments, "-o", "out") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("aerocam explain: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert names() == []
    assert names(".") == ["photos"]


def test_no_sheet_is_written_over_a_picture(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_sheet, "PICTURES", 1)
    Path("photos/red-2.png").write_bytes(Path("photos/red.png").read_bytes())
    arguments = ["photos/green.png", "photos/red-2.png", "--sheet", "photos/red.png", "-o", "out"]
    assert run_cli("explain", model("stretch"), *arguments) == 2
    assert "photos/red-2.png: this is one of the pictures" in capfd.readouterr().err
    assert names() == []


def test_ctrl_c_finishes_page_and_sheet(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the second of four pictures is in hand."""
    read, seen = pictures.read_picture, []

    def interrupted(path: str, *how: Any) -> np.ndarray:
        seen.append(path)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return read(path, *how)

    monkeypatch.setattr(pictures, "read_picture", interrupted)
    images = ["photos/red.png", "photos/green.png", "photos/deep/last.png", "absent.png"]
    arguments = ["-o", "out", "--html", "out/page.html", "--sheet", "out/sheet.png"]
    assert run_cli("explain", model("stretch"), *images, *arguments) == 130
    out, err = capfd.readouterr()
    assert out.count("\n") == 2
    assert err.startswith("stopped after 2 of 4 pictures")
    assert Path("out/page.html").read_text().count("<article") == 2
    assert Path("out/sheet.png").exists()


def test_a_page_that_cannot_be_written(capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run_cli("explain", model("stretch"), "photos/red.png", "--html", "file/page.html", "-o", "out") == 1
    assert "file: cannot make this folder" in capfd.readouterr().err
    assert names() == []


def test_the_stream_takes_several_targets_and_regions() -> None:
    write_video(Path("in.avi"), moving_square(4))
    arguments = ["--target", "red", "--target", "darkness", "--regions", "otsu", "--records", "r.jsonl"]
    assert run_cli("stream", model("stretch"), "in.avi", "out.avi", *arguments) == 0
    for line in Path("r.jsonl").read_text().splitlines()[1:]:
        red, dark = json.loads(line)["targets"]
        assert (red["label"], len(red["regions"]), dark["label"], dark["regions"]) == ("red", 1, "darkness", [])


def test_a_look_is_what_save_takes() -> None:
    """`explain` hands every field of a look on to `save`."""
    assert set(vars(Look())) == {"alpha", "colormap", "caption", "regions"}
