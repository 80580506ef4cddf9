"""`export_model` from file to file: what is written, what it says of itself, and that a failure leaves nothing."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import aerocam
from aerocam import manifest
from aerocam.errors import AerocamError, CheckError, ManifestError, ModelError, UsageError, WriteError
from aerocam.export import CheckReport, check_export, export_model
from aerocam.export.checking.gradients import KINKS, gradient_error
from aerocam.export.checking.report import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.preprocessing import PRESETS, default_preprocess
from aerocam.export.reading.opset import IR_VERSION, OPSET
from onnx_graphs import f32, read_manifest, run_ort, saved, with_input
from small_networks import SIZE, cnn, two_channels
from two_scale_detector import LABELS, ultralytics

node = helper.make_node


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the exporter says, whatever the command line did to the logger before."""
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    caplog.set_level(logging.INFO, "aerocam.export")
    return caplog


def test_the_file_and_its_manifest(tmp_path: Path) -> None:
    proto = cnn(12)
    proto.producer_name, proto.producer_version = "pytorch", "1.8"
    helper.set_model_props(proto, {"author": "me", "license": "none"})
    path = saved(tmp_path, proto)
    done = export_model(path, labels=["a", "b", "c", "d", "e"])
    assert done.path == tmp_path / "model.cam.onnx"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.cam.onnx", "model.onnx"]
    assert read_manifest(done.path) == done.manifest == manifest.Manifest(
        task="classify",
        layers=(manifest.Layer("r1", "spatial", (1, 6, 8, 8), "r1", "aerocam_gradients_0"),),
        score=manifest.Score("y", "none", 5, link="softmax"),
        preprocess=manifest.Preprocess("x", (8, 8), resize="crop", short_side=9, **{  # type: ignore[arg-type]
            name: PRESETS["imagenet"][name] for name in ("mean", "std", "interpolation")
        }),
        source=manifest.Source(hashlib.sha256(path.read_bytes()).hexdigest(), "model.onnx", 12, "pytorch 1.8"),
        labels=("a", "b", "c", "d", "e"),
        decisions=done.manifest.decisions,
        aerocam=aerocam.__version__,
    )  # fmt: skip
    written = onnx.load(done.path)
    onnx.checker.check_model(written, full_check=True)
    assert (written.ir_version, [(item.domain, item.version) for item in written.opset_import]) == (
        IR_VERSION,
        [("", OPSET)],
    )
    assert (written.producer_name, written.producer_version) == ("aerocam", aerocam.__version__)
    assert {item.key for item in written.metadata_props} == {"author", "license", manifest.KEY}
    names = [item.name for item in written.graph.node if item.name]
    assert len(names) == len(set(names))
    assert {"stem", "layer3", "classifier"} <= set(names)
    assert len(written.graph.node) == done.nodes_after > done.nodes_before == 7
    assert [item.name for item in written.graph.input] == ["x", manifest.TARGET]
    outputs = ["y", manifest.CHOSEN, manifest.SCORE, "r1", "aerocam_gradients_0"]
    assert [item.name for item in written.graph.output] == outputs
    assert done.report is not None
    assert done.report.outputs <= OUTPUT_TOLERANCE
    assert done.report.gradients["r1"] < KINKS


def test_the_file_tells_nothing_of_where_it_was_made(tmp_path: Path) -> None:
    """No folder, no source file, no notes of the libraries that build it."""
    done = export_model(saved(tmp_path, cnn()))
    written = onnx.load(done.path)
    data = done.path.read_bytes()
    for place in (tmp_path, Path.cwd(), Path(sys.prefix), Path(aerocam.__file__).parent):
        assert str(place).encode() not in data
    assert not re.search(rb"\.py\b|pkg\.onnxscript|site-packages", data)
    assert not [item.name for item in written.graph.node if item.metadata_props or item.doc_string]
    assert not [item.name for item in (*written.graph.value_info, *written.graph.initializer) if item.metadata_props]


def test_original_outputs_do_not_change_by_a_bit(tmp_path: Path) -> None:
    proto = cnn()
    written = onnx.load(export_model(saved(tmp_path, proto)).path)
    feeds = {"x": f32(*SIZE, seed=8)}
    (plain,) = run_ort(proto, feeds, optimize=False)
    for target in (-1, 0, 4):
        explained = run_ort(written, {**feeds, manifest.TARGET: np.int32([target])}, ["y"], optimize=False)
        np.testing.assert_array_equal(explained[0], plain)


def test_two_layers(tmp_path: Path) -> None:
    """Each has the activations of its own tensor and the gradients it has alone."""
    path = saved(tmp_path, cnn())
    feeds = {"x": f32(*SIZE, seed=8), manifest.TARGET: np.int32([2])}
    done = export_model(path, layers=["r1", "stem"])
    assert [(item.name, item.shape, item.gradients) for item in done.manifest.layers] == [
        ("r1", (1, 6, 8, 8), "aerocam_gradients_0"),
        ("c0", (1, 4, 8, 8), "aerocam_gradients_1"),
    ]
    assert done.report is not None
    assert list(done.report.gradients) == ["r1", "c0"]
    for i, layer in enumerate(("r1", "c0")):
        alone = onnx.load(export_model(path, tmp_path / f"{layer}.onnx", layers=layer).path)
        ones = run_ort(alone, feeds, [layer, "aerocam_gradients_0"])
        twos = run_ort(onnx.load(done.path), feeds, [layer, f"aerocam_gradients_{i}"])
        for one, two in zip(ones, twos, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "names", ["{0: 'cat', 1: 'dog', 2: 'emu'}", "['cat', 'dog', 'emu']", "{2: 'emu', 0: 'cat', 1: 'dog'}"]
)
def test_ultralytics_metadata_says_task_labels_and_preprocessing(tmp_path: Path, names: str) -> None:
    done = export_model(saved(tmp_path, ultralytics(names)))
    assert (done.manifest.task, done.manifest.labels) == ("detect", ("cat", "dog", "emu"))
    assert done.manifest.score == manifest.Score("output0", "sigmoid", LABELS, 4, 20)
    expected = manifest.Preprocess("x", (16, 16), "RGB", "letterbox", 0, "linear", (0.0,) * 3, (255.0,) * 3, 114)
    assert done.manifest.preprocess == expected
    kept = {item.key: item.value for item in onnx.load(done.path).metadata_props}
    assert {**kept, manifest.KEY: ""} == {
        "names": names, "stride": "32", "task": "detect", "imgsz": "[16, 16]", manifest.KEY: "",
    }  # fmt: skip
    assert [item.name for item in done.manifest.layers] == ["n0", "n1"]


@pytest.mark.parametrize(
    "names", ["{0: 'cat'}", "5", "None", "{", "{0: 'cat', 'x': 'dog'}", "'cat'", "__import__('os')"]
)
def test_class_names_that_do_not_fit_are_left_out_with_a_word(
    tmp_path: Path, log: pytest.LogCaptureFixture, names: str
) -> None:
    assert export_model(saved(tmp_path, ultralytics(names)), check=False).manifest.labels == ()
    assert "classes go by number" in log.text


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (12, 8)])
def test_any_frame_covers_the_default_crop(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(tmp_path, with_input(cnn(), 1, 3, *size))
    rule = export_model(path, preprocess={"resize": "crop"}, check=False).manifest.preprocess
    assert (rule.resize, rule.size, rule.short_side) == ("crop", size, round(max(size) * 256 / 224))


def test_one_channel_is_gray(tmp_path: Path) -> None:
    proto = with_input(cnn(), 1, 1, 8, 8)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(f32(4, 1, 3, 3), "w0"))
    rule = export_model(saved(tmp_path, proto)).manifest.preprocess
    assert (rule.color, rule.mean, rule.std) == ("GRAY", (123.675,), (58.395,))


def two_images() -> onnx.ModelProto:
    proto = cnn()
    proto.graph.input.append(helper.make_tensor_value_info("x2", 1, SIZE))
    proto.graph.node.insert(0, node("Add", ["x", "x2"], ["both"]))
    proto.graph.node[1].input[0] = "both"
    return proto


def unknown_operator() -> onnx.ModelProto:
    proto = cnn()
    proto.graph.node.append(node("Count", ["r0"], ["z"], name="count", domain="my.ops"))
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, [1]))
    proto.opset_import.append(helper.make_opsetid("my.ops", 1))
    return proto


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any], type[AerocamError], str]] = {
    "batch-given": (
        lambda: with_input(cnn(), "n", 3, 8, 8), {"input_shapes": {"x": (2, 3, 8, 8)}}, ModelError, "batch of 1",
    ),
    "two-channels": (
        two_channels, {"preprocess": partial(default_preprocess, preset="imagenet")}, UsageError,
        r"numbers for red, green and blue, the input 2 channels; take `preset='unit'`",
    ),
    "two-images": (two_images, {}, ModelError, r"'x' .*, 'x2' .*exactly one picture .*fix the others with `fix`"),
    "dynamic": (
        lambda: with_input(cnn(), 1, 3, "h", "w"), {}, UsageError, r"add `input_shapes=\{'x': \(1, 3, 224, 224\)\}`",
    ),
    "head": (cnn, {"head": "gradcan"}, UsageError, r"`head='gradcan'`: no such fused method\. Did you mean 'gradcam'"),
    "head-of-two": (cnn, {"head": "gradcam", "layers": ["r0", "r1"]}, UsageError, r"2 target layers \(r0, r1\)"),
    "nothing": (cnn, {"tensors": False}, UsageError, "nothing to emit"),
    "labels": (cnn, {"labels": ["one"]}, UsageError, "1 names for 5 classes"),
    "layer": (cnn, {"layers": "nowhere"}, UsageError, "no such tensor, node or module"),
    "provider": (cnn, {"providers": ["NoSuchProvider"]}, UsageError, "'NoSuchProvider' is not in this ONNX"),
    "unknown-operator": (unknown_operator, {}, ModelError, r"cannot run the model .*my\.ops:Count.*`check=False`"),
    "task": (lambda: ultralytics("[]", "track"), {}, ModelError, "names task 'track'; classify, detect, segment, pose"),
    "wrong-task": (cnn, {"task": "detect"}, ModelError, r"task detect: outputs 'y' \['1', '5'\]; one of shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_leaves_no_file(tmp_path: Path, case: str) -> None:
    make, arguments, error, message = REFUSED[case]
    path = saved(tmp_path, make())
    with pytest.raises(error, match=message):
        export_model(path, **arguments)
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


def test_an_unknown_operator_off_the_path_goes_through_unchecked(tmp_path: Path) -> None:
    written = onnx.load(export_model(saved(tmp_path, unknown_operator()), check=False).path)
    (kept,) = [item for item in written.graph.node if item.domain]
    assert (kept.op_type, kept.domain, kept.name, list(kept.input)) == ("Count", "my.ops", "count", ["r0"])


def test_an_exported_file_is_not_exported_again(tmp_path: Path) -> None:
    done = export_model(saved(tmp_path, cnn()))
    with pytest.raises(UsageError, match="been through `aerocam export` already; export the original"):
        export_model(done.path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.cam.onnx", "model.onnx"]


def test_the_model_is_never_written_over(tmp_path: Path) -> None:
    path = saved(tmp_path, cnn())
    (tmp_path / "link.onnx").symlink_to(path)
    before = path.read_bytes()
    for output in (path, tmp_path / "." / "model.onnx", tmp_path / "link.onnx"):
        with pytest.raises(UsageError, match="that is the model itself; choose another name"):
            export_model(path, output)
    assert path.read_bytes() == before


def test_the_output_s_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder '.*absent'; make it first"):
        export_model(saved(tmp_path, cnn()), tmp_path / "absent" / "out.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(WriteError, match=r"folder\.onnx: cannot write it"):
        export_model(tmp_path / "model.onnx", tmp_path / "folder.onnx")
    with pytest.raises(UsageError, match=r"found the suffix '\.engine', expected \.onnx"):
        export_model(tmp_path / "model.onnx", tmp_path / "out.engine")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder.onnx", "model.onnx"]


WRONG: dict[str, Callable[..., Any]] = {
    "sign": lambda op, node, dy: [op.Neg(dy)],
    "lost": lambda op, node, dy: [op.Mul(dy, 0.0)],
    "double": lambda op, node, dy: [op.Mul(dy, 2.0)],
    "half": lambda op, node, dy: [op.Mul(dy, 0.5)],
    "not-a-number": lambda op, node, dy: [op.Div(op.Mul(dy, 0.0), op.Mul(dy, 0.0))],
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_rule_is_found_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """An older file of the same name stays as it was."""
    path, old = saved(tmp_path, cnn()), tmp_path / "model.cam.onnx"
    old.write_bytes(b"older")
    monkeypatch.setitem(ADJOINTS, "Relu", WRONG[fault])
    found = "are not finite" if fault == "not-a-number" else "differ from finite differences by"
    with pytest.raises(CheckError, match=f"layer 'c1': its gradients {found}"):
        export_model(path, layers="c1")
    assert old.read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 2
    assert export_model(path, layers="c1", check=False).report is None


def test_a_check_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, with_input(cnn(), "n", 3, "h", "w"))
    shapes = {"x": SIZE}
    done = export_model(path, layers=["r0", "r1"], input_shapes=shapes)
    assert check_export(path, done.path, input_shapes=shapes) == done.report
    alone = export_model(path, tmp_path / "alone.onnx", head="gradcam", input_shapes=shapes)
    assert check_export(path, alone.path, input_shapes=shapes).gradients == {}
    monkeypatch.setitem(ADJOINTS, "Relu", WRONG["sign"])
    wrong = export_model(path, tmp_path / "wrong.onnx", layers="c1", input_shapes=shapes, check=False)
    report = check_export(path, wrong.path, input_shapes=shapes)
    assert report.gradients["c1"] > GRADIENT_TOLERANCE
    with pytest.raises(CheckError):
        report.require()


def test_a_check_of_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, cnn())
    done = export_model(path)
    other = saved(tmp_path, cnn(11), "other.onnx")
    with pytest.raises(ManifestError, match=r"made of 'model\.onnx', not of this .*other\.onnx"):
        check_export(other, done.path)
    with pytest.raises(ManifestError, match=r"other\.onnx: it carries no manifest; make it with: aerocam export"):
        check_export(path, other)
    with pytest.raises(UsageError, match=r"give them the other way round"):
        check_export(done.path, path)
    with pytest.raises(ModelError, match=r"absent\.onnx: no such file"):
        check_export(tmp_path / "absent.onnx", done.path)


@pytest.mark.parametrize(
    ("outputs", "gradient", "error", "warns"),
    [
        (OUTPUT_TOLERANCE, 0.0, "", False),
        (OUTPUT_TOLERANCE * 1.01, 0.0, "the exported model's outputs differ from the original's by", False),
        (float("nan"), 0.0, "outputs differ", False),
        (float("inf"), 0.0, "outputs differ", False),
        (0.0, KINKS, "", False),
        (0.0, KINKS * 1.01, "", True),
        (0.0, GRADIENT_TOLERANCE, "", True),
        (0.0, GRADIENT_TOLERANCE * 1.01, "layer 'relu': its gradients differ from finite differences by", False),
        (0.0, float("nan"), "its gradients are not finite", False),
        (0.0, float("inf"), "its gradients are not finite", False),
    ],
)
def test_what_a_report_lets_pass(
    log: pytest.LogCaptureFixture, outputs: float, gradient: float, error: str, warns: bool
) -> None:
    report = CheckReport(outputs, {"relu": gradient}, "SomeProvider")
    if error:
        with pytest.raises(CheckError, match=f"{error}.*SomeProvider"):
            report.require()
    else:
        assert report.require() is report
    warned = [item.getMessage() for item in log.records if item.levelno == logging.WARNING]
    assert ["layer 'relu': gradients and finite" in text for text in warned] == [True] * warns


def test_the_tolerances_keep_faults_and_kinks_apart() -> None:
    """A lost gradient is off by 1, a wrong sign by 2: both far above what kinks may do."""
    assert 0 < OUTPUT_TOLERANCE < KINKS < GRADIENT_TOLERANCE < 1


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, 0.0), (-1.0, 2.0), (2.0, 1.0), (1.2, 0.2), (0.5, 1.0), (np.nan, np.inf)]
)
def test_the_error_of_a_gradient_is_relative_to_it(factor: float, expected: float) -> None:
    """Along the gradient itself: |1 - factor| over the smaller of 1 and |factor|."""
    weights, activations = f32(1, 4, 3, 3), f32(1, 4, 3, 3, seed=1)

    def run(offset: np.ndarray) -> float:
        return float(np.vdot(weights.astype("f8"), offset))

    assert gradient_error(run, np.float32(factor) * weights, activations) == pytest.approx(expected, rel=0.2, abs=1e-4)


def test_a_layer_that_is_an_output_of_the_model_already(tmp_path: Path) -> None:
    """It keeps its place and is there once, whether or not activations leave the graph."""
    proto = cnn()
    proto.graph.output.append(helper.make_tensor_value_info("r1", onnx.TensorProto.FLOAT, (1, 6, 8, 8)))
    path = saved(tmp_path, proto)
    done = export_model(path, layers="r1")
    assert done.manifest.layers[0].activations == "r1"
    outputs = ["y", "r1", manifest.CHOSEN, manifest.SCORE]
    assert [item.name for item in onnx.load(done.path).graph.output] == [*outputs, "aerocam_gradients_0"]
    fused = export_model(path, layers="r1", head="gradcam")
    assert [item.name for item in onnx.load(fused.path).graph.output] == [*outputs, manifest.MAP]
