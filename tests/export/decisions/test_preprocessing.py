"""How a frame becomes the input, by who wrote the file and what it is for, where nobody says; each is a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from aerocam.export import PRESETS, export_model
from aerocam.export.reading.modules import SCOPES
from aerocam.manifest import Manifest
from coloured import written
from detector_cases import CASES
from onnx_graphs import f32, parsed, saved
from tiny_heads import HEADS

LINE = "m = ReduceMean<axes=[2], keepdims=0>(a) t = Transpose<perm=[0,2,1]>(m) l = MatMul(t, w) y = Softmax<axis=2>(l)"


def said(path: Path, preset: str, resize: str, interpolation: str = "", **options: Any) -> None:
    manifest: Manifest = export_model(path, check=False, **options).manifest
    rule = manifest.preprocess
    assert rule is not None
    (decision,) = (item for item in manifest.decisions if item.subject == "preprocessing")
    assert decision.is_guess
    wanted = PRESETS[preset]
    assert (rule.color, rule.mean, rule.std) == (wanted["color"], wanted["mean"], wanted["std"])
    assert rule.resize == resize
    assert interpolation in ("", rule.interpolation)


@pytest.mark.parametrize(("producer", "preset"), [("onnx-caffe2", "caffe"), ("pytorch", "imagenet")])
def test_caffe2_takes_caffes_pixels(tmp_path: Path, producer: str, preset: str) -> None:
    proto = onnx.load(written(tmp_path / "m.onnx", "y = Softmax(f)"))
    proto.producer_name = producer
    said(saved(tmp_path, proto), preset, "crop")


def test_lines_of_text(tmp_path: Path) -> None:
    """A reader of them, and what Paddle wrote for pictures three times as wide as high."""
    said(written(tmp_path / "m.onnx", LINE, "float[1,8,3] y"), "paddleocr", "stretch")
    proto = onnx.load(written(tmp_path / "m.onnx", "y = Softmax(f)"))
    for producer, graph, width, preset in (
        ("PaddlePaddle", "paddle-onnx", 96, "paddleocr"),
        ("PaddlePaddle", "paddle-onnx", 92, "imagenet"),
        ("", "Model from PaddlePaddle.", 96, "paddleocr"),
        ("pytorch", "main_graph", 96, "imagenet"),
    ):
        proto.producer_name, proto.graph.name = producer, graph
        proto.graph.input[0].type.tensor_type.shape.dim[3].dim_value = width
        said(saved(tmp_path, proto), preset, "stretch")


@pytest.mark.parametrize(
    ("graph", "classes", "preset"),
    [
        ("PaddlePaddle Graph in PIR mode", 1, "paddleocr-det"),
        ("main_graph", 1, "imagenet"),
        ("PaddlePaddle", 2, "imagenet"),
    ],
)
def test_where_text_is(tmp_path: Path, graph: str, classes: int, preset: str) -> None:
    """One map of probabilities, as PaddleOCR's detectors give out; by PaddleSeg's networks a map per class."""
    body = "c = Conv(x, w) a = Relu(c) l = Conv(a, v) y = Sigmoid(l)"
    proto = parsed(
        f"(float[1,3,16,16] x) => (float[1,{classes},16,16] y)", body, w=f32(5, 3, 1, 1), v=f32(classes, 5, 1, 1)
    )
    proto.graph.name = graph
    said(saved(tmp_path, proto), preset, "stretch", layers="a")


@pytest.mark.parametrize(
    ("modules", "preset", "resize", "interpolation"),
    [
        (["conv1", "layer4"], "imagenet", "crop", "pil-bilinear"),
        (["body.conv1", "body.layer1.0"], "unit", "crop", "pil-bilinear"),
        (["vit.embeddings.patch_embeddings"], "tf", "stretch", "pil-bilinear"),
        (["visual.layer4.0", "visual.attnpool.c_proj"], "clip", "crop", "pil-bicubic"),
    ],
)
@pytest.mark.parametrize("is_metadata", [False, True])
def test_families_by_the_names_of_modules(
    tmp_path: Path, modules: list[str], preset: str, resize: str, interpolation: str, is_metadata: bool
) -> None:
    """As either exporter of PyTorch's writes them; `test_families.py` has the families."""
    proto = onnx.load(written(tmp_path / "m.onnx", "y = Softmax(f)"))
    for node, path in zip(proto.graph.node, modules, strict=False):
        if is_metadata:
            node.metadata_props.add(key=SCOPES, value=str(["", path, node.op_type]))
        else:
            node.name = f"/{path.replace('.', '/')}/{node.op_type}"
    said(saved(tmp_path, proto), preset, resize, interpolation)


@pytest.mark.parametrize("output", ["float[1,64] y", "float[1,64,8,8] y"])
def test_embeddings_see_the_whole_frame(tmp_path: Path, output: str) -> None:
    """Of a square picture, one for all of it or one at each place."""
    body = "c = Conv<strides=[2,2]>(x, w) a = Relu(c)"
    body += " g = GlobalAveragePool(a) y = Flatten(g)" if "8" not in output else " y = Conv(a, v)"
    proto = parsed(f"(float[1,3,16,16] x) => ({output})", body, w=f32(64, 3, 1, 1), v=f32(64, 64, 1, 1))
    said(saved(tmp_path, proto), "imagenet", "stretch", task="embed", layers="a")


def test_boxes_in_tensorflows_order(tmp_path: Path) -> None:
    said(saved(tmp_path, CASES["ssd"].file()), "tf", "stretch")


def test_detectors_that_stretch_their_pictures(tmp_path: Path) -> None:
    said(saved(tmp_path, HEADS["picodet"].files()[0]), "imagenet", "stretch", layers="p0")


def test_pictures_that_the_graph_takes_out_of_a_list_and_normalises(tmp_path: Path) -> None:
    """As torchvision's detectors do, in front of whatever the layout would speak for."""
    proto = parsed(
        "(float[1,3,16,16] x) => (float[1,5] y)",
        """s = Split<axis=0>(x, one) u = Squeeze(s, first) m = Sub(u, mean) d = Div(m, std) v = Unsqueeze(d, first)
        r = Resize(v, none, none, size) c = Conv(r, w) a = Relu(c) g = GlobalAveragePool(a) f = Flatten(g)
        y = Softmax(f)""",
        w=f32(5, 3, 3, 3),
        mean=np.full((3, 1, 1), 0.5, np.float32),
        std=np.full((3, 1, 1), 0.5, np.float32),
        none=np.zeros(0, np.float32),
        size=[1, 3, 8, 8],
        one=[1],
        first=[0],
    )
    said(saved(tmp_path, proto), "unit", "crop")


@pytest.mark.parametrize(
    ("first", "preset"),
    [
        ("c = Conv<strides=[2,2], pads=[0,0,1,1]>(x, w)", "tf"),
        ("b = Pad(x, pads) c = Conv<strides=[2,2]>(b, w)", "tf"),
        ("c = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w)", "imagenet"),
        ("c = Conv<strides=[2,2]>(x, w)", "imagenet"),
    ],
)
def test_padding_as_tensorflow_has_it(tmp_path: Path, first: str, preset: str) -> None:
    """One row and column behind the picture alone, where the stride leaves one to pad."""
    body = "a = Relu(c) g = GlobalAveragePool(a) f = Flatten(g) y = Softmax(f)"
    proto = parsed(
        "(float[1,3,16,16] x) => (float[1,5] y)", f"{first} {body}", w=f32(5, 3, 3, 3), pads=[0, 0, 0, 0, 0, 0, 1, 1]
    )
    said(saved(tmp_path, proto), preset, "crop")
