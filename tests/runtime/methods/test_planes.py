"""Volumes: what has a neighbourhood keeps to a plane, in NumPy and fused, as on each plane alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from aerocam.cfcam_config import CfCamConfig
from aerocam.errors import UsageError
from aerocam.export import export_model
from aerocam.manifest import TARGET
from aerocam.runtime import CAM_METHODS
from aerocam.runtime.methods.ablation import position_masks
from aerocam.runtime.methods.cfcam import cf_cam
from aerocam.runtime.methods.smoothing import gaussian

RNG = np.random.default_rng(3)
D, H, W = 4, 8, 6
SHAPE = (1, 24, D * H, W)
FILTERED = ("cfcam", "cfcam-published", "normgrad-3x3")


def hot_voxel() -> tuple[np.ndarray, np.ndarray]:
    """A and G with one hot voxel in the last row of plane 1, (1, C, D, H, W)."""
    a = RNG.uniform(0, 0.001, (1, 24, D, H, W)).astype(np.float32)
    a[0, :, 1, H - 1, 3] = RNG.uniform(1, 2, 24)
    g = ((RNG.normal(0, 1, (1, 24, 1, 1, 1)) * 0.01 + 0.02) * np.ones_like(a)).astype(np.float32)
    g[0, :, 1, H - 1, 3] *= 3
    return a, g


@pytest.mark.parametrize("name", FILTERED)
def test_no_heat_crosses_the_border_of_planes(name: str) -> None:
    a, g = hot_voxel()
    raw = CAM_METHODS[name](a.reshape(SHAPE), g.reshape(SHAPE), planes=D).reshape(D, H, W)
    raw = (raw - np.median(raw)) / (raw[1, H - 1, 3] - np.median(raw))
    assert abs(raw[2, 0, 3]) < 0.01
    assert np.abs(raw[[0, 2, 3]]).max() < 0.01


def test_normgrad_is_that_of_each_plane_alone() -> None:
    a, g = (RNG.normal(0, 1, (2, 5, D, H, W)).astype(np.float32) for _ in range(2))
    whole = CAM_METHODS["normgrad-3x3"](a.reshape(2, 5, D * H, W), g.reshape(2, 5, D * H, W), planes=D)
    for plane in range(D):
        alone = CAM_METHODS["normgrad-3x3"](a[:, :, plane], g[:, :, plane])
        np.testing.assert_allclose(whole.reshape(2, D, H, W)[:, plane], alone, rtol=1e-5)


def test_the_filter_of_a_cfcam_map_is_that_of_each_plane_alone() -> None:
    """The map before its filter is that with the filter switched off."""
    a, g = (RNG.normal(0, 1, SHAPE).astype(np.float32) for _ in range(2))
    config = CfCamConfig(map_sigma=1.5, smoothing="none")
    plain = cf_cam(a, g, config=CfCamConfig(map_sigma=0.0, smoothing="none"), planes=D)[0].reshape(D, H, W)
    found = cf_cam(a, g, config=config, planes=D)[0].reshape(D, H, W)
    for plane in range(D):
        np.testing.assert_allclose(found[plane], gaussian(plain[plane], 1.5), rtol=1e-4, atol=1e-6)


def test_recipro_cams_neighbours_lie_in_the_same_plane() -> None:
    masks = position_masks(D * H, W, True, D).reshape(D, H, W, D, H, W)
    alone = position_masks(H, W, True).reshape(H, W, H, W)
    for plane in range(D):
        np.testing.assert_array_equal(masks[plane, :, :, plane], alone)
        others = [other for other in range(D) if other != plane]
        assert not masks[plane][:, :, others].any()


@pytest.mark.parametrize("planes", [0, 3, 2.0])
def test_planes_that_do_not_fit_are_refused(planes: Any) -> None:
    a, g = hot_voxel()
    for name in ("cfcam", "normgrad-3x3"):
        with pytest.raises(UsageError, match=f"planes: got {planes}, expected a whole number that divides 32 rows"):
            CAM_METHODS[name](a.reshape(SHAPE), g.reshape(SHAPE), planes=planes)


@pytest.mark.parametrize("name", FILTERED)
def test_a_fused_head_is_the_same(name: str, tmp_path: Path) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[1,2,{D},{H},{W}] x) => (float[1,3] y) {{
        c = Conv<pads=[1,1,1,1,1,1]>(x, w) a = Relu(c) c2 = Conv(a, u) r = Relu(c2) g = GlobalAveragePool(r)
        f = Flatten(g) y = MatMul(f, v) }}"""
    proto = parser.parse_model(text)
    for key, shape in (("w", (24, 2, 3, 3, 3)), ("u", (8, 24, 1, 1, 1)), ("v", (8, 3))):
        proto.graph.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.4, shape).astype(np.float32), key))
    onnx.save(proto, tmp_path / "m.onnx")
    done = export_model(tmp_path / "m.onnx", head=name, tensors=True, layers="a")
    layer = done.manifest.layers[0]
    assert (layer.kind, layer.shape, layer.planes) == ("volume", SHAPE, D)
    x = RNG.normal(0, 1, (1, 2, D, H, W)).astype(np.float32)
    outputs = [layer.activations, layer.gradients, "aerocam_map"]
    session = onnxruntime.InferenceSession(done.path)
    a, g, fused = session.run(outputs, {"x": x, TARGET: np.zeros(1, np.int32)})
    expected = CAM_METHODS[name](a, g, planes=layer.planes)
    np.testing.assert_allclose(fused, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())
    if name != "cfcam-published":  # whose weights go through a softmax that is all but uniform here
        assert np.abs(fused - CAM_METHODS[name](a, g)).max() > 1e-3 * np.abs(expected).max()
