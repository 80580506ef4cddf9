"""Real networks: exported gradients against central finite differences, and ONNX Runtime's against float64.

The exported graph is cut at a target layer, turned into float64 and run in NumPy, where a step can be small enough to
cross no kink of ReLU or max-pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import real_models
from aerocam import manifest
from aerocam.export.pipeline import export_model
from onnx_graphs import Float64, run_ort, tail

STEPS = (1e-7, 1e-6, 1e-8)
"""Of a difference, relative to the layer's root mean square; the best counts, as any step may meet a kink."""

TARGETS = {"yolov8n": [3, 21004], "ppocr-v2-cls": [1], "ssdlite": [1]}
"""What is explained, class 7 where nothing is said. An anchor of the coarsest scale has the whole neck before it."""

KINKS = {"Relu", "Clip", "MaxPool"}


@pytest.mark.slow
@pytest.mark.parametrize("network", real_models.NETWORKS)
def test_gradients_of_a_real_network(network: str) -> None:
    with TemporaryDirectory() as folder:
        path = real_models.write(network, Path(folder))
        layers, shapes = real_models.NETWORKS[network], real_models.INPUT_SHAPES.get(network)
        made = export_model(path, f"{folder}/explained.onnx", layers=layers, input_shapes=shapes, check=False)
        proto = onnx.load(made.path)
    image = next(item for item in proto.graph.input if item.name != manifest.TARGET)
    feeds = {
        image.name: real_models.picture(*(dim.dim_value for dim in image.type.tensor_type.shape.dim[2:])),
        manifest.TARGET: np.array(TARGETS.get(network, [7]), np.int32),
    }
    layers = made.manifest.layers
    tails = [tail(proto, layer.name, [manifest.SCORE, str(layer.gradients)]) for layer in layers]
    names = [item.name for item in proto.graph.output]
    beside = sorted({item.name for part in tails for item in part.graph.input} - feeds.keys())
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in beside if name not in names)
    found = dict(zip([*names, *beside], run_ort(proto, feeds, [*names, *beside]), strict=True))
    feeds |= {name: found[name] for name in beside}
    assert len(layers) >= 2
    for layer, part in zip(layers, tails, strict=True):
        single = found[str(layer.activations)], found[str(layer.gradients)]
        np.testing.assert_array_equal(single[0], feeds[layer.name])
        check_precision(part, feeds, found[manifest.SCORE], *single)
    for layer, part in list(zip(layers, tails, strict=True))[-2:]:
        check_differences(part, feeds, layer.name)


def check_precision(
    part: onnx.ModelProto, feeds: dict, score: NDArray, activations: NDArray, gradients: NDArray
) -> None:
    """From the same activations, float32 in ONNX Runtime and float64 in NumPy give the same gradients.

    Where a mask of ReLU or max-pooling may come out differently in float32, the Grad-CAM maps (before ReLU) agree.
    Measured: at most 1.2e-6 for gradients, 2.2e-6 for maps, and no mask differed; but each might on another machine.
    """
    exact_score, exact = Float64(part)(feeds)
    np.testing.assert_allclose(score, exact_score, rtol=1e-4, atol=1e-5)
    error = np.linalg.norm(gradients - exact) / np.linalg.norm(exact)
    cam, exact_cam = (
        (g.mean(axis=(2, 3), keepdims=True) * activations.astype(np.float64)).sum(axis=1) for g in (gradients, exact)
    )
    if KINKS.isdisjoint(node.op_type for node in part.graph.node):
        assert error < 1e-5
    assert error < 2e-2
    assert np.abs(cam - exact_cam).max() < 1e-2 * np.abs(exact_cam).max()


def check_differences(part: onnx.ModelProto, feeds: dict, layer: str) -> None:
    """In float64 the gradients are the slopes of the score.

    At a point beside the layer's activations: these hold exact zeros, where max-pooling has a kink.
    """
    rng = np.random.default_rng(0)
    activations = feeds[layer].astype(np.float64)
    size = float(np.sqrt(np.mean(activations**2)))
    point = activations + 0.1 * size * rng.standard_normal(activations.shape)
    gradients = Float64(part)({**feeds, layer: point})[1]
    assert gradients.shape == activations.shape
    assert np.linalg.norm(gradients) > 0
    forward = Float64(tail(part, layer, [manifest.SCORE]))
    direction = size * rng.standard_normal(activations.shape)
    error = error_along(lambda x: float(forward({**feeds, layer: x})[0][0]), gradients, point, direction)
    assert error < 1e-5, f"layer {layer}: {error:.1e}"


def error_along(score: Callable[[NDArray], float], gradients: NDArray, point: NDArray, direction: NDArray) -> float:
    """|difference - <gradients, direction>|, relative to what a gradient of this size gives along a random direction.

    The difference is central, or one-sided where a kink lies on the other side.
    """
    slope = float(np.vdot(gradients, direction))
    scale = float(np.linalg.norm(gradients) * np.sqrt(np.mean(direction**2)))
    best, here = float("inf"), None
    for step in STEPS:
        ahead, behind = (score(point + sign * step * direction) for sign in (1, -1))
        best = min(best, abs((ahead - behind) / (2 * step) - slope) / scale)
        if best < 1e-6:
            break
        here = score(point) if here is None else here
        best = min(best, *(abs(d / step - slope) / scale for d in (ahead - here, here - behind)))
    return best
