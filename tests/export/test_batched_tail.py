"""The part behind a layer on several activations at once: what the plain network gives for each of them alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import real_models
import tiny_detectors
from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.cli import main
from aerocam.errors import CheckError, ManifestError, ModelError, UsageError
from aerocam.export import check_export, export_model
from aerocam.export.gradients.stacking import RULES, Replay
from aerocam.runtime import Explainer, read_picture
from detector_cases import CASES as DETECTORS
from onnx_graphs import f32, model, node, run_ort, saved, tail, with_outputs
from small_networks import SIZE, cnn, segmenter

BATCH = 4
RULES_BEFORE = dict(RULES)


def moved(a: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """As it is, half of it, its channels in another order, and some of its positions emptied."""
    rng = np.random.default_rng(seed)
    kept = rng.random((1, 1, *a.shape[2:])) < 0.5
    return np.concatenate([a, a / 2, a[:, rng.permutation(a.shape[1])], a * kept])


def scores_of(path: Path, feeds: dict[str, NDArray], batch: NDArray, target: list[int]) -> NDArray[np.float32]:
    """What the tail's file of an export says."""
    proto = onnx.load(path.with_name(f"{path.stem}.tail.onnx"))
    names = {item.name for item in proto.graph.input}
    given = {**feeds, manifest.BATCH: batch, manifest.TARGET: np.int32(target)}
    return run_ort(proto, {name: array for name, array in given.items() if name in names}, [manifest.SCORES])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size", "target"),
    [
        ("lite0", "auto", (224, 224), [285]),
        ("lite0", "blocks.10/expand/act", (224, 224), [285]),
        ("ssdlite", "layer_19_2_Conv2d_3_3x3_s2_256/Relu6", (300, 300), [1, 1850]),
        ("yolov8n", "/model.21/cv2/act/Mul_output_0", (1024, 1024), [6, 21007]),
    ],
)
def test_equals_single_runs_of_the_plain_network(
    name: str, layer: str, size: tuple[int, int], target: list[int], tmp_path: Path
) -> None:
    source = zoo.ssdlite.model() if name == "ssdlite" else real_models.write(name, tmp_path)
    done = export_model(source, tmp_path / "m.cam.onnx", layers=layer, packaging="split", batch=BATCH, check=False)
    plain, written = onnx.load(source), done.manifest
    assert written.split is not None
    assert (written.split.tail, written.split.batch) == ("m.cam.tail.onnx", BATCH)
    image = {plain.graph.input[0].name: real_models.picture(*size)}
    own, output = written.layers[0].name, written.score.output
    behind = tail(plain, own, [output])
    sides = [item.name for item in behind.graph.input]
    for item in behind.graph.input:
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    computed = list(dict.fromkeys([*written.split.carried, *sides]))
    known = dict(zip(computed, run_ort(with_outputs(plain, computed), image, computed), strict=True))
    batch = moved(known[own])
    found = scores_of(done.path, known, batch, target)
    assert found.shape == (BATCH, 1)
    assert np.ptp(found) > 0.1
    for entry, score in zip(batch, found[:, 0], strict=True):
        (whole,) = run_ort(behind, {name: known[name] for name in sides} | {own: entry[None]}, [output])
        classes = np.moveaxis(whole.astype(np.float64), written.score.class_axis, 1)[0]
        value = classes[(written.score.class_offset + target[0], *target[1:])]
        if written.score.activation == "sigmoid":
            assert 1e-5 < value < 1 - 1e-3
            value = np.log(value / (1 - value))
        assert score == pytest.approx(value, rel=1e-4, abs=2e-3 if written.score.activation == "sigmoid" else 1e-4)


def exported(source: Path, **options: Any) -> tuple[Path, dict[str, NDArray]]:
    """An export with a tail, and the tensors that it carries on `IMAGE`."""
    path = source.with_name("m.cam.onnx")
    done = export_model(source, path, packaging="split", batch=BATCH, **options)
    assert done.manifest.split is not None
    forward = onnx.load(path)
    image = {forward.graph.input[0].name: IMAGES[forward.graph.input[0].type.tensor_type.shape.dim[2].dim_value]}
    names = [name for name in done.manifest.split.carried if name not in image]
    return path, dict(zip(names, run_ort(forward, image, names) if names else [], strict=True)) | image


IMAGES = {size: f32(1, 3, size, size, seed=8) for size in (6, 32)}


@pytest.mark.parametrize("name", DETECTORS)
def test_logits_of_every_layout(name: str, tmp_path: Path) -> None:
    """Also those that are no tensor of the graph; behind a softmax, the difference of two of them."""
    case = DETECTORS[name]
    proto, behind = tiny_detectors.build(case.build)
    path, known = exported(saved(tmp_path, case.file()), layers="p0", task="detect", targets=2, check=False)
    finished = case.score.label_at is not None
    anchor = 2
    (y,) = run_ort(proto, {"x": IMAGES[32]}, ["y"])
    first, second = (int(y[0, anchor, 5]),) * 2 if finished else (0, 1)
    batch = known["p0"] * np.float32([1, 1.001, 0.999, 1.002]).reshape(4, 1, 1, 1) if finished else moved(known["p0"])
    found = scores_of(path, known, batch, [first, anchor, second, anchor])
    assert np.ptp(found, axis=0).min() > 0
    for entry, score in zip(batch, found, strict=True):
        (y,) = run_ort(behind, {"p0": entry[None]}, ["y"])
        logits = case.logits(y.astype(float))[anchor]
        expected = logits[[0, 0]] if finished else logits[[first, second]]
        if case.link == "softmax":
            score, expected = np.diff(score), np.diff(expected)
        np.testing.assert_allclose(score, expected, rtol=2e-4, atol=2e-5)


def test_a_mask_is_that_of_the_picture(tmp_path: Path) -> None:
    """The mean logit where the class is predicted on the picture as it is, whatever it is elsewhere."""
    proto = segmenter("classes-last")
    path, known = exported(saved(tmp_path, proto), layers="features", task="segment")
    weight = numpy_helper.to_array(next(item for item in proto.graph.initializer if item.name == "c"))[:, :, 0, 0]
    batch = moved(known["features"])
    logits = np.einsum("oc,nchw->nohw", weight, batch)
    for target in range(3):
        found = scores_of(path, known, batch, [target])[:, 0]
        mask = logits[0].argmax(axis=0) == target
        assert mask.any()
        np.testing.assert_allclose(found, logits[:, target][:, mask].mean(axis=1), rtol=1e-4, atol=1e-5)


def test_a_likeness(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]), node("GlobalAveragePool", ["b"], ["p"])]
    proto = model([*nodes, node("Flatten", ["p"], ["y"])], {"x": IMAGES[6]}, {"w": f32(5, 3, 3, 3)}, ["y"])
    path, known = exported(saved(tmp_path, proto), layers="a", task="embed", targets=2)
    reference = f32(2, 5, seed=3)
    batch = moved(known["a"])
    found = scores_of(path, known | {manifest.REFERENCE: reference}, batch, [-1, -1])
    e = np.maximum(batch, 0).mean(axis=(2, 3))
    lengths = np.linalg.norm(e, axis=1)[:, None] * np.linalg.norm(reference, axis=1)
    np.testing.assert_allclose(found, e @ reference.T / lengths, rtol=1e-4, atol=1e-6)


def test_the_picture_itself_as_a_layer_makes_a_batched_model(tmp_path: Path) -> None:
    proto = cnn()
    path = export_model(saved(tmp_path, proto), tmp_path / "m.cam.onnx", layers="x", packaging="split", batch=3).path
    batch = f32(3, *SIZE[1:], seed=9)
    found = scores_of(path, {"x": f32(*SIZE)}, batch, [2])
    expected = [run_ort(proto, {"x": one[None]}, ["y"])[0][0, 2] for one in batch]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0, "packaging": "split"}, "`batch=0`: 1 or more is expected"),
        ({"batch": 4}, "`batch=4`: it is of a file of its own; give `packaging='split'` as well"),
        (
            {"batch": 4, "packaging": "split", "head": "gradcam"},
            "`batch=4`: it takes the layer's activations, which do",
        ),
        ({"batch": 4, "packaging": "split", "layers": ["r0", "r1"]}, r"`batch=4`: 2 target layers \(r0, r1\), one is"),
    ],
)
def test_a_tail_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(saved(tmp_path, cnn()), tmp_path / "never.onnx", **options)
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


def test_the_command_writes_three_files_that_belong_together(tmp_path: Path) -> None:
    source, output = saved(tmp_path, cnn()), tmp_path / "m.cam.onnx"
    call = ["export", str(source), "-o", str(output), "--packaging", "split", "--batch", "8"]
    assert main([*call, "--layer", "r0"]) == 0
    written = sorted(item.name for item in tmp_path.glob("m.*"))
    assert written == ["m.cam.explain.onnx", "m.cam.onnx", "m.cam.tail.onnx"]
    cv2.imwrite(str(tmp_path / "photo.png"), np.random.default_rng(0).integers(0, 255, (*SIZE[2:], 3), np.uint8))
    show = ["explain", "-q", str(output), str(tmp_path / "photo.png"), "-o", str(tmp_path), "--method"]
    for method in (["ablationcam", "--option", "fill=mean"], ["reciprocam", "--option", "gaussian=True"], ["rise"]):
        assert main([*show, *method]) == 0
        assert json.loads((tmp_path / "photo.cam.json").read_text())["method"] == method[0]
    with pytest.raises(UsageError, match="it explains only; give the file beside it"):
        Explainer(tmp_path / "m.cam.tail.onnx")
    shutil.copy(tmp_path / "m.cam.tail.onnx", tmp_path / "old.onnx")
    assert main([*call, "--layer", "r1"]) == 0
    shutil.move(tmp_path / "old.onnx", tmp_path / "m.cam.tail.onnx")
    with Explainer(output, method="reciprocam") as explainer, pytest.raises(ModelError, match="is of another export"):
        explainer(read_picture(tmp_path / "photo.png"))


@pytest.mark.parametrize("broken", ["Relu", "Flatten"])
def test_the_self_check_notices_activations_that_get_mixed_up(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixed(replay: Replay) -> ir.Value:
        """Every entry gets half of its neighbour's."""
        right = RULES_BEFORE[broken](replay)
        parts = replay.op.reshape(right, replay.count, -1)
        order = np.roll(np.arange(replay.count), 1)
        other = replay.op.Gather(parts, replay.op.integers(*order.tolist()), axis=0)
        mean = replay.op.Mul(replay.op.Add(parts, other), 0.5)
        return replay.op.reshape_like(mean, right)

    source = saved(tmp_path, cnn())
    options = {"layers": "c1", "packaging": "split", "batch": 4}
    export_model(source, tmp_path / "good.onnx", **options)  # type: ignore[arg-type]
    monkeypatch.setitem(RULES, broken, mixed)
    with pytest.raises(CheckError, match=r"the scores of several activations at once differ from those of one by"):
        export_model(source, tmp_path / "never.onnx", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "never.onnx").exists()


@pytest.mark.parametrize("head", [(), ("--head", "gradcam", "--tensors")])
def test_the_tail_is_checked_again(head: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = saved(tmp_path, cnn()), tmp_path / "m.cam.onnx"
    call = ["export", "-q", str(source), "--packaging", "split", "--batch", "4", *head]
    assert main([*call, "--layer", "r0", "-o", str(output)]) == 0
    assert main(["check", str(source), str(output)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("tail: the scores of several activations at once differ from those of one by ")
    assert float(line.split()[-2]) < 1e-5
    tail = tmp_path / "m.cam.tail.onnx"
    proto = onnx.load(tail)
    weight = next(item for item in proto.graph.initializer if len(item.dims) == 4)
    weight.raw_data = (numpy_helper.to_array(weight) * np.float32(1.5)).tobytes()
    onnx.save(proto, tail)
    with pytest.raises(CheckError, match="the scores of several activations at once differ"):
        check_export(source, output)
    assert main([*call, "--layer", "r1", "-o", str(tmp_path / "other.cam.onnx")]) == 0
    shutil.copy(tmp_path / "other.cam.tail.onnx", tail)
    with pytest.raises(ManifestError, match=r"m.cam.tail.onnx: it is of another export than"):
        check_export(source, output)
