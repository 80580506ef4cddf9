"""Files with fused ends: what is in them, what the runtime and the commands make of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from aerocam import manifest
from aerocam.errors import CheckError, ManifestError, UsageError
from aerocam.export import check_export, export_model
from aerocam.manifest import FRAME, MAP, OVERLAY, Head, Manifest, Preprocess
from aerocam.runtime import Explainer
from onnx_graphs import f32, model, saved
from runtime_fixtures import moving_square, noise, read_video, run_cli, write_video
from small_networks import SIZE, cnn

RULE = Preprocess("x", (8, 8), mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0))
CROP = replace(RULE, resize="crop", short_side=10)
LETTERBOX = replace(RULE, resize="letterbox")
CROP_OF_A_STRIP = replace(RULE, resize="crop", short_side=30)
FRAME_SIZE = (30, 44)


def exported(folder: Path, rule: Preprocess = RULE, name: str = "fused.onnx", **options: Any) -> Path:
    """The small network with a head at `r0`, and what else is asked for."""
    common = {"layers": "r0", "head": "gradcam", "preprocess": rule} | options
    return export_model(saved(folder, cnn()), folder / name, **common).path


def names(path: Path) -> tuple[list[str], list[str]]:
    graph = onnx.load(path).graph
    return [item.name for item in graph.input], [item.name for item in graph.output]


def test_a_file_says_what_goes_in_and_comes_out(tmp_path: Path) -> None:
    path = exported(tmp_path, frame=FRAME_SIZE, map_form="frame", overlay=True)
    assert names(path) == ([FRAME, manifest.TARGET], ["y", manifest.CHOSEN, manifest.SCORE, MAP, OVERLAY])
    graph = onnx.load(path).graph
    shapes = {
        item.name: (item.type.tensor_type.elem_type, [dim.dim_value for dim in item.type.tensor_type.shape.dim])
        for item in (*graph.input, *graph.output)
    }
    assert shapes[FRAME] == shapes[OVERLAY] == (onnx.TensorProto.UINT8, [30, 44, 3])
    assert shapes[MAP] == (onnx.TensorProto.FLOAT, [1, 30, 44])
    with Explainer(path) as explainer:
        assert explainer.manifest.preprocess == replace(RULE, frame=FRAME_SIZE)
        assert explainer.manifest.head == Head("gradcam", MAP, "frame", OVERLAY)


@pytest.mark.parametrize("rule", [RULE, CROP, LETTERBOX], ids=lambda rule: rule.resize)
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("form", ["raw", "layer", "frame"])
def test_a_frame_in_and_an_overlay_out_are_the_steps_of_the_runtime(
    tmp_path: Path, rule: Preprocess, targets: int, form: manifest.MapForm
) -> None:
    frame = noise(FRAME_SIZE)
    plain = exported(tmp_path, rule, "plain.onnx", targets=targets)
    fused = exported(tmp_path, rule, frame=FRAME_SIZE, map_form=form, overlay=True, targets=targets)
    wanted = [None, 3, 1][:targets]
    with Explainer(plain) as one, Explainer(fused) as other:
        expected, found = one(frame, wanted), other(frame, wanted)
    assert [target.index for target in found.targets] == [target.index for target in expected.targets]
    np.testing.assert_allclose([t.logit for t in found.targets], [t.logit for t in expected.targets], rtol=1e-5)
    np.testing.assert_allclose(found.map, expected.map, atol=1e-5)
    assert found.map.max() > 0.5
    pictures = [one.overlay(caption=False).astype(int) for one in (found, expected)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    np.testing.assert_array_equal(found.overlay(caption=False), found.drawn)
    if form == "raw":
        np.testing.assert_allclose(found.raw, expected.raw, rtol=1e-4, atol=1e-6)
    else:
        with pytest.raises(UsageError, match=rf"raw: the model gives its map normalised \({form}\)"):
            _ = found.raw
    if form == "frame":
        with pytest.raises(UsageError, match="tensor_map: the model gives its map over the frame"):
            _ = found.tensor_map
    else:
        np.testing.assert_allclose(found.tensor_map, expected.tensor_map, atol=1e-5)
    if form == "frame" and targets > 1:
        return  # the strongest is chosen after the resize, elsewhere before
    for look in ({"alpha": 0.3}, {"colormap": "turbo"}, {"target": 0}, {"regions": "otsu", "caption": True}):
        difference = np.abs(found.overlay(**look).astype(int) - expected.overlay(**look))  # type: ignore[arg-type]
        assert (difference > 3).mean() < 0.01


def test_captions_are_drawn_on_a_copy(tmp_path: Path) -> None:
    with Explainer(exported(tmp_path, frame=(60, 90), overlay=True)) as explainer:
        first = explainer(noise((60, 90)))
        kept = first.drawn.copy()  # type: ignore[union-attr]
        captioned = first.overlay()
        explainer(noise((60, 90), seed=5), 2)
    assert (captioned != kept).any()
    np.testing.assert_array_equal(first.drawn, kept)
    np.testing.assert_array_equal(first.overlay(caption=False), kept)


def test_a_map_over_the_tensor_where_no_frame_goes_in(tmp_path: Path) -> None:
    frame = noise((33, 21))
    with (
        Explainer(exported(tmp_path, CROP, "plain.onnx")) as one,
        Explainer(exported(tmp_path, CROP, map_form="frame")) as other,
    ):
        expected, found = one(frame), other(frame)
    assert found.form == "tensor"
    assert found.raws[0].shape == (1, 8, 8)
    np.testing.assert_allclose(found.tensor_map, expected.tensor_map, atol=1e-5)
    np.testing.assert_allclose(found.map, expected.map, atol=1e-5)


def test_more_targets_than_a_pass_takes_are_drawn_from_their_maps(tmp_path: Path) -> None:
    frame = noise(FRAME_SIZE)
    with Explainer(exported(tmp_path, frame=FRAME_SIZE, map_form="layer", overlay=True, targets=2)) as fused:
        few, many = fused(frame, [3]), fused(frame, [0, 1, 2])
        alone = [fused(frame, index).map[0] for index in (0, 1, 2)]
    assert few.drawn is not None
    assert many.drawn is None
    np.testing.assert_allclose(many.map, alone, atol=1e-6)
    assert many.overlay().shape == frame.shape


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with Explainer(exported(tmp_path, frame=FRAME_SIZE)) as explainer:
        for bad in (noise((44, 30)), noise(FRAME_SIZE)[..., 0], noise(FRAME_SIZE).astype(np.float32)):
            with pytest.raises(UsageError, match=r"frame: got .* takes uint8 \(30, 44, 3\) in BGR alone; resize it to"):
                explainer(bad)
        explainer(np.ascontiguousarray(noise((30, 88)))[:, ::2])  # a view that is not contiguous


def test_grey_frames_for_a_grey_model(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    source = saved(tmp_path, model(nodes, {"x": f32(1, 1, 8, 8)}, {"w": f32(5, 1, 3, 3)}, ["y"]))
    rule = Preprocess("x", (8, 8), "GRAY", mean=(100.0,), std=(50.0,))
    paths = [
        export_model(source, tmp_path / f"{size}.onnx", preprocess=rule, frame=size, head="gradcam").path
        for size in (None, (20, 30))
    ]
    colour = noise((20, 30))
    with Explainer(paths[0]) as one, Explainer(paths[1]) as other:
        for frame in (colour, cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)):
            np.testing.assert_allclose(other(frame).raw, one(frame).raw, rtol=1e-4)


def test_a_float16_model_gets_its_tensor_in_float16(tmp_path: Path) -> None:
    """Its maps are float32 all the same; the runtime itself makes no float16 tensors."""
    proto = cnn()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("f2"), tensor.name))
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    options: dict[str, Any] = {"layers": "r0", "head": "gradcam", "preprocess": RULE, "overlay": True}
    half = export_model(saved(tmp_path, proto, "half.onnx"), frame=FRAME_SIZE, **options)
    assert half.report is not None
    single = exported(tmp_path, frame=FRAME_SIZE, overlay=True)
    with Explainer(half.path) as one, Explainer(single) as other:
        found, expected = one(noise(FRAME_SIZE), 2), other(noise(FRAME_SIZE), 2)
    assert found.raw.dtype == np.float32
    np.testing.assert_allclose(found.map, expected.map, atol=0.02)


def test_a_split_model_takes_the_frame_in_front(tmp_path: Path) -> None:
    frame = noise(FRAME_SIZE)
    options = {"frame": FRAME_SIZE, "packaging": "split", "map_form": "layer"}
    path = exported(tmp_path, **options)
    assert names(path) == ([FRAME], ["y", "r0"])
    assert sorted(names(path.with_suffix(".explain.onnx"))[0]) == [manifest.TARGET, "r0"]
    with Explainer(exported(tmp_path, name="plain.onnx")) as one, Explainer(path) as other:
        np.testing.assert_allclose(other(frame).map, one(frame).map, atol=1e-5)
    report = check_export(tmp_path / "model.onnx", path)
    assert report.ends is not None
    assert report.outputs == report.ends.outputs == 0


def test_a_split_model_whose_tail_reads_the_image_carries_the_tensor(tmp_path: Path) -> None:
    """The layer is a side branch: what else reaches the score begins at the image itself."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Mul", ["r", "x"], ["m"]),
        helper.make_node("GlobalAveragePool", ["m"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    source = saved(tmp_path, model(nodes, {"x": f32(*SIZE)}, {"w": f32(3, 3, 3, 3)}, ["y"]))
    common: dict[str, Any] = {"layers": "r", "preprocess": RULE, "packaging": "split"}
    plain = export_model(source, tmp_path / "plain.onnx", **common).path
    fused = export_model(source, tmp_path / "fused.onnx", frame=FRAME_SIZE, **common).path
    assert names(fused) == ([FRAME], ["y", "r", "x"])
    frame = noise(FRAME_SIZE)
    with Explainer(plain) as one, Explainer(fused) as other:
        np.testing.assert_allclose(other(frame, 1).raw, one(frame, 1).raw, rtol=1e-5, atol=1e-6)


NO_HEAD = {"head": None, "tensors": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {**NO_HEAD, "map_form": "layer"},
            r"`map_form='layer'`: no fused head, whose map that would be; add `head='gradcam'`",
        ),
        ({**NO_HEAD, "frame": (8, 8), "overlay": True}, r"`overlay`: no fused head"),
        ({"overlay": True}, r"`overlay`: it is drawn over the frame.*; add `frame=\(H, W\)`"),
        (
            {"overlay": True, "frame": (8, 8), "packaging": "split"},
            r"`overlay`: .*; export without `packaging='split'`",
        ),
        ({"frame": (0, 8)}, r"`frame=\(0, 8\)`: height and width in px are expected, as in \(720, 1280\)"),
        (
            {"frame": (1, 90), "preprocess": CROP_OF_A_STRIP},
            r"`frame=\(1, 90\)`: the model would see less than a pixel of it",
        ),
        ({**NO_HEAD, "frame": (8, 8), "layers": ["x", "r0"]}, r"`frame=\(8, 8\)`: the input 'x' is a target layer"),
        ({**NO_HEAD, "frame": (8, 8), "guided": True}, r"`frame=\(8, 8\)`: the input 'x' is a target layer"),
        (
            {"frame": (8, 8), "preprocess": None},
            r"`frame=\(8, 8\)`: the model's input is no picture; export without it",
        ),
        (
            {"map_form": "frame", "preprocess": None},
            r"`map_form='frame'`: the model's input is no picture; take `map_form='layer'`",
        ),
        (
            {"frame": (100, 100), "preprocess": replace(RULE, size=(8, 8), resize="crop", short_side=6)},
            r"frame of 100x100 px: with its short side at 6 px it is 6x6, smaller than the centre crop of 8x8",
        ),
    ],
)
def test_what_cannot_be_fused_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    if options.get("preprocess", RULE) is None:
        options = {**options, "preprocess": lambda _: None}
    with pytest.raises(UsageError, match=message):
        exported(tmp_path, **options)
    assert not (tmp_path / "fused.onnx").exists()


def test_what_speaks_against_is_not_in_a_normalised_map(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its fused head has no map of the negative score"):
        Explainer(exported(tmp_path, map_form="layer"), counterfactual=True)
    path, frame = exported(tmp_path, frame=FRAME_SIZE, overlay=True), noise(FRAME_SIZE)
    with Explainer(path) as one, Explainer(path, counterfactual=True) as other:
        for_it, against = one(frame, 2), other(frame, 2)
    np.testing.assert_array_equal(against.raw, -for_it.raw)
    assert against.drawn is None
    assert (against.overlay(caption=False) != for_it.overlay(caption=False)).any()


def test_zeros_and_nan_are_said(tmp_path: Path) -> None:
    path = exported(tmp_path, map_form="layer", tensors=True, frame=FRAME_SIZE, overlay=True)
    proto = onnx.load(path)
    classifier = next(item for item in proto.graph.initializer if item.name == "w2")
    kept = numpy_helper.to_array(classifier)
    for number, text in ((0.0, "zero everywhere: nothing in r0 speaks for the target, or all of it"), (np.nan, "NaN")):
        classifier.CopyFrom(numpy_helper.from_array(np.full_like(kept, number), "w2"))
        onnx.save(proto, path)
        with Explainer(path) as explainer:
            explanation = explainer(noise(FRAME_SIZE), 0)
        assert any(text in warning for warning in explanation.warnings)
        assert not explanation.map.any()
        blue = 0.5 * np.array([128, 0, 0]) + 0.5 * explanation.frame
        assert np.abs(explanation.overlay(caption=False) - blue).max() <= 0.5


def test_the_self_check_finds_wrong_ends(tmp_path: Path) -> None:
    """A wider blue, red and blue of the frame in turn, 2 % more contrast, another weight: each of them alone."""
    path = exported(tmp_path, frame=FRAME_SIZE, map_form="layer", overlay=True)
    source, proto = tmp_path / "model.onnx", onnx.load(path)
    report = check_export(source, path)
    assert report.ends is not None
    assert report.ends.tensor[0] <= 1
    assert report.ends.overlay[0] <= 2
    assert report.ends.map < 1e-6

    def broken(entries: np.ndarray, changed: np.ndarray) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        tensors = [
            item
            for item in copy.graph.initializer
            if tuple(item.dims) == entries.shape and np.allclose(numpy_helper.to_array(item), entries)
        ]
        last = tensors[-1]  # the weight of the colours is a number that the resize has too
        last.CopyFrom(numpy_helper.from_array(changed.astype(numpy_helper.to_array(last).dtype), last.name))
        onnx.save(copy, path)
        with pytest.raises(CheckError, match="the fused ends differ on CPUExecutionProvider from the same steps"):
            check_export(source, path)

    broken(np.array(638.0), np.array(700.0))
    broken(np.array([2, 1, 0]), np.array([1, 2, 0]))
    broken(1 / np.array(RULE.std), 1.02 / np.array(RULE.std))
    broken(np.array(0.5), np.array(0.6))


def test_the_commands_take_such_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = saved(tmp_path, cnn()), tmp_path / "ends.cam.onnx"
    flags = [
        "--layer",
        "r0",
        "--head",
        "gradcam",
        "--frame",
        "64x96",
        "--map",
        "frame",
        "--overlay",
        "--resize",
        "stretch",
    ]
    assert run_cli("export", source, "-o", path, *flags) == 0
    assert run_cli("check", source, path) == 0
    assert "a frame's tensor differs by at most" in capsys.readouterr().out
    cv2.imwrite(str(tmp_path / "good.png"), noise((64, 96)))
    cv2.imwrite(str(tmp_path / "bad.png"), noise((96, 64)))
    out = tmp_path / "out"
    assert run_cli("explain", path, tmp_path / "good.png", tmp_path / "bad.png", "-o", out) == 1
    assert "frame: got uint8 (96, 64, 3), the model takes uint8 (64, 96, 3)" in capsys.readouterr().err
    record = json.loads((out / "good.cam.json").read_text())
    assert record["targets"][0]["map"][0]["size"] == [64, 96]
    assert np.load(out / "good.cam.npy").shape == (1, 64, 96)
    video, sink = write_video(tmp_path / "in.avi", moving_square(6, (64, 96))), tmp_path / "out.avi"
    assert run_cli("stream", path, video, sink, "--every", "3", "--no-caption") == 0
    written = read_video(sink)
    with Explainer(path) as explainer:
        frames = read_video(video)
        first = explainer(frames[0])
    assert len(written) == 6
    assert np.abs(written[0].astype(int) - first.overlay(caption=False)).mean() < 12  # Motion JPEG in between
    seen, maps = replace(first.prediction, frame=frames[2]), replace(first.maps, drawn=None)
    moved = replace(first, prediction=seen, maps=maps).overlay(caption=False)
    assert np.abs(written[2].astype(int) - moved).mean() < 12
    assert run_cli("bench", path, "--iterations", "4") != 0
    assert "has been through `aerocam export` already" in capsys.readouterr().err
    assert run_cli("export", source, "--frame", "64") == 2
    assert "--frame 64: height and width in px are expected" in capsys.readouterr().err


def test_manifests_of_before_are_read_and_impossible_ones_are_not(tmp_path: Path) -> None:
    path = exported(tmp_path)
    text = next(item.value for item in onnx.load(path).metadata_props if item.key == manifest.KEY)
    data = json.loads(text)
    for part, name in (("preprocess", "frame"), ("head", "form"), ("head", "overlay")):
        del data[part][name]
    assert Manifest.from_json(json.dumps(data), "old") == Manifest.from_json(text, "new")
    data["head"]["overlay"] = OVERLAY
    with pytest.raises(ManifestError, match=r"head\.overlay without preprocess\.frame"):
        Manifest.from_json(json.dumps(data), "old")
