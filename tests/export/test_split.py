"""A model in two files: nothing of the explanation on a frame nobody asks about, and the same maps where they do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.cli import main
from aerocam.errors import ModelError, UsageError
from aerocam.export import check_export, export_model
from aerocam.runtime import Explainer
from onnx_graphs import f32, model, run_ort, saved

PRODUCER, BESIDE = "blocks.4/depthwise/act", "blocks.3/project/conv"
"""A layer with a residual connection around it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lite0 at two layers, fused and split, one target and three."""
    made = tmp_path_factory.mktemp("split")
    for name, layer, targets in (("last", "auto", 1), ("middle", PRODUCER, 1), ("three", PRODUCER, 3)):
        for packaging in ("fused", "split"):
            export_model(
                zoo.lite0.model(),
                made / f"{name}.{packaging}.onnx",
                layers=layer,
                targets=targets,
                packaging=packaging,
                preprocess=zoo.lite0.PREPROCESS,
                check=False,
            )
    return made


def names(path: Path) -> tuple[list[str], list[str]]:
    """Inputs and outputs of a file."""
    graph = onnx.load(path).graph
    return [item.name for item in graph.input], [item.name for item in graph.output]


def test_the_forward_file_is_the_original_with_the_layer_as_an_output(folder: Path) -> None:
    path = folder / "middle.split.onnx"
    assert names(path) == (["images"], ["logits", PRODUCER, BESIDE])
    plain = onnx.load(zoo.lite0.model())
    forward = onnx.load(path)
    assert [node.op_type for node in forward.graph.node] == [node.op_type for node in plain.graph.node]
    image = {"images": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    (expected,), (found,) = (run_ort(proto, image, ["logits"], optimize=False) for proto in (plain, forward))
    np.testing.assert_array_equal(found, expected)


def test_the_explaining_file_has_what_is_behind_the_layer_alone(folder: Path) -> None:
    path = folder / "middle.split.explain.onnx"
    inputs, outputs = names(path)
    assert sorted(inputs) == sorted([PRODUCER, BESIDE, manifest.TARGET])
    assert outputs == [manifest.CHOSEN, manifest.SCORE, "aerocam_gradients_0"]
    computed = {name for node in onnx.load(path).graph.node for name in node.output}
    assert "stem/act" not in computed
    assert "head/act" in computed
    last = [node.op_type for node in onnx.load(folder / "last.split.explain.onnx").graph.node]
    assert len(last) < 15
    assert "GlobalAveragePool" in last


@pytest.mark.parametrize("name", ["last", "middle", "three"])
def test_maps_are_those_of_the_fused_file(folder: Path, name: str) -> None:
    frame = zoo.photograph("coffee")
    wanted = [-1, 285, -2, 3]
    with Explainer(folder / f"{name}.fused.onnx") as fused, Explainer(folder / f"{name}.split.onnx") as split:
        for targets in (None, 285, wanted):
            a, b = fused(frame, targets), split(frame, targets)
            assert [target.index for target in a.targets] == [target.index for target in b.targets]
            assert [target.logit for target in a.targets] == pytest.approx([target.logit for target in b.targets])
            np.testing.assert_allclose(a.raw, b.raw, rtol=0, atol=1e-6 * np.abs(a.raw).max())
        singles = [fused(frame, target).raw[0] for target in (-1, 285, b.targets[2].index, 3)]
    assert len(b.targets) == 4
    assert b.targets[2].index == b.classes[1].index
    np.testing.assert_allclose(b.raw, singles, rtol=0, atol=1e-5 * np.abs(b.raw).max())


def test_a_frame_is_predicted_first_and_explained_when_asked(folder: Path) -> None:
    with Explainer(folder / "last.split.onnx") as explainer:
        prediction = explainer.predict(zoo.photograph("coffee"))
        top = prediction.classes[0]
        assert top.score == pytest.approx(0.95, abs=0.02)
        assert explainer._passes._half is None  # type: ignore[attr-defined]  # nothing that explains is even loaded
        for target in (top.index, 3):
            assert explainer.explain(prediction, target).target.index == target
        explainer.predict(zoo.photograph("chelsea"))
        with pytest.raises(UsageError, match=r"of frame 1, the model has seen frame 2 since; explain a frame before"):
            explainer.explain(prediction)


def test_a_fused_file_runs_again_for_other_targets_only(folder: Path) -> None:
    with Explainer(folder / "last.fused.onnx") as explainer:
        runs: list[int] = []
        run = explainer.session.run
        explainer.session.run = lambda *args: runs.append(1) or run(*args)  # type: ignore[method-assign, func-returns-value]
        prediction = explainer.predict(zoo.photograph("coffee"))
        explainer.explain(prediction)
        assert len(runs) == 1
        assert explainer.explain(prediction, 3).target.index == 3
        assert len(runs) == 2


def test_the_check_joins_both_files(folder: Path) -> None:
    report = check_export(zoo.lite0.model(), folder / "three.split.onnx")
    assert report.outputs <= 1e-6
    assert report.gradients[PRODUCER] < 0.05


def test_halves_that_do_not_belong_together(folder: Path, tmp_path: Path) -> None:
    frame = zoo.photograph("coffee")
    for name in ("last.split.onnx", "last.split.explain.onnx"):
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(UsageError, match=r"it explains only; give the file beside it that runs on every frame"):
        Explainer(tmp_path / "last.split.explain.onnx")
    shutil.copy(folder / "middle.split.explain.onnx", tmp_path / "last.split.explain.onnx")
    with Explainer(tmp_path / "last.split.onnx") as explainer, pytest.raises(ModelError, match="is of another export"):
        explainer(frame)
    (tmp_path / "last.split.explain.onnx").unlink()
    with Explainer(tmp_path / "last.split.onnx") as explainer, pytest.raises(ModelError, match="there is no such file"):
        explainer(frame)


def test_the_command_writes_both(tmp_path: Path) -> None:
    output = tmp_path / "m.cam.onnx"
    arguments = ["--packaging", "split", "--targets", "2", "-o", str(output)]
    assert main(["export", str(zoo.lite0.model()), *arguments]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.cam.explain.onnx", "m.cam.onnx"]
    with Explainer(output) as explainer:
        assert explainer.manifest.score.targets == 2


def test_a_layer_that_is_the_models_output_is_not_overwritten_by_runs_on_other_pictures(tmp_path: Path) -> None:
    """No node has a name, and SmoothGrad runs both files many times between two explanations of one frame."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["features"], pads=[1] * 4),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Conv", ["positive", "c"], ["y"]),
    ]
    weights = {"k": f32(4, 3, 3, 3), "c": f32(3, 4, 1, 1, seed=5)}
    source = saved(tmp_path, model(nodes, {"x": f32(1, 3, 6, 6)}, weights, ["y"]))
    frame = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    found = {}
    for packaging in ("fused", "split"):
        done = export_model(
            source, tmp_path / f"{packaging}.onnx", layers=["x", "y"], task="segment", packaging=packaging
        )
        with Explainer(done.path, method="smoothgrad") as explainer:
            prediction = explainer.predict(frame)
            explanations = [explainer.explain(prediction, target) for target in (1, 2)]
        found[packaging] = [(item.target.score, item.predicted[0], item.raw) for item in explanations]
    for fused, split in zip(found["fused"], found["split"], strict=True):
        np.testing.assert_allclose(split[0], fused[0], rtol=1e-5)
        np.testing.assert_array_equal(split[1], fused[1])
        np.testing.assert_allclose(split[2], fused[2], rtol=1e-4, atol=1e-6)
