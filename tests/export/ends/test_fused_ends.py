"""Fused ends, piece by piece: the graph against OpenCV and the runtime, step by step."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aerocam.benchmarks.zoo.labelled import labelled_photograph
from aerocam.errors import UsageError
from aerocam.export.ends import steps
from aerocam.export.ends.frame_in import frame_in
from aerocam.export.ends.map_out import Maps
from aerocam.export.ends.overlay_out import jet, overlay
from aerocam.export.nodes.builder import Builder
from aerocam.geometry import Geometry
from aerocam.manifest import FRAME, Preprocess
from aerocam.methods import METHODS
from aerocam.runtime.drawing.overlay import overlay_map
from aerocam.runtime.frames.preprocess import Placement, Preprocessor
from aerocam.runtime.maps import saliency
from onnx_graphs import run_ort

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A frame with edges and gradual changes, every grey level in it."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    smooth = cv2.resize(rng.integers(0, 256, (7, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(np.arange(width)[None, :, None] < width // 3, noise, smooth)


def graph(*inputs: tuple[str, int, tuple[int, ...]]) -> ir.Model:
    """A graph of inputs alone."""
    values = [ir.Value(name=name, type=ir.TensorType(ir.DataType(kind)), shape=ir.Shape(s)) for name, kind, s in inputs]
    return ir.Model(ir.Graph(values, [], nodes=[], opset_imports={"": 17}, name="test"), ir_version=8)


def tensor_in_graph(frame: np.ndarray, rule: Preprocess) -> np.ndarray:
    model = graph((rule.input, onnx.TensorProto.FLOAT, rule.shape))
    op = Builder(model.graph)
    op.output(op.Identity(model.graph.inputs[0]), "tensor")
    frame_in(model, rule)
    assert [value.name for value in model.graph.inputs] == [FRAME]
    return run_ort(ir.to_proto(model), {FRAME: frame})[0]


GOLDEN = Path(__file__).parents[2] / "golden"

EXACT, HARDLY, SOME = 0.0, 2e-4, 0.06
"""Shares of pixels that may be one grey level beside OpenCV's: none; where float32 meets a whole number in fixed-point
arithmetic; where OpenCV itself is not the same on every machine (cubic), or adds areas up in an order of its own.
"""

RULES: list[tuple[tuple[int, int], tuple[int, int], dict[str, object], float]] = [
    ((24, 40), (24, 40), {}, EXACT),
    ((24, 40), (24, 40), {"color": "BGR"}, EXACT),
    ((24, 40), (24, 40), {"layout": "NHWC"}, EXACT),
    ((24, 40), (24, 40), {"color": "BGR", "layout": "NHWC"}, EXACT),
    ((24, 40), (24, 40), {"color": "GRAY"}, EXACT),
    ((24, 40), (24, 40), {"color": "GRAY", "layout": "NHWC"}, EXACT),
    ((40, 56), (24, 24), {"resize": "crop", "short_side": 40}, EXACT),  # a crop, and no resize
    ((24, 40), (48, 48), {"resize": "letterbox", "color": "GRAY"}, HARDLY),
    ((61, 97), (32, 40), {"interpolation": "nearest"}, EXACT),
    ((61, 97), (32, 40), {"interpolation": "linear"}, HARDLY),
    ((61, 97), (32, 40), {"interpolation": "cubic"}, SOME),
    ((61, 97), (32, 40), {"interpolation": "area"}, SOME),
    ((64, 80), (32, 40), {"interpolation": "linear"}, EXACT),  # OpenCV takes the mean of four
    ((64, 80), (32, 40), {"interpolation": "area"}, EXACT),
    ((20, 17), (64, 65), {"interpolation": "nearest"}, EXACT),
    ((20, 17), (64, 65), {"interpolation": "linear"}, HARDLY),
    ((20, 17), (64, 65), {"interpolation": "cubic"}, SOME),
    ((20, 17), (64, 65), {"interpolation": "area"}, SOME),
    ((20, 97), (64, 65), {"interpolation": "area"}, SOME),  # one axis grows, the other does not
    ((21, 68), (48, 48), {"interpolation": "area"}, SOME),  # and where columns begin at whole pixels of the frame
    ((1, 1), (8, 8), {"interpolation": "linear"}, EXACT),
    ((61, 97), (32, 40), {"interpolation": "pil-bilinear"}, EXACT),
    ((80, 120), (64, 96), {"interpolation": "pil-bilinear"}, EXACT),  # many sums are a half
    ((61, 97), (32, 40), {"interpolation": "pil-bicubic", "color": "GRAY"}, EXACT),
    ((20, 97), (64, 65), {"interpolation": "pil-bicubic"}, EXACT),  # rows grow, columns shrink
    ((451, 300), (224, 224), {"resize": "crop", "short_side": 256, "interpolation": "pil-bilinear"}, EXACT),
    ((360, 640), (96, 96), {"resize": "letterbox", "interpolation": "pil-bicubic", "layout": "NHWC"}, EXACT),
    ((451, 300), (224, 224), {"resize": "crop", "short_side": 256, "interpolation": "cubic"}, SOME),
    ((451, 300), (224, 224), {"resize": "crop", "short_side": 256}, HARDLY),
    ((451, 300), (224, 224), {"resize": "crop", "short_side": 256, "layout": "NHWC"}, HARDLY),
    ((451, 300), (224, 224), {"resize": "letterbox", "fill": 7}, HARDLY),
    ((300, 451), (224, 192), {"resize": "letterbox", "interpolation": "area"}, SOME),
    ((360, 640), (160, 160), {"resize": "letterbox", "layout": "NHWC", "color": "BGR"}, HARDLY),
    ((360, 640), (96, 96), {"color": "GRAY"}, HARDLY),
]


@pytest.mark.parametrize(("size", "tensor", "fields", "share"), RULES)
def test_a_frame_becomes_the_tensor_that_the_runtime_makes_of_it(
    size: tuple[int, int], tensor: tuple[int, int], fields: dict[str, object], share: float
) -> None:
    gray = fields.get("color") == "GRAY"
    rule = Preprocess("x", tensor, mean=MEAN[:1] if gray else MEAN, std=STD[:1] if gray else STD, frame=size, **fields)  # type: ignore[arg-type]
    frame = picture(*size)
    found, (expected, _) = tensor_in_graph(frame, rule), Preprocessor(rule)(frame)
    assert found.shape == expected.shape
    std = np.array(rule.std) if rule.layout == "NHWC" else np.array(rule.std)[:, None, None]
    levels = np.abs(found - expected) * std
    beside = levels > 0.5
    assert levels[~beside].max() < 1e-4
    assert levels.max() < 1.001
    assert beside.mean() <= share


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_photographs_as_torchvision_and_timm_have_them(kernel: str) -> None:
    golden = np.load(GOLDEN / "preprocessing/transforms.npz")[f"photographs {kernel}"]
    for place, expected in enumerate(golden):
        frame = labelled_photograph(f"imagenet-{place:02d}")
        how: dict[str, object] = {"resize": "crop", "short_side": 256, "interpolation": f"pil-{kernel}"}
        rule = Preprocess("x", (224, 224), std=(1.0,) * 3, frame=frame.shape[:2], **how)  # type: ignore[arg-type]
        levels = tensor_in_graph(frame, rule)[0].transpose(1, 2, 0)[::28, ::28]
        assert np.abs(levels - expected).max() < 1e-3


SIDES = st.integers(1, 120)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    size=st.tuples(SIDES, SIDES),
    tensor=st.tuples(st.integers(4, 48), st.integers(4, 48)),
    resize=st.sampled_from(["stretch", "crop", "letterbox"]),
    interpolation=st.sampled_from(["nearest", "linear", "cubic", "area", "pil-bilinear", "pil-bicubic"]),
)
def test_frames_of_any_size(size: tuple[int, int], tensor: tuple[int, int], resize: str, interpolation: str) -> None:
    rule = Preprocess(
        "x",
        tensor,
        "BGR",
        resize,
        max(tensor) + 3,
        interpolation,
        (0.0,) * 3,
        (1.0,) * 3,
        114,
        "NCHW",
        size,  # type: ignore[arg-type]
    )
    frame = picture(*size)
    try:
        expected, _ = Preprocessor(rule)(frame)
    except UsageError:
        assume(False)
    levels = np.abs(tensor_in_graph(frame, rule) - expected)
    assert levels.max() <= (1e-4 if interpolation in ("nearest", "pil-bilinear", "pil-bicubic") else 1.001)
    if interpolation in ("nearest", "linear"):
        assert (levels > 0.5).sum() <= 1


@pytest.mark.parametrize(("size", "tensor", "fields", "share"), RULES)
def test_the_self_check_takes_the_same_steps(
    size: tuple[int, int], tensor: tuple[int, int], fields: dict[str, object], share: float
) -> None:
    gray = fields.get("color") == "GRAY"
    rule = Preprocess("x", tensor, mean=MEAN[:1] if gray else MEAN, std=STD[:1] if gray else STD, frame=size, **fields)  # type: ignore[arg-type]
    frame = picture(*size, seed=1)
    error = np.abs(steps.tensor_of(frame, rule) - Preprocessor(rule)(frame)[0]) * min(rule.std)
    assert error.max() < 1.1
    assert (error > 0.4).mean() <= share


def test_only_what_the_result_needs_is_read() -> None:
    """The centre crop of a wide frame: no node computes as many numbers as the frame has, but for the Cast."""
    rule = Preprocess("x", (32, 32), resize="crop", short_side=36, frame=(180, 640))
    model = graph((rule.input, onnx.TensorProto.FLOAT, rule.shape))
    op = Builder(model.graph)
    op.output(op.Identity(model.graph.inputs[0]), "tensor")
    frame_in(model, rule)
    first, *rest = list(model.graph)
    assert first.op_type == "Cast"
    sizes = [int(np.prod([int(dim) for dim in value.shape])) for node in rest for value in node.outputs]
    assert max(sizes) <= 72 * 640 * 3


def test_jet_is_opencv_s() -> None:
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0]
    np.testing.assert_array_equal(jet(np.arange(256.0)), table)


PLACES = [
    Preprocess("x", (48, 40)),
    Preprocess("x", (48, 40), resize="crop", short_side=52),
    Preprocess("x", (48, 40), resize="letterbox"),
]


def raw_maps() -> np.ndarray:
    """Three maps: of both signs, nowhere positive, constant."""
    rng = np.random.default_rng(0)
    return np.stack([rng.standard_normal((5, 4)), -rng.random((5, 4)) - 0.1, np.full((5, 4), 0.25)]).astype(np.float32)


def in_graph(raw: np.ndarray, method: str, rule: Preprocess, frame: tuple[int, int]) -> list[np.ndarray]:
    """The maps at the layer's size, over the tensor and over the frame."""
    model = graph(("raw", onnx.TensorProto.FLOAT, raw.shape))
    op = Builder(model.graph)
    maps = Maps.of(op, model.graph.inputs[0], method)
    found = maps.layer, maps.over_tensor(op, rule.size), maps.over_frame(op, Geometry.of(rule, frame)), maps.spoiled
    for name, value in zip(("layer", "tensor", "frame", "spoiled"), found, strict=True):
        op.output(op.Identity(value), name)
    return run_ort(ir.to_proto(model), {"raw": raw})


@pytest.mark.parametrize("rule", PLACES, ids=lambda rule: rule.resize)
@pytest.mark.parametrize("method", ["gradcam", "cfcam", "reciprocam"])
@pytest.mark.parametrize("frame", [(97, 133), (48, 40), (61, 52)])
def test_maps_are_those_of_the_runtime(method: str, rule: Preprocess, frame: tuple[int, int]) -> None:
    raw, kind = raw_maps(), METHODS[method].normalisation
    layer, tensor, whole, spoiled = in_graph(raw, method, rule, frame)
    expected = saliency.combine([raw], rule.size, kind)
    shown = raw - raw.min(axis=(1, 2), keepdims=True) if kind == "span" else np.maximum(raw, 0)
    np.testing.assert_allclose(layer, saliency.normalise(shown, kind), atol=1e-6)
    np.testing.assert_allclose(tensor, expected, atol=2e-6)
    place = Placement.of(rule, frame)
    np.testing.assert_allclose(whole, [place.place(one) for one in expected], atol=3e-6)
    assert not spoiled.any()
    assert expected[0].max() > 0.99
    assert expected[1].any() == (kind == "span")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_counts_as_zero_and_is_marked(bad: float) -> None:
    raw = raw_maps()
    expected = in_graph(raw, "gradcam", PLACES[0], (97, 133))
    raw[1, 2, 3] = bad
    *found, spoiled = in_graph(raw, "gradcam", PLACES[0], (97, 133))
    assert np.isnan(spoiled).ravel().tolist() == [False, True, False]
    for one, good in zip(found, expected[:3], strict=True):
        assert not one[1].any()
        np.testing.assert_array_equal(one[[0, 2]], good[[0, 2]])


@pytest.mark.parametrize("rule", PLACES, ids=lambda rule: rule.resize)
@pytest.mark.parametrize("size", [(97, 133), (48, 40), (61, 52), (96, 80)])
@pytest.mark.parametrize("targets", [1, 3])
def test_the_overlay_is_that_of_the_runtime(rule: Preprocess, size: tuple[int, int], targets: int) -> None:
    maps = saliency.combine([np.random.default_rng(1).random((targets, 5, 4), np.float32)], rule.size)
    frame, place = picture(*size), Placement.of(rule, size)
    model = graph(("maps", onnx.TensorProto.FLOAT, maps.shape), ("frame", onnx.TensorProto.FLOAT, (*size, 3)))
    op = Builder(model.graph)
    op.output(overlay(op, *model.graph.inputs, Geometry.of(rule, size)), "overlay")
    (found,) = run_ort(ir.to_proto(model), {"maps": maps, "frame": frame.astype(np.float32)})
    expected = overlay_map(frame, place.cut(maps.max(axis=0)), region=place.region)
    assert found.dtype == np.uint8
    assert found.shape == frame.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 3  # of a level of the map, where fixed-point arithmetic meets a whole number
    assert (difference > 0).mean() <= 2e-4
