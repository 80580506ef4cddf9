"""CF-CAM in the graph: scikit-learn's labels and the NumPy method's maps, on drawn tensors and on a real network's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from aerocam.benchmarks import zoo
from aerocam.cfcam_config import TIE, CfCamConfig
from aerocam.errors import UsageError
from aerocam.export import CAM_HEADS, export_model
from aerocam.export.heads.cfcam import cf_cam, channel_labels, most_clusters
from aerocam.export.heads.channel_distances import FAR
from aerocam.export.heads.neighbourhood import neighbourhood
from aerocam.manifest import MAP, TARGET
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.methods import CAM_METHODS, cluster_channels
from aerocam.runtime.methods.clustering import neighbour_percentile, pairwise_percentile, squared_distances
from head_graphs import Run, runner
from onnx_graphs import run_ort

METHODS = {"cfcam": CfCamConfig(), "cfcam-published": CfCamConfig.published()}
DRAWN = {
    "cfcam": dataclasses.replace(METHODS["cfcam"], dominant_percentile=75.0),
    "cfcam-published": CfCamConfig.published(),
}
"""For drawn tensors: more channels are compared with each other, and in no tensor a distance lies closer to eps than
float32 resolves. Among a hundred thousand drawn distances one may, and its two channels are neighbours or not."""

CONFIGS = {"real": METHODS, "drawn": DRAWN}
LAYERS = (
    "stem/act",
    "blocks.2/add",
    "blocks.4/add",
    "blocks.5/expand/act",
    "blocks.8/depthwise/act",
    "blocks.10/add",
    "blocks.13/add",
    "blocks.15/depthwise/act",
    "head/act",
)
"""Of EfficientNet-Lite0, from 24 channels to 1280, from 7 x 7 positions to 112 x 112."""

Floats = NDArray[np.float32]


@cache
def labels_of(kind: str, method: str, channels: int, positions: int) -> Run:
    config = CONFIGS[kind][method]
    return runner(lambda op, a: channel_labels(op, a, config), np.zeros((channels, positions), np.float32))


def assert_labels_are_scikit_learns(activations: Floats, kind: str = "real") -> NDArray[np.intp]:
    """By both methods; `activations` (C, H, W). What `cfcam` found."""
    flat = activations.reshape(len(activations), -1)
    for method, config in reversed(CONFIGS[kind].items()):
        expected = cluster_channels(activations, config).labels
        np.testing.assert_array_equal(labels_of(kind, method, *flat.shape)(flat)[0], expected)
    return expected


def tensors(channels: int, positions: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Spread, rectified, in groups, with ties, duplicates, dead and constant channels, strong and weak ones."""
    size = (channels, positions)
    yield rng.normal(size=size)
    yield np.maximum(rng.normal(size=size), 0) * rng.gamma(1, 0.3, size=(channels, 1))
    groups = rng.normal(size=(int(rng.integers(2, 9)), positions))[rng.integers(2, size=channels)]
    yield groups + rng.choice([0.01, 0.05, 0.3]) * rng.normal(size=size)
    yield rng.integers(0, 4, size=size).astype(float)
    yield rng.normal(size=(max(channels // 3, 1), positions))[rng.integers(max(channels // 3, 1), size=channels)]
    yield groups * (rng.random((channels, 1)) < 0.6)
    yield np.where(rng.random((channels, 1)) < 0.3, 0.1, rng.normal(size=size))
    yield rng.normal(size=size) * np.exp(3 * rng.normal(size=(channels, 1)))
    yield 1 + rng.normal(size=size)
    yield groups * rng.gamma(1, 1, size=(channels, 1))


@pytest.mark.parametrize(
    ("channels", "positions", "trials"),
    [(1, 4, 1), (2, 4, 1), (3, 2, 1), (5, 6, 3), (40, 9, 4), (300, 8, 2), (900, 49, 1)],
)
def test_labels_of_drawn_tensors(channels: int, positions: int, trials: int) -> None:
    rng, counts = np.random.default_rng(channels), set()
    for _ in range(trials):
        for activations in tensors(channels, positions, rng):
            counts.add(assert_labels_are_scikit_learns(activations[..., None].astype(np.float32), "drawn").max())
    assert channels < 40 or (len(counts) > 2 and 0 in counts)


@cache
def real_activations(photograph: str) -> dict[str, Floats]:
    """Those of `LAYERS`, (C, H, W) each."""
    proto = onnx.load(zoo.lite0.model())
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in LAYERS)
    tensor, _ = Preprocessor(zoo.lite0.PREPROCESS)(zoo.photograph(photograph))
    return dict(zip(LAYERS, (a[0] for a in run_ort(proto, {proto.graph.input[0].name: tensor}, LAYERS)), strict=True))


@pytest.mark.parametrize("layer", LAYERS)
def test_labels_of_a_real_network(layer: str) -> None:
    """54 tensors, both configurations."""
    for photograph in zoo.PHOTOGRAPHS:
        assert_labels_are_scikit_learns(real_activations(photograph)[layer])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["head/act", "blocks.10/add", "blocks.4/add"])
def test_maps_of_a_real_network(method: str, layer: str) -> None:
    """With gradients of their own, several targets: spread, with edges, one number, all zero."""
    rng = np.random.default_rng(3)
    shape = real_activations("coffee")[layer].shape
    gradients = 1e-3 * rng.normal(size=(4, *shape)).astype(np.float32)
    gradients[1, :, : shape[1] // 2] += 5e-3
    gradients[2], gradients[3] = 2e-4, 0
    run = runner(CAM_HEADS[method], np.zeros((1, *shape), np.float32), gradients)
    for photograph in ("coffee", "astronaut"):
        activations = real_activations(photograph)[layer][None]
        (found,) = run(activations, gradients)
        expected = CAM_METHODS[method](np.repeat(activations, 4, axis=0), gradients)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (7, 1, 1), (30, 5, 1), (30, 2, 6)])
def test_maps_of_small_and_odd_layers(method: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(shape[0])
    run = runner(CAM_HEADS[method], *np.zeros((2, 1, *shape), np.float32))
    for scale in (1, 0, 1e15, 1e-15):
        for a in tensors(shape[0], shape[1] * shape[2], rng):
            a = (scale * a).reshape(1, *shape).astype(np.float32)
            g = rng.choice([1e-3, 1, 1e4]) * rng.normal(size=a.shape).astype(np.float32)
            expected = CAM_METHODS[method](a, g)
            np.testing.assert_allclose(run(a, g)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


CONFIGURATIONS = {
    "no filter": {"smoothing": "none", "spatial_sigma": 2.0},
    "wide filter": {"spatial_sigma": 1.6, "range_sigma": 0.4},
    "narrow filter": {"smoothing": "published", "spatial_sigma": 1.5, "range_sigma": 0.7, "kernel_eps": 0.5},
    "kept noise": {"keep_noise": True, "eps_percentile": 20.0},
    "softmax of all": {"keep_noise": True, "weighting": "softmax", "dominant_percentile": 60.0},
    "pairs of shapes": {"eps_rule": "pairwise", "eps_percentile": 3.0, "min_samples_floor": 4},
    "neighbours of values": {"similarity": "values", "eps_percentile": 80.0, "min_samples_fraction": 0.1},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_constant_does_what_it_does_in_numpy(name: str) -> None:
    config = dataclasses.replace(METHODS["cfcam"], **CONFIGURATIONS[name])
    rng = np.random.default_rng(4)
    g = rng.normal(size=(3, 70, 4, 5)).astype(np.float32)
    run = runner(lambda op, *x: cf_cam(op, *x, config), np.zeros((1, 70, 4, 5), np.float32), g)
    for a in tensors(70, 20, rng):
        a = a.reshape(1, 70, 4, 5).astype(np.float32)
        expected = CAM_METHODS["cfcam"](np.repeat(a, 3, axis=0), g, config=config)
        np.testing.assert_allclose(run(a, g)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("keep_noise", [False, True])
def test_less_activity_and_a_filtered_map(keep_noise: bool) -> None:
    """As the NumPy method has them, also where channels are negative, huge or tiny, and where nothing is active."""
    config = dataclasses.replace(METHODS["cfcam"], activity_share=0.5, map_sigma=0.9, keep_noise=keep_noise)
    rng = np.random.default_rng(8)
    g = rng.normal(0.1, 1, size=(3, 70, 4, 5)).astype(np.float32) * np.float32([1, -1, 1e-3])[:, None, None, None]
    run = runner(lambda op, a, g: cf_cam(op, a, g, config), np.zeros((1, 70, 4, 5), np.float32), g)
    drawn = rng.normal(size=(1, 70, 4, 5))
    for a in (drawn, np.abs(drawn), -np.abs(drawn), 1e12 * np.abs(drawn), 1e-12 * np.abs(drawn), 0 * drawn):
        a = a.astype(np.float32)
        expected = CAM_METHODS["cfcam"](np.repeat(a, 3, axis=0), g, config=config)
        for found, one in zip(run(a, g)[0], expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=0, atol=2e-5 * np.abs(one).max())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 600])
@pytest.mark.parametrize("rule", ["pairwise", "neighbour"])
def test_eps_is_the_reference_s(n: int, rule: str) -> None:
    """Of the rows that count, fewer than there are; where values are few, it lies between two."""
    rng = np.random.default_rng(n)
    for percentile in (0.0, 25.0, 33.3, 50.0, 100.0):
        config = dataclasses.replace(METHODS["cfcam"], eps_rule=rule, eps_percentile=percentile, eps_floor=1e-3)
        run = runner(
            lambda op, d, m, config=config: vars(neighbourhood(op, d, m, config, op.constant([[1.0]]))).values(),
            np.zeros((n, n), np.float32),
            np.zeros(1, np.float32),
        )
        for count in {n, max(n - 3, 0), n // 2, 0}:
            squared = squared_distances(rng.normal(size=(count, 3)))
            padded = np.full((n, n), FAR, np.float32)
            padded[:count, :count] = squared
            found, min_samples = run(padded, [count])
            assert min_samples == config.min_samples(count)
            of_neighbours = neighbour_percentile(squared, int(min_samples.item()), percentile)
            eps = of_neighbours if rule == "neighbour" else pairwise_percentile(squared, percentile)
            if count:
                np.testing.assert_allclose(found, (max(eps, 1e-3) * (1 + TIE)) ** 2, rtol=1e-6)
            assert found < FAR


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_gives_nan(method: str) -> None:
    """For the target or the image it belongs to."""
    rng = np.random.default_rng(1)
    a, g = rng.normal(size=(1, 40, 3, 3)), rng.normal(size=(2, 40, 3, 3))
    run = runner(CAM_HEADS[method], a.astype(np.float32), g.astype(np.float32))
    for value in (np.nan, np.inf, -np.inf):
        broken = g.copy()
        broken[1, 3, 1, 1] = value
        first, second = run(a, broken)[0]
        np.testing.assert_array_equal(first, run(a, g)[0][0])
        assert np.isnan(second).all()
        broken = a.copy()
        broken[0, 3, 1, 1] = value
        assert np.isnan(run(broken, g)[0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_widened(method: str) -> None:
    a, g = np.random.default_rng(2).normal(size=(2, 1, 40, 4, 4)).astype(np.float16)
    (found,) = runner(CAM_HEADS[method], a, g)(a, g)
    assert found.dtype == np.float32
    expected = CAM_METHODS[method](a.astype(np.float32), g.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_too_many_channels_are_refused() -> None:
    wide = np.zeros((1, 7700, 1, 1), np.float32)
    with pytest.raises(UsageError, match=r"7700 channels, of which 3850 would be compared.* at most 3840 are expected"):
        runner(CAM_HEADS["cfcam"], wide, wide)


@pytest.mark.parametrize("min_samples", [1, 2, 3, 4, 9])
def test_no_more_clusters_than_the_bound(min_samples: int) -> None:
    """Where borders are near to as many clusters as they can be, the bound is met or nearly so."""
    config = dataclasses.replace(METHODS["cfcam"], min_samples_fraction=0, min_samples_floor=min_samples)
    k = min_samples - 1
    channels = {1: 30, 2: 30}.get(min_samples, 2 * k - 1)
    centres = {1: 30, 2: 15}.get(min_samples, k - 1)
    near = np.eye(channels, dtype=bool)
    if k > 1:
        near[:centres, centres:] = near[centres:, :centres] = True
    elif k:
        near[np.arange(0, 30, 2), np.arange(1, 30, 2)] = near[np.arange(1, 30, 2), np.arange(0, 30, 2)] = True
    found = DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit(1.0 - near).labels_.max() + 1
    assert found == centres == most_clusters(channels, config)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_fused_into_a_real_network(tmp_path: Path, method: str) -> None:
    done = export_model(zoo.lite0.model(), tmp_path / "fused.onnx", head=method, tensors=True, targets=2)
    layer = done.manifest.layers[0]
    tensor, _ = Preprocessor(zoo.lite0.PREPROCESS)(zoo.photograph("astronaut"))
    feeds = {zoo.lite0.PREPROCESS.input: tensor, TARGET: np.int32([-1, 812])}
    a, g, found = run_ort(onnx.load(done.path), feeds, [layer.activations, layer.gradients, MAP])
    expected = CAM_METHODS[method](np.repeat(a, 2, axis=0), g)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
