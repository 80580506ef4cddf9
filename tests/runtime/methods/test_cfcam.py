"""CF-CAM: the published algorithm against arrays made without aerocam (golden/methods/make_cfcam.py), and the rest."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import checkout
from aerocam.cfcam_config import TIE
from aerocam.errors import MissingDependencyError, UsageError
from aerocam.runtime.methods import CfCamConfig, cluster_channels, get
from aerocam.runtime.methods.clustering import (
    dbscan,
    neighbour_percentile,
    pairwise_percentile,
    scikit_learn_dbscan,
    shapes,
    squared_distances,
)
from aerocam.runtime.methods.smoothing import bilateral, gaussian, published_mean

pytestmark = pytest.mark.runtime

GOLDEN = checkout.GOLDEN / "methods" / "cfcam.npz"
PUBLISHED = CfCamConfig.published()
CASES = {
    "one_cluster": {},
    "several_clusters": {},
    "negative": {},
    "all_noise": {"eps_percentile": 1.0, "min_samples_fraction": 0.5},
    "constant_maps": {},
    "same_constant": {},
    "dead_channels": {},
    "all_zero": {},
    "one_channel": {},
    "two_channels": {},
    "three_channels": {},
    "one_pixel": {},
    "small_groups": {},
    "no_positive": {},
}
COUNTS = {
    "one_cluster": 1,
    "several_clusters": 3,
    "negative": 1,
    "all_noise": 0,
    "constant_maps": 2,
    "same_constant": 0,
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def normalised(raw):
    """ReLU, then division by the maximum, as the method's descriptor asks of the runtime."""
    rectified = np.maximum(raw, 0)
    peak = rectified.max()
    return rectified / peak if peak > 0 else rectified


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_the_table_covers_the_golden_file(golden):
    assert CASES.keys() == {key.split("/")[0] for key in golden}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", ["numpy", "scikit-learn"])
def test_published_equals_the_description(golden, case, implementation):
    if implementation == "scikit-learn":
        pytest.importorskip("sklearn")
    config = dataclasses.replace(PUBLISHED, dbscan=implementation, **CASES[case])
    activations, gradients = golden[f"{case}/activations"], golden[f"{case}/gradients"]
    found = cluster_channels(activations, config)
    np.testing.assert_array_equal(found.labels, golden[f"{case}/labels"])
    np.testing.assert_array_equal(found.dominant, golden[f"{case}/labels"] == -2)
    assert found.eps == pytest.approx(float(golden[f"{case}/eps"]), rel=2 * TIE)
    assert found.count == COUNTS.get(case, found.count)
    raw = get("cfcam")(activations[None], gradients[None], config=config)[0]
    np.testing.assert_allclose(normalised(raw), golden[f"{case}/map"], atol=1e-5, rtol=0)


def test_published_has_its_own_name(golden):
    a, g = golden["several_clusters/activations"][None], golden["several_clusters/gradients"][None]
    found = get("cfcam-published")(a, g)
    np.testing.assert_array_equal(found, get("cfcam")(a, g, config=PUBLISHED))
    assert np.abs(found - get("cfcam")(a, g)).max() > 1e-3


def test_softmax_weights_add_up_to_one():
    g = np.random.default_rng(12).normal(size=(1, 24, 3, 3))
    np.testing.assert_allclose(get("cfcam-published")(np.ones_like(g), g), 1, rtol=1e-5)


@pytest.mark.parametrize("config", [PUBLISHED, CfCamConfig()], ids=["published", "default"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 3), (2, 2, 2), (3, 1, 5), (4, 4, 1), (9, 2, 3)])
@pytest.mark.parametrize("kind", ["random", "zeros", "ones", "huge", "tiny"])
def test_small_and_odd_layers_stay_finite(config, shape, kind):
    rng = np.random.default_rng(0)
    scale = {"random": 1, "zeros": 0, "ones": 0, "huge": 1e15, "tiny": 1e-15}[kind]
    a = (scale * rng.normal(size=(1, *shape)) + (kind == "ones")).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = get("cfcam")(a, 1e-3 * rng.normal(size=a.shape), config=config)
    assert np.isfinite(found).all()


def test_what_is_not_finite_gives_nan():
    rng = np.random.default_rng(1)
    a, g = rng.normal(size=(2, 2, 9, 3, 3))
    a[0, 3, 1, 1] = np.inf
    found = get("cfcam")(a, g)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def problems():
    """Vectors of many kinds: spread, rectified, clustered, on a lattice (ties), with duplicates, of few dimensions."""
    rng = np.random.default_rng(2)
    for n in (2, 3, 5, 17, 80):
        for d in (1, 6, 49):
            yield rng.normal(size=(n, d))
            yield np.maximum(rng.normal(size=(n, d)), 0) * rng.gamma(1, 0.3, size=(n, 1))
            yield rng.normal(size=(4, d))[rng.integers(4, size=n)] + 0.05 * rng.normal(size=(n, d))
            yield rng.integers(0, 4, size=(n, d)).astype(float)
            yield rng.normal(size=(max(n // 3, 1), d))[rng.integers(max(n // 3, 1), size=n)]


@pytest.mark.parametrize("percentile", [2, 25, 50])
def test_labels_are_scikit_learns(percentile):
    cluster = pytest.importorskip("sklearn.cluster")
    seen = set()
    for vectors in problems():
        vectors = vectors.astype(np.float32)
        squared = squared_distances(vectors.astype(np.float64))
        eps = max(pairwise_percentile(squared, percentile), 1e-5) * (1 + TIE)
        for min_samples in (2, 3, max(2, len(vectors) // 20), len(vectors) // 3 + 1):
            expected = cluster.DBSCAN(eps=eps, min_samples=min_samples).fit(vectors)
            np.testing.assert_array_equal(dbscan(squared, eps, min_samples), expected.labels_)
            border = set(np.flatnonzero(expected.labels_ >= 0)) - set(expected.core_sample_indices_)
            seen |= {("clusters", min(expected.labels_.max() + 1, 3)), ("border", bool(border))}
            seen |= {("noise", bool((expected.labels_ == -1).any()))}
    assert {("clusters", 0), ("clusters", 1), ("clusters", 3), ("border", True), ("noise", True)} <= seen


def test_a_border_row_goes_to_the_lowest_cluster_in_reach():
    line = np.array([6, 5.5, 5, 4.5, 3, 1.5, 1, 0.5, 0])[:, None]  # 3 is in reach of both, and no core
    np.testing.assert_array_equal(dbscan(squared_distances(line), 1.5, 4), [0, 0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(dbscan(squared_distances(line[::-1]), 1.5, 4), [0, 0, 0, 0, 0, 1, 1, 1, 1])
    first = dbscan(squared_distances(np.roll(line, -4, axis=0)), 1.5, 4)  # 3 itself comes first
    np.testing.assert_array_equal(first, [0, 0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 30, 400])
@pytest.mark.parametrize("percentile", [0, 25, 33.3, 50, 100])
def test_pairwise_percentile_is_numpys_of_all_off_diagonal_distances(n, percentile):
    vectors = np.random.default_rng(n).normal(size=(n, 6))
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    expected = np.percentile(distances[~np.eye(n, dtype=bool)], percentile)
    assert pairwise_percentile(squared_distances(vectors), percentile) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("drawn", ["lowest", "highest"])
@pytest.mark.parametrize("percentile", [10, 50, 90])
def test_pairwise_percentile_where_the_sample_misleads(monkeypatch, drawn, percentile):
    vectors = np.random.default_rng(13).normal(size=(300, 6))
    squared = squared_distances(vectors)
    expected = np.percentile(np.sqrt(squared[~np.eye(300, dtype=bool)]), percentile)
    upper = squared[np.triu_indices(300, 1)]
    extreme = np.argsort(upper if drawn == "lowest" else -upper)[:1000]
    misleading = SimpleNamespace(integers=lambda high, size: np.resize(extreme, size))
    monkeypatch.setattr(np.random, "default_rng", lambda seed: misleading)
    assert pairwise_percentile(squared, percentile) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [5, 40, 1100])
def test_neighbour_percentile_is_of_the_k_distance_curve(n):
    vectors = np.random.default_rng(n).normal(size=(n, 2))
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    expected = np.percentile(np.sort(distances, axis=1)[:, 2], 50)
    found = neighbour_percentile(squared_distances(vectors), 3, 50)
    assert found == pytest.approx(expected, rel=1e-7 if n <= 512 else 0.1)  # ordered in float32; TIE is 1e-6


@pytest.mark.parametrize("share", [0.02, 0.3], ids=["few neighbours, a sparse matrix", "many, a dense one"])
def test_labels_are_scikit_learns_on_the_plain_vectors(share):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(8, 5))[rng.integers(0, 8, 400)] + 0.35 * rng.normal(size=(400, 5))
    squared = squared_distances(vectors)
    eps = float(np.sqrt(np.quantile(squared, share))) * (1 + 1e-6)
    expected = cluster.DBSCAN(eps=eps, min_samples=6).fit(vectors).labels_
    assert (expected == -1).any() == (share < 0.1)
    np.testing.assert_array_equal(scikit_learn_dbscan(squared, eps, 6), expected)


def test_distances_of_equal_rows_are_zero():
    rows = 1e4 * np.random.default_rng(3).normal(size=(50, 49))
    squared = squared_distances(np.concatenate([rows, rows, rows]))
    np.testing.assert_array_equal(squared[:50, 50:100].diagonal(), 0)
    assert (squared_distances(rows)[~np.eye(50, dtype=bool)] > 1).all()


def test_shapes_know_correlation_only():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(4, 12))
    scaled = rows * np.array([[1.0], [1e-3], [50], [7]]) + np.array([[0.0], [2], [-3], [100]])
    np.testing.assert_allclose(shapes(scaled), shapes(rows), atol=1e-9)
    expected = 2 - 2 * np.corrcoef(rows)
    np.testing.assert_allclose(squared_distances(shapes(rows)), expected, atol=1e-12)
    constant = np.full((1, 12), 0.1, np.float32).astype(np.float64)
    np.testing.assert_array_equal(shapes(constant), 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 3), (5, 4), (7, 7)])
def test_published_filter_is_a_zero_padded_correlation(shape):
    height, width = shape
    maps = 0.1 * np.random.default_rng(5).normal(size=(3, *shape))
    for g, found in zip(maps, published_mean(maps, 5.0, 0.1, 1e-6), strict=True):
        i, j = np.indices(shape)
        kernel = np.exp(-((i - height / 2) ** 2 + (j - width / 2) ** 2) / 50 - (g - g.mean()) ** 2 / 0.02)
        kernel /= kernel.sum() + 1e-6
        left = ((height - 1) // 2, (width - 1) // 2)
        padded = np.pad(g, [(before, size) for before, size in zip(left, shape, strict=True)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, shape)[:height, :width]
        assert found == pytest.approx((windows * kernel).sum(axis=(2, 3)).mean(), rel=1e-9, abs=1e-12)


def test_bilateral_keeps_constants_scales_and_keeps_edges():
    maps = np.random.default_rng(6).normal(size=(2, 6, 5))
    constant = np.full((1, 6, 5), 0.3)
    np.testing.assert_allclose(bilateral(constant, 1.0, 1.0), constant, rtol=1e-12)
    np.testing.assert_allclose(bilateral(1e-4 * maps, 1.0, 1.0), 1e-4 * bilateral(maps, 1.0, 1.0), rtol=1e-9)
    step = np.repeat([[0.0] * 4 + [1.0] * 4], 8, axis=0)[None]
    assert bilateral(step, 1.0, 0.1)[0, :, 3].max() < 1e-3
    assert bilateral(step, 1.0, 100.0)[0, :, 3].min() > 0.2
    spike = np.zeros((1, 7, 7))
    spike[0, 3, 3] = 1
    smooth = bilateral(spike, 1.0, 1e6)[0]
    np.testing.assert_allclose(smooth, smooth.T, atol=1e-12)
    assert smooth[3, 3] > smooth[3, 2] > smooth[3, 1] > smooth[3, 0] == 0


def two_parts():
    """Channels that see the left half of the picture, or the right; class 0 wants the left ones, class 1 the right."""
    rng = np.random.default_rng(7)
    left = np.zeros((7, 7))
    left[:, :3] = 1
    side = np.where(np.arange(64)[:, None, None] % 2 == 0, left, left[:, ::-1])
    strength = rng.gamma(2, 0.5, size=(64, 1, 1))
    a = strength * side * rng.uniform(0.8, 1.2, size=(64, 7, 7))
    wanted = np.where(np.arange(64)[:, None, None] % 2 == 0, 1e-3, -1e-3)
    noise = [2e-4 * rng.normal(size=a.shape) for _ in range(2)]
    return a[None], (wanted + noise[0])[None], (noise[1] - wanted)[None]


def test_default_tells_classes_apart_and_published_does_not():
    a, first, second = two_parts()
    blind = [normalised(get("cfcam-published")(a, g)) for g in (first, second)]
    assert correlation(*blind) > 0.999
    maps = [normalised(get("cfcam")(a, g)) for g in (first, second)]
    assert correlation(*maps) < -0.5
    assert maps[0][..., :3].mean() > 10 * maps[0][..., 4:].mean()
    assert maps[1][..., 4:].mean() > 10 * maps[1][..., :3].mean()


def test_default_finds_the_parts():
    found = cluster_channels(two_parts()[0][0], CfCamConfig(min_samples_floor=3, eps_percentile=90))
    assert found.count == 2
    for label in range(2):
        assert len(set(np.flatnonzero(found.labels == label) % 2)) == 1


def test_linear_map_scales_with_the_gradient():
    a, g, _ = two_parts()
    np.testing.assert_allclose(get("cfcam")(a, 1e-3 * g), 1e-3 * get("cfcam")(a, g), rtol=1e-4, atol=1e-9)


def test_kept_noise_keeps_its_own_weight():
    rng = np.random.default_rng(8)
    a, g = rng.normal(size=(2, 1, 24, 5, 5))
    plain = CfCamConfig(activity_share=0, map_sigma=0, keep_noise=True)
    config = dataclasses.replace(plain, eps_rule="pairwise", eps_percentile=0, min_samples_fraction=1)
    assert cluster_channels(a[0], config).count == 0
    np.testing.assert_allclose(get("cfcam")(a, g, config=config), get("gradcam")(a, g), atol=1e-5)
    dropped = get("cfcam")(a, g, config=dataclasses.replace(config, keep_noise=False))
    only = cluster_channels(a[0], config).dominant[None, :, None, None]
    np.testing.assert_allclose(dropped, get("gradcam")(a * only, g), atol=1e-5)


def test_activity_share_takes_a_share_of_the_maps_mean():
    """Of the channels' mean activations S = Σ mean(A_c) A_c, so much that the mean falls by the share."""
    rng = np.random.default_rng(13)
    a = np.maximum(rng.normal(size=(1, 24, 6, 5)), 0)
    g = 1e-3 * rng.normal(size=a.shape) + 1e-4
    for keep in (False, True):
        plain = CfCamConfig(keep_noise=keep, activity_share=0, map_sigma=0)
        whole = get("cfcam")(a, g, config=plain)[0]
        kept = (cluster_channels(a[0], plain).labels != -1) | keep
        assert keep or not kept.all()
        activity = np.einsum("c,chw->hw", a[0].mean(axis=(1, 2)) * kept, a[0])
        assert whole.mean() > 0
        for share in (0.25, 1.0):
            found = get("cfcam")(a, g, config=dataclasses.replace(plain, activity_share=share))[0]
            expected = whole - share * whole.mean() / activity.mean() * activity
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(whole).max())
        against = get("cfcam")(a, -g, config=dataclasses.replace(plain, activity_share=0.5))[0]
        np.testing.assert_allclose(against, -whole, atol=1e-5 * np.abs(whole).max())  # nothing to take a share of


def test_map_sigma_is_a_gaussian_over_the_positive_part_that_knows_the_border():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(14)
    a, g = rng.normal(size=(2, 1, 24, 6, 5))
    plain = CfCamConfig(activity_share=0, map_sigma=0)
    whole = np.maximum(get("cfcam")(a, g, config=plain)[0].astype(np.float64), 0)
    assert 0 < np.count_nonzero(whole) < whole.size
    found = get("cfcam")(a, g, config=dataclasses.replace(plain, map_sigma=0.7))[0]
    blurred, weight = (
        ndimage.gaussian_filter(one, 0.7, mode="constant", truncate=20) for one in (whole, np.ones_like(whole))
    )
    np.testing.assert_allclose(found, blurred / weight, atol=1e-5 * np.abs(whole).max())
    broken = np.full((4, 7), np.nan, np.float32)
    assert np.isnan(gaussian(broken, 2.0)).all()
    np.testing.assert_allclose(gaussian(np.full((4, 7), 0.3, np.float32), 2.0), 0.3, rtol=1e-6)


def test_constant_maps_have_no_shape():
    a = np.random.default_rng(9).normal(size=(20, 4, 4)) + 3
    a[:6] = 0.1
    labels = cluster_channels(a).labels
    assert (labels[:6] == -1).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dominant_percentile", 101, "dominant_percentile is 101, expected 0 to 100"),
        ("dominant_percentile", float("nan"), "dominant_percentile is nan"),
        ("eps_percentile", -1, "eps_percentile is -1, expected 0 to 100"),
        ("eps_floor", 0, "eps_floor is 0, expected a positive number"),
        ("spatial_sigma", -1.0, "spatial_sigma"),
        ("range_sigma", float("inf"), "range_sigma"),
        ("kernel_eps", 0, "kernel_eps"),
        ("activity_share", 1.5, "activity_share is 1.5, expected 0 to 1"),
        ("map_sigma", -0.5, "map_sigma is -0.5, expected 0 or a positive number"),
        ("min_samples_fraction", 1.5, "min_samples_fraction is 1.5, expected 0 to 1"),
        ("min_samples_floor", 0, "min_samples_floor is 0, expected at least 1"),
        ("weighting", "soft", "weighting is 'soft'. Did you mean 'softmax'"),
        ("similarity", "form", "similarity is 'form'"),
        ("eps_rule", None, "eps_rule is None"),
        ("smoothing", "gauss", "smoothing is 'gauss'. Known: 'published'"),
        ("dbscan", "sklearn", "dbscan is 'sklearn'. Did you mean 'scikit-learn'"),
    ],
)
def test_bad_constants_are_refused(field, value, message):
    with pytest.raises(UsageError, match=message):
        CfCamConfig(**{field: value})


def test_missing_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    a = np.random.default_rng(10).normal(size=(12, 3, 3))
    with pytest.raises(MissingDependencyError, match=r"scikit-learn is not installed.*aerocam\[cluster\]"):
        cluster_channels(a, CfCamConfig(dbscan="scikit-learn"))
    assert cluster_channels(a, CfCamConfig(dbscan="numpy")).labels.shape == (12,)


def test_memory_stays_small_at_2048_channels():
    import tracemalloc

    rng = np.random.default_rng(11)
    a = np.maximum(rng.normal(size=(1, 2048, 7, 7)), 0).astype(np.float32)
    get("cfcam-published")(a[:, :64], a[:, :64])  # imports scikit-learn, which is not what is measured
    tracemalloc.start()
    get("cfcam-published")(a, a)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
