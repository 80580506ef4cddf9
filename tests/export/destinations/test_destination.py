"""`aerocam export --for tensorrt`: what is refused is named, with whose it is and the way out, and nothing written."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from aerocam.benchmarks import zoo
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.export.destinations import refusal as refusal_module
from aerocam.export.destinations import tensorrt
from aerocam.export.destinations.node_forms import Form
from aerocam.export.gradients.adjoints import indexing
from onnx_graphs import beside_a_branch, f32, model, saved
from rtx import HAS_WHEELS
from small_networks import SIZE, cnn
from tensorrt_builder import nvidia_builder

node = helper.make_node


def with_branch(*body: onnx.NodeProto, opset: int = 17, **constants: np.ndarray) -> onnx.ModelProto:
    """`a` (1, 4, 8, 8), `b` made of it by `body`, and classes from both."""
    weights = {"w": f32(4, 3, 3, 3), "k": f32(4, 4, 1, 1), **constants}
    return model(beside_a_branch(body), {"x": f32(1, 3, 8, 8)}, weights, ["y"], opset)


def refusal(folder: Path, proto: onnx.ModelProto, **options: object) -> str:
    """What the export says; it writes nothing, and for ONNX Runtime nothing is refused."""
    path = saved(folder, proto)
    assert export_model(path, folder / "here.onnx", check=False, **options).path.is_file()
    with pytest.raises(ModelError) as refused:
        export_model(path, folder / "there.onnx", destination="tensorrt", **options)
    assert sorted(item.name for item in folder.iterdir() if "here" not in item.name) == [path.name]
    return str(refused.value)


DILATED = node("MaxPool", ["a"], ["b"], name="wide", kernel_shape=[3, 3], dilations=[2, 2], pads=[2] * 4)


@pytest.mark.parametrize("layers", ["a", "z"])
def test_the_models_own_node_is_named_with_what_to_change(tmp_path: Path, layers: str) -> None:
    """In front of the layer and behind it."""
    said = refusal(tmp_path, with_branch(DILATED), layers=layers)
    assert said == (
        "`destination='tensorrt'`: NVIDIA's parser takes no MaxPool of this form (node 'wide', output 'b'): dilations"
        " other than 1; it is the model's own: export the model with the operation spelled out in simpler ones; or"
        " export it with `destination='onnxruntime'`"
    )


def test_a_node_of_a_gradient_is_named_with_another_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum by computed indices over many entries; its own GatherElements is taken."""
    monkeypatch.setattr(indexing, "LARGEST_ONE_HOT", 0)
    places = node("ArgMax", ["a"], ["places"], axis=2, keepdims=1)
    proto = with_branch(places, node("GatherElements", ["a", "places"], ["b"], name="picked", axis=2))
    said = refusal(tmp_path, proto, layers="a")
    assert "NVIDIA's parser takes no ScatterElements of this form (node 'aerocam" in said
    assert "it is added for the gradients: choose a target layer behind it" in said
    assert export_model(tmp_path / "model.onnx", layers="z", destination="tensorrt").path.is_file()


def test_a_node_of_a_head_is_named_with_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No head has a form that is refused: here Grad-CAM++, which divides, meets a table in which Div is one."""
    row = Form(("Div",), "any form", "multiply")
    monkeypatch.setattr(refusal_module, "FORMS", [row])
    said = refusal(tmp_path, cnn(), head="gradcam++")
    assert "NVIDIA's parser takes no Div of this form (node 'aerocam" in said
    assert "it is added for `head='gradcam++'`: choose another head" in said


def test_a_node_of_the_score_is_named_with_fewer_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second best class comes from a TopK, which may choose none here."""
    monkeypatch.setattr(tensorrt, "MOST_CHOSEN", 0)
    said = refusal(tmp_path, cnn(), targets=2)
    assert "NVIDIA's builder takes no TopK of this form (node 'aerocam" in said
    assert "it is added for the score: ask for one target" in said


def test_every_file_of_a_split_export_is_looked_at(tmp_path: Path) -> None:
    """The dilated pool lies before the layer here, and only in the file that runs on every frame."""
    said = refusal(tmp_path, with_branch(DILATED), layers="z", packaging="split")
    assert "node 'wide'" in said


def test_many_refusals_are_counted(tmp_path: Path) -> None:
    names = ["a", "p0", "p1", "p2", "p3", "b"]
    pools = [
        node("MaxPool", [x], [y], name=f"wide{i}", kernel_shape=[3, 3], dilations=[2, 2], pads=[2] * 4)
        for i, (x, y) in enumerate(pairwise(names))
    ]
    said = refusal(tmp_path, with_branch(*pools), layers="z")
    assert "node 'wide2'" in said
    assert "node 'wide3'" not in said
    assert "; and 2 more like these; or" in said


def test_what_older_versions_refuse_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    proto = with_branch(node("Pow", ["a", "three"], ["b"], name="cube"), three=np.array(3))
    path = saved(tmp_path, proto)
    with caplog.at_level(logging.WARNING):
        export_model(path, layers="z", destination="tensorrt", check=False)
    (text,) = [record.getMessage() for record in caplog.records if "TensorRT" in record.getMessage()]
    assert text == (
        "TensorRT before 10.8 takes no Pow of this form (node 'cube', output 'b'): an exponent of whole numbers"
    )
    caplog.clear()
    export_model(path, layers="z", check=False)
    assert not [record for record in caplog.records if "TensorRT" in record.getMessage()]


class Pictures(CalibrationDataReader):
    """Noise to calibrate with."""

    def __init__(self) -> None:
        self._left = iter([{"x": f32(*SIZE, seed=seed)} for seed in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


@pytest.mark.parametrize("bias", [False, True])
def test_a_model_that_onnx_runtime_quantised(tmp_path: Path, bias: bool) -> None:
    """By the recipe of the README it goes through, to NVIDIA's builder; a bias in int32 is refused with that recipe."""
    path, quantised = saved(tmp_path, cnn()), tmp_path / "int8.onnx"
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": bias}
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(path, quantised, Pictures(), quant_format=QuantFormat.QDQ, extra_options=symmetric, **kinds)
    if bias:
        with pytest.raises(ModelError, match=r"DequantizeLinear .* int32, as of a quantised bias; .*QuantizeBias off"):
            export_model(quantised, head="gradcam", destination="tensorrt")
        return
    done = export_model(quantised, head="gradcam", destination="tensorrt")
    assert done.report is not None
    assert done.report.outputs < 1e-6
    if HAS_WHEELS:
        assert nvidia_builder().refusal(onnx.load(done.path)) is None


def test_an_unknown_destination(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`destination='tensort'`: no such destination\. Did you mean 'tensorrt'"):
        export_model(saved(tmp_path, cnn()), destination="tensort")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"head": "cfcam"}, {"head": "gradcam", "frame": (480, 640), "overlay": True}])
def test_a_real_network_passes(tmp_path: Path, options: dict) -> None:
    done = export_model(zoo.lite0.model(), tmp_path / "m.onnx", destination="tensorrt", check=False, **options)
    assert done.path.is_file()
