"""`aerocam explain` and `stream` of a detector: which of its objects are explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam.benchmarks import zoo
from aerocam.cli import main
from aerocam.export import export_model


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph of persons, a detector of them, and a grey picture."""
    folder = tmp_path_factory.mktemp("room")
    network: dict[str, Any] = {"preprocess": zoo.ssdlite.PREPROCESS, "labels": zoo.ssdlite.LABELS}
    export_model(zoo.ssdlite.model(), folder / "m.onnx", packaging="split", targets=4, check=False, **network)
    cv2.imwrite(str(folder / "room.png"), zoo.photograph("room"))
    cv2.imwrite(str(folder / "grey.png"), np.full((300, 300, 3), 90, np.uint8))
    return folder


def explain(room: Path, *arguments: str, code: int = 0, picture: str = "room") -> dict[str, Any]:
    """The record of a picture."""
    out = room / "out"
    assert (
        main(["explain", "-q", str(room / "m.onnx"), str(room / f"{picture}.png"), "-o", str(out), *arguments]) == code
    )
    record: dict[str, Any] = json.loads((out / f"{picture}.cam.json").read_text())
    return record


def test_objects_numbers_classes_and_thresholds(room: Path) -> None:
    five = explain(room)["targets"]
    assert [target["label"] for target in five] == ["person"] * 5
    assert [target["score"] for target in five] == sorted((target["score"] for target in five), reverse=True)
    assert len({target["anchor"] for target in five}) == 5
    two = explain(room, "--objects", "2")["targets"]
    assert [target["anchor"] for target in two] == [target["anchor"] for target in five[:2]]
    (third,) = explain(room, "--box", "3")["targets"]
    assert third["anchor"] == five[2]["anchor"]
    sure = explain(room, "--conf", "0.9", "--class", "person")["targets"]
    assert [target["anchor"] for target in sure] == [t["anchor"] for t in five if t["score"] > 0.9]
    (best,) = explain(room, "--target", "-1")["targets"]
    assert best["anchor"] == five[0]["anchor"]


def test_where_nothing_is_found_the_best_guess_is_shown_and_said(room: Path) -> None:
    record = explain(room, picture="grey")
    assert len(record["targets"]) == 1
    assert any("no object found above 0.25" in warning for warning in record["warnings"])


def test_page_and_sheet_take_as_many_objects_as_there_are(room: Path) -> None:
    files = ["--html", str(room / "page.html"), "--sheet", str(room / "sheet.png"), "--objects", "3"]
    pictures = [str(room / f"{name}.png") for name in ("grey", "room")]
    assert main(["explain", "-q", str(room / "m.onnx"), *pictures, "-o", str(room / "both"), *files]) == 0
    page = (room / "page.html").read_text()
    assert "object 3" in page
    assert cv2.imread(str(room / "sheet.png")).shape[1] > 3 * 240


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--box", "1", "--target", "person"], "--box: got --target as well, expected one of the two; --class chooses"),
        (["--class", "dog"], "the model has no such class"),
        (["--conf", "2"], "--conf 2.0: expected 0 to 1"),
        (["--objects", "0"], "--objects 0: expected 1 or more, objects count from 1"),
    ],
)
def test_what_cannot_be_meant(room: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(room / "m.onnx"), str(room / "room.png"), *arguments]) == 2
    assert said in capsys.readouterr().err
