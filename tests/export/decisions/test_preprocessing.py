"""How a frame becomes the input, by who wrote the file and what it is for, where nobody says; each is a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from aerocam.export import PRESETS, export_model
from aerocam.manifest import Manifest
from coloured import written
from detector_cases import CASES
from onnx_graphs import saved
from tiny_heads import HEADS

LINE = "m = ReduceMean<axes=[2], keepdims=0>(a) t = Transpose<perm=[0,2,1]>(m) l = MatMul(t, w) y = Softmax<axis=2>(l)"


def said(path: Path, preset: str, resize: str, **options: Any) -> None:
    manifest: Manifest = export_model(path, check=False, **options).manifest
    rule = manifest.preprocess
    assert rule is not None
    (decision,) = (item for item in manifest.decisions if item.subject == "preprocessing")
    assert decision.is_guess
    wanted = PRESETS[preset]
    assert (rule.color, rule.mean, rule.std) == (wanted["color"], wanted["mean"], wanted["std"])
    assert rule.resize == resize


@pytest.mark.parametrize(("producer", "preset"), [("onnx-caffe2", "caffe"), ("pytorch", "imagenet")])
def test_caffe2_takes_caffes_pixels(tmp_path: Path, producer: str, preset: str) -> None:
    proto = onnx.load(written(tmp_path / "m.onnx", "y = Softmax(f)"))
    proto.producer_name = producer
    said(saved(tmp_path, proto), preset, "crop")


def test_lines_of_text(tmp_path: Path) -> None:
    """A reader of them, and a classifier of pictures three times as wide as high."""
    said(written(tmp_path / "m.onnx", LINE, "float[1,8,3] y"), "paddleocr", "stretch")
    proto = onnx.load(written(tmp_path / "m.onnx", "y = Softmax(f)"))
    for width, preset in ((96, "paddleocr"), (92, "imagenet")):
        proto.graph.input[0].type.tensor_type.shape.dim[3].dim_value = width
        said(saved(tmp_path, proto), preset, "stretch")


def test_boxes_in_tensorflows_order(tmp_path: Path) -> None:
    said(saved(tmp_path, CASES["ssd"].file()), "tf", "stretch")


def test_detectors_that_stretch_their_pictures(tmp_path: Path) -> None:
    said(saved(tmp_path, HEADS["picodet"].files()[0]), "imagenet", "stretch", layers="p0")
