"""The demo, cut short: its files are there and its maps peak where they must."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from aerocam.benchmarks import demo
from aerocam.cli import main

pytestmark = pytest.mark.slow


def test_demo_writes_all_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert main(["demo", "--out", str(folder), "--max-frames", "6", "--rounds", "4"]) == 0
    said = capsys.readouterr()
    assert str(folder) in said.out
    sheet = cv2.imread(str(folder / demo.SHEET))
    assert sheet.shape[0] > 6 * 150
    assert sheet.std() > 30  # pictures, not paper
    page = (folder / demo.PAGE).read_text()
    assert page.count("<article") == 5
    assert "<b>football helmet</b> 0.1" in page
    assert 'href="pictures/astronaut.cam.1.png"' in page
    capture = cv2.VideoCapture(str(folder / demo.OVERLAY))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == 6
    records = [json.loads(line) for line in (folder / demo.RECORDS).read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(6))
    assert json.loads((folder / demo.BENCH).read_text())["settings"]["model"] == "lite0-224.onnx"
    assert "Grad-CAM peaks at" in said.err


def test_too_few_rounds_are_refused_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--rounds", "3"]) == 2
    assert "iterations 3" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
