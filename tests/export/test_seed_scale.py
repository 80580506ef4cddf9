"""float16 gradients: scaled by a power of two, so that what is small survives, and read at their true size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.export import export_model
from aerocam.export.seed_scale import HALF_SCALE
from aerocam.runtime import Explainer
from aerocam.runtime.methods import CAM_METHODS
from onnx_graphs import f32, run_ort, saved
from small_networks import SIZE, cnn

FAINT = 2.0**-16


def faint(dtype: type) -> onnx.ModelProto:
    """The small network with its last weight so small that gradients at the layer are near 1e-7; in `dtype`."""
    proto = cnn()
    last = {name for node in proto.graph.node if node.op_type == "Gemm" for name in node.input[1:]}
    assert last
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor) * np.float32(FAINT if tensor.name in last else 1)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    del proto.graph.value_info[:]
    return proto


def gradients(path: Path, dtype: type) -> tuple[np.ndarray, np.ndarray, float]:
    """A and G as they leave a file, G in float32 and not unscaled, and the scale that the manifest names."""
    done = export_model(path, path.with_suffix(".cam.onnx"), layers="r1")
    feeds = {"x": f32(*SIZE, seed=4).astype(dtype), manifest.TARGET: np.int32([1])}
    a, g = run_ort(onnx.load(done.path), feeds, ["r1", "aerocam_gradients_0"])
    return a.astype(np.float32), g.astype(np.float32), done.manifest.seed_scale


def test_faint_gradients_survive_in_float16(tmp_path: Path) -> None:
    _, expected, one = gradients(saved(tmp_path, faint(np.float32)), np.float32)
    half = tmp_path / "half"
    half.mkdir()
    _, found, scale = gradients(saved(half, faint(np.float16)), np.float16)
    assert (one, scale) == (1.0, HALF_SCALE)
    assert 0 < np.abs(expected).max() < 1e-6  # float16 has a digit or none left here
    np.testing.assert_allclose(found / scale, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("method", ["gradcam++", "layercam", "gradcam"])
def test_a_fused_head_reads_the_gradients_at_their_true_size(tmp_path: Path, method: str, targets: int) -> None:
    """Also where each target has its own; gradcam++ depends on the size."""
    path = saved(tmp_path, faint(np.float16))
    done = export_model(path, layers="r1", head=method, tensors=True, targets=targets)
    feeds = {"x": f32(*SIZE, seed=4).astype(np.float16), manifest.TARGET: np.arange(targets, dtype=np.int32)}
    a, g, found = run_ort(onnx.load(done.path), feeds, ["r1", "aerocam_gradients_0", manifest.MAP])
    true = g.astype(np.float32) / np.float32(HALF_SCALE)
    expected = CAM_METHODS[method](np.broadcast_to(a, true.shape), true)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("head", [None, "gradcam++"])
def test_gradcam_plus_plus_of_float16_equals_float32_s(tmp_path: Path, head: str | None) -> None:
    """EfficientNet-Lite0 in float16, with the map in NumPy and in the graph."""
    frame, maps = zoo.photograph("coffee"), []
    for variant, fused in ((None, None), ("half", head)):
        path = zoo.lite0.model(variant=variant)
        done = export_model(
            path, tmp_path / f"{variant}.onnx", head=fused, preprocess=zoo.lite0.PREPROCESS, check=False
        )
        with Explainer(done.path, method="gradcam++") as explainer:
            maps.append(explainer(frame).map)
    assert np.abs(maps[1] - maps[0]).max() < 1e-2
