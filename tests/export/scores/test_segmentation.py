"""Task `segment`: the mean logit of a class over the positions where it is predicted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.errors import ModelError
from aerocam.export import export_model, list_layers
from aerocam.runtime import Explainer
from onnx_graphs import f32, model, run_ort, saved
from small_networks import MASK_CHANNELS, MASK_SIDE, segmenter

node = helper.make_node
CHANNELS, SIDE = MASK_CHANNELS, MASK_SIDE
X = f32(1, 3, SIDE, SIDE, seed=8)


def run(path: Path, target: int) -> dict[str, Any]:
    proto = onnx.load(path)
    names = [item.name for item in proto.graph.output]
    return dict(zip(names, run_ort(proto, {"x": X, manifest.TARGET: np.int32([target])}, names), strict=True))


FORMS = ["logits", "softmax", "one", "classes-last", "classes-last-behind", "logits-last", "one-last"]


@pytest.mark.parametrize("form", FORMS)
def test_the_mean_logit_over_the_mask(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, segmenter(form))
    done = export_model(path, layers="features", task="segment")
    assert done.report is not None
    assert done.report.gradients["features"] < 1e-2  # the mask is held, so that the score is linear
    assert done.manifest.score.class_axis == (3 if "last" in form else 1)
    assert done.manifest.score.activation == {"logits": "none", "logits-last": "none"}.get(
        form, "sigmoid" if form.startswith("one") else "softmax"
    )
    kernel = f32(1 if form.startswith("one") else 3, CHANNELS, 1, 1, seed=5)[:, :, 0, 0]
    for target in (-1, *range(len(kernel))):
        found = run(done.path, target)
        logits = np.einsum("kc,chw->khw", kernel, found["features"][0].astype(np.float64))
        chosen = int(np.unravel_index(logits.argmax(), logits.shape)[0]) if target < 0 else target
        assert found[manifest.CHOSEN].tolist() == [chosen]
        mask = logits[0] > 0 if form.startswith("one") else logits.argmax(axis=0) == chosen
        if not mask.any():
            mask = logits[chosen] == logits[chosen].max()
        np.testing.assert_allclose(found[manifest.SCORE], [logits[chosen][mask].mean()], rtol=1e-4)
        expected = kernel[chosen][:, None, None] * mask / mask.sum()
        np.testing.assert_allclose(found["aerocam_gradients_0"][0], expected, rtol=1e-4, atol=1e-8)


def test_a_class_that_is_predicted_nowhere_is_explained_at_its_best_position(tmp_path: Path) -> None:
    proto = segmenter("logits")
    bias = np.float32([0, 0, -100])
    proto.graph.initializer.append(onnx.numpy_helper.from_array(bias, "b"))
    proto.graph.node[1].input.append("b")
    found = run(export_model(saved(tmp_path, proto), layers="features", task="segment").path, 2)
    kernel = f32(3, CHANNELS, 1, 1, seed=5)[2, :, 0, 0]
    logits = np.einsum("c,chw->hw", kernel, found["features"][0]) - 100
    np.testing.assert_allclose(found[manifest.SCORE], [logits.max()], rtol=1e-5)
    best = np.unravel_index(logits.argmax(), logits.shape)
    assert np.count_nonzero(found["aerocam_gradients_0"].any(axis=1)) == 1
    np.testing.assert_allclose(found["aerocam_gradients_0"][(0, slice(None), *best)], kernel, rtol=1e-5)


def test_auto_takes_the_last_features_and_not_the_class_maps(tmp_path: Path) -> None:
    _, automatic = list_layers(saved(tmp_path, segmenter("softmax")), task="segment")
    assert [item.name for item in automatic] == ["features"]


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["c"]), node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["y"]),
    ]  # fmt: skip
    path = saved(tmp_path, model(nodes, {"x": X}, {"k": f32(CHANNELS, 3, 3, 3)}, ["y"]))
    with pytest.raises(ModelError, match=r"task segment: outputs 'y' .*\(1, classes, H, W\)"):
        export_model(path, task="segment")


@pytest.mark.parametrize(
    ("form", "classes"), [("softmax", 3), ("classes-last", 3), ("classes-last-behind", 3), ("one", 1), ("logits", 3)]
)
def test_the_runtime_reads_it(tmp_path: Path, form: str, classes: int) -> None:
    """Each class with its largest probability at any position."""
    done = export_model(saved(tmp_path, segmenter(form)), task="segment")
    frame = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    with Explainer(done.path) as explainer:
        found = explainer(frame, 0)
    assert found.target.index == 0
    assert sorted(item.index for item in found.classes) == list(range(classes))
    assert all(0 <= item.score <= 1 for item in found.classes)
    assert found.map.shape == (1, 9, 9)


def test_maps_of_classes_give_the_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    caplog.set_level(logging.INFO, logger="aerocam.export")
    path = zoo.ocr_model("ppocr-v4-det")
    done = export_model(path, tmp_path / "det.onnx", input_shapes={"x": (1, 3, 64, 64)}, check=False)
    assert done.manifest.task == "segment"
    assert "task: segment (output 'sigmoid_0.tmp_0' (1, 1, 64, 64) is a sigmoid at each position)" in caplog.text
