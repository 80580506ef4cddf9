"""Fused heads: each computes what its NumPy namesake computes, and leaves nothing behind that the map does not need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common
import pytest
from onnx import helper

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export import CAM_HEADS, export_model
from aerocam.export.nodes.builder import Builder
from aerocam.methods import METHODS
from aerocam.runtime import Explainer
from aerocam.runtime.maps.smoothing import MapSmoothing
from aerocam.runtime.methods import CAM_METHODS, CONTRAST_METHODS
from onnx_graphs import f32, model, run_ort, saved
from small_networks import SIZE, cnn

node = helper.make_node
GRADIENTS = "aerocam_gradients_0"
HEADS = [method for method in CAM_HEADS if method in CAM_METHODS]
"""Heads that are the method on activations and gradients; contrasts: test_contrast.py."""


def appended(method: str, arrays: dict[str, np.ndarray], spread: np.ndarray | None = None, **options: Any) -> tuple:
    """The head's map of A and G, and G itself; with `spread`, G is that times "g", which has one number per channel."""
    graph = ir.from_proto(
        model([node("Identity", ["a"], ["same"]), node("Identity", ["g"], ["h"])], arrays, {}, ["h"])
    ).graph
    op = Builder(graph)
    activations, gradients = graph.inputs
    if spread is not None:
        gradients = op.expand(gradients, (*arrays["g"].shape[:2], *arrays["a"].shape[2:]), float(spread))
    op.output(gradients, "gradients")
    targets = len(arrays["g"])
    op.output(CAM_HEADS[method](op, activations, gradients, targets=targets, **options), "map")
    found, given = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), arrays, ["map", "gradients"])
    return found, given


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize("uniform", [False, True], ids=["free", "uniform"])
@pytest.mark.parametrize(("shape", "targets"), [((1, 6, 5, 4), 1), ((2, 3, 1, 7), 2), ((1, 5, 2, 2), 3)])
def test_a_head_equals_its_namesake(method: str, uniform: bool, shape: tuple[int, ...], targets: int) -> None:
    """On arrays of its own, any batch, several targets of one image; gradients as they come or one per channel."""
    if method == "cam" and not uniform:
        pytest.skip("refused: see test_cam_is_refused_where_the_gradient_varies")
    places = (1, 1) if uniform else shape[2:]
    arrays = {"a": f32(*shape), "g": f32(targets, shape[1], *places, seed=1)}
    found, gradients = appended(method, arrays, np.float32(0.25) if uniform else None)
    expected = CAM_METHODS[method](np.broadcast_to(arrays["a"], gradients.shape), gradients)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", [name for name in HEADS if METHODS[name].weighs])
def test_a_smoothed_head_equals_its_namesake(method: str) -> None:
    arrays = {"a": f32(1, 6, 5, 4), "g": f32(2, 6, 1, 1, seed=1)}
    found, gradients = appended(method, arrays, np.float32(0.5), eigen_smooth=True)
    expected = CAM_METHODS[method](np.broadcast_to(arrays["a"], gradients.shape), gradients, eigen_smooth=True)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_head_without_weights_is_not_smoothed() -> None:
    with pytest.raises(UsageError, match=r"`eigen_smooth`: method normgrad has no .*: .*gradcam, "):
        appended("normgrad", {"a": f32(1, 2, 3, 3), "g": f32(1, 2, 3, 3)}, eigen_smooth=True)


def test_cam_is_refused_where_the_gradient_varies(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`head='cam'`: the gradient varies over the map, .* `head='gradcam'`"):
        export_model(saved(tmp_path, cnn()), layers="r0", head="cam")


ONE_NUMBER = model(
    [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("ReduceMean", ["c"], ["m"]),
        node("Reshape", ["m", "view"], ["y"]),
    ],
    {"x": np.zeros(SIZE, np.float32)},
    {"w": f32(4, 3, 3, 3), "view": np.array([1, 1])},
    ["y"],
)
"""Its gradient is one number, broadcast over channels as well as positions."""


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize(
    ("proto", "layer"),
    [(cnn(), "r1"), (cnn(), "r0"), (ONE_NUMBER, "c")],
    ids=["broadcast-gradient", "inner", "one-number"],
)
def test_a_fused_map_equals_the_method_on_the_file_s_own_tensors(
    tmp_path: Path, method: str, proto: onnx.ModelProto, layer: str
) -> None:
    if method == "cam" and layer == "r0":
        pytest.skip("refused: see test_cam_is_refused_where_the_gradient_varies")
    done = export_model(saved(tmp_path, proto), layers=layer, head=method, tensors=True)
    written = onnx.load(done.path)
    names = [item.name for item in written.graph.output]
    assert names == [
        "y", manifest.CHOSEN, manifest.SCORE, layer, "aerocam_gradients_0", manifest.MAP,
    ]  # fmt: skip
    assert done.manifest.head == manifest.Head(method, manifest.MAP)
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([1])}
    *_, activations, gradients, found = run_ort(written, feeds, names)
    expected = CAM_METHODS[method](activations, gradients)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", HEADS)
def test_a_head_alone_leaves_only_the_map(tmp_path: Path, method: str) -> None:
    """No activations, no gradients, and no node or weight that nothing reads; the map is the same."""
    path = saved(tmp_path, cnn())
    both = export_model(path, tmp_path / "both.onnx", head=method, tensors=True)
    done = export_model(path, tmp_path / "alone.onnx", head=method)
    alone = onnx.load(done.path)
    outputs = [item.name for item in alone.graph.output]
    assert outputs == ["y", manifest.CHOSEN, manifest.SCORE, manifest.MAP]
    assert (done.manifest.layers[0].activations, done.manifest.layers[0].gradients) == (None, None)
    read = {name for item in alone.graph.node for name in item.input}
    assert all(read.union(outputs) & {*item.output} for item in alone.graph.node)
    assert {item.name for item in alone.graph.initializer} <= read
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([3])}
    expected = run_ort(onnx.load(both.path), feeds, [manifest.MAP])
    np.testing.assert_array_equal(run_ort(alone, feeds, [manifest.MAP]), expected)


def test_the_map_of_a_float16_model_is_float32(tmp_path: Path) -> None:
    """As the manifest promises; the two layers of such a model pass the self-check too."""
    proto = cnn()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype("f2"), tensor.name))
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    path = saved(tmp_path, proto)
    types = {
        item.name: item.type.tensor_type.elem_type
        for item in onnx.load(export_model(path, head="gradcam").path).graph.output
    }
    assert types[manifest.MAP] == types[manifest.SCORE] == onnx.TensorProto.FLOAT
    assert types["y"] == onnx.TensorProto.FLOAT16
    assert export_model(path, layers=["r0", "r1"]).report is not None


@pytest.mark.parametrize("method", HEADS)
def test_the_map_of_double_precision_is_float32(method: str) -> None:
    """As the manifest promises, whatever the model computes in."""
    arrays = {"a": f32(1, 6, 5, 4).astype(np.float64), "g": f32(1, 6, 1, 1, seed=1).astype(np.float64)}
    found, gradients = appended(method, arrays, np.float32(0.5))
    assert gradients.dtype == np.float64
    assert found.dtype == np.float32
    expected = CAM_METHODS[method](arrays["a"], gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 1), {}),
        ((3, 2), {"pads": [2, 0, 0, 1]}),
        ((2, 4), {"pads": [1, 3, 1, 0], "dilations": [2, 1]}),
        ((3, 3), {"dilations": [1, 2], "pads": [4, 5, 3, 1]}),
    ],
)
def test_the_mean_of_a_convolution_needs_no_convolution(
    kernel: tuple[int, int], attributes: dict[str, list[int]]
) -> None:
    """Where the gradient comes out of a Conv, Grad-CAM takes its mean from sums of the Conv's input."""
    arrays = {"x": f32(1, 3, 7, 6, seed=2)}
    proto = model([node("Conv", ["x", "w"], ["g"], **attributes)], arrays, {"w": f32(5, 3, *kernel)}, ["g"])
    graph = ir.from_proto(proto).graph
    op = Builder(graph)
    gradients = graph.outputs[0]
    shape = tuple(int(dim) for dim in gradients.shape)
    op.output(CAM_HEADS["gradcam"](op, op.constant(f32(*shape, seed=3)), gradients), "map")
    gradient, found = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), arrays, ["g", "map"])
    np.testing.assert_allclose(found, CAM_METHODS["gradcam"](f32(*shape, seed=3), gradient), rtol=1e-4, atol=1e-5)
    graph.outputs.pop(0)
    ir.passes.common.RemoveUnusedNodesPass()(ir.Model(graph, ir_version=8))
    assert "w" not in [value.name for item in graph for value in item.inputs if item.op_type == "Conv"]


def test_a_fused_finercam_equals_gradcam_of_its_score(tmp_path: Path) -> None:
    """And the score is Finer-CAM's, of which the gradients are checked against differences at export."""
    path = saved(tmp_path, cnn())
    done = export_model(path, layers="r0", head="finercam", tensors=True)
    assert done.manifest.score.contrast == "finer"
    assert done.report is not None
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([3])}
    names = ["y", manifest.SCORE, "r0", "aerocam_gradients_0", manifest.MAP]
    logits, score, activations, gradients, found = run_ort(onnx.load(done.path), feeds, names)
    np.testing.assert_allclose(found, CAM_METHODS["gradcam"](activations, gradients), rtol=1e-4, atol=1e-6)
    values, others = logits[0].astype(np.float64), np.argsort(np.abs(logits[0] - logits[0, 3]))[1:4]
    p = (np.exp(values) / np.exp(values).sum())[others]
    assert score[0] == pytest.approx((p * (values[3] - values[others])).sum() / (p.sum() + 1e-9), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": 2}, r"`contrast='finer'`: it compares one target, not 2"),
        ({"task": "regress"}, r"`contrast='finer'`: task regress with 5 logits; a classifier"),
    ],
)
def test_a_contrast_is_refused_where_there_is_none(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(saved(tmp_path, cnn()), contrast="finer", **options)


def test_a_smoothed_head_is_exported_and_read(tmp_path: Path) -> None:
    """By the runtime too, with or without being asked for what the file has."""
    path = saved(tmp_path, cnn())
    rule = manifest.Preprocess("x", (8, 8))
    done = export_model(path, layers="r0", head="layercam", eigen_smooth=True, tensors=True, preprocess=rule)
    frame = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    maps = []
    for method, smoothing in ((None, None), (None, MapSmoothing(eigen=True)), ("layercam", None)):
        with Explainer(done.path, method=method, smoothing=smoothing) as explain:
            maps.append(explain(frame, 1).raw)
            options = explain.raw_maps.outputs
            assert options == (manifest.MAP,)
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    with Explainer(done.path, method="layercam", options={"eigen_smooth": False}) as explain:
        plain = explain(frame, 1).raw
        assert explain.raw_maps.outputs != (manifest.MAP,)
    a, g = run_ort(onnx.load(done.path), {"x": preprocessed(frame), manifest.TARGET: np.int32([1])}, ["r0", GRADIENTS])
    np.testing.assert_allclose(
        maps[0], CAM_METHODS["layercam"](a, g, eigen_smooth=True), atol=1e-5 * np.abs(maps[0]).max()
    )
    np.testing.assert_allclose(plain, CAM_METHODS["layercam"](a, g), rtol=1e-5)


def preprocessed(frame: np.ndarray) -> np.ndarray:
    """A frame in BGR as RGB in [0, 1]."""
    return (frame[..., ::-1].transpose(2, 0, 1)[None] / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`eigen_smooth`: no fused head to smooth"),
        ({"head": "reciprocam"}, "`eigen_smooth`: not with `head='reciprocam'`"),
        ({"head": "eigencam"}, "`eigen_smooth`: method eigencam has no weighted activations"),
    ],
)
def test_what_has_no_weights_is_not_smoothed(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(saved(tmp_path, cnn()), eigen_smooth=True, **options)


def test_a_class_whose_logit_is_the_target_s_is_compared_with_it(tmp_path: Path) -> None:
    """Not taken for it, though it comes first; the gradient is that of NumPy's slopes."""
    weight = np.float32([[1, 0, 0], [0, 1, 0], [2, 1, 0], [0, 0, 0], [3, 1, 1]])
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    ones = np.ones(SIZE, np.float32)
    done = export_model(
        saved(tmp_path, model(nodes, {"x": ones}, {"w": weight}, ["y"])), layers="r", contrast="finer", check=False
    )
    feeds = {"x": ones, manifest.TARGET: np.int32([1])}
    logits, found = run_ort(onnx.load(done.path), feeds, ["y", GRADIENTS])
    assert logits[0].tolist() == [1, 1, 3, 0, 5]
    classes, slopes = CONTRAST_METHODS["finercam"](logits[0].astype(np.float64), 1)
    assert classes.tolist()[:2] == [1, 0]
    np.testing.assert_allclose(found[0, :, 0, 0], slopes @ weight[classes] / 64, rtol=1e-5)
