"""What the fused CF-CAM clusters with: order statistics, compaction, distances and DBSCAN as ONNX nodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from aerocam.export.heads.channel_distances import FAR, UNIT, power_of_two, scaled, shapes, squared_distances
from aerocam.export.heads.dbscan import dbscan, rounds
from aerocam.export.heads.neighbourhood import pairs
from aerocam.export.heads.ordering import by_bisection, partition, percentile, prefix_sums
from head_graphs import runner

Floats = NDArray[np.float32]


def floats(*values: float) -> Floats:
    return np.array(values, np.float32)


@pytest.mark.parametrize("n", [1, 2, 5, 16, 17, 1000])
def test_prefix_sums_and_partition(n: int) -> None:
    run = runner(lambda op, x: (prefix_sums(op, x), *vars(partition(op, x)).values()), np.zeros(n, np.float32))
    rng = np.random.default_rng(n)
    for share in (0, 0.3, 1):
        chosen = (rng.random(n) < share).astype(np.float32)
        sums, order, place, count = run(chosen)
        expected = np.argsort(chosen == 0, kind="stable")
        np.testing.assert_array_equal(sums, chosen.cumsum())
        np.testing.assert_array_equal(order, expected)
        np.testing.assert_array_equal(order[place], np.arange(n))
        assert count == chosen.sum()


@pytest.mark.parametrize("n", [1, 2, 6, 101, 1280])
@pytest.mark.parametrize("share", [0, 25, 75, 100])
def test_percentile_is_numpys(n: int, share: float) -> None:
    run = runner(lambda op, x: percentile(op, x, share), np.zeros(n, np.float32))
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n), rng.integers(0, 5, size=n), np.full(n, 0.3)):
        expected = np.percentile(values.astype(np.float32).astype(float), share)
        np.testing.assert_allclose(run(values)[0], [expected], rtol=1e-6, atol=1e-7)


def sorted_problems(n: int) -> Iterator[Floats]:
    rng = np.random.default_rng(n)
    yield rng.random((n, n)).astype(np.float32)
    yield np.exp(6 * rng.normal(size=(n, n))).clip(2**-19, 2**23).astype(np.float32)
    yield rng.integers(0, 4, size=(n, n)).astype(np.float32)
    yield np.where(rng.random((n, n)) < 0.6, 0, rng.random((n, n))).astype(np.float32)
    close = 1 + 2.0**-22 * rng.integers(0, 40, size=(n, n))  # steps of two to four float32 numbers
    yield close.astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 7, 150])
def test_bisection_finds_the_very_values(n: int) -> None:
    ranked = np.zeros((1, 1), np.float32)
    run = runner(lambda op, x, k: by_bisection(op, x, k, 2.0**-20, 2.0**24), np.zeros((n, n), np.float32), ranked)
    for values in sorted_problems(n):
        order = np.sort(values.ravel())
        for rank in {0, 1 % n**2, n**2 // 4, n**2 // 2, max(n**2 - 2, 0)}:
            low, high = run(values, np.full((1, 1), rank))
            assert low == order[rank]
            assert high == order[rank + 1] if rank + 1 < n**2 else high > order[rank]


def maps(n: int, positions: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng([n, positions])
    yield rng.normal(size=(n, positions))
    yield np.maximum(rng.normal(size=(n, positions)), 0) * rng.gamma(1, 1, size=(n, 1))
    yield rng.normal(size=(3, positions))[rng.integers(3, size=n)] + 1e-3 * rng.normal(size=(n, positions))
    yield rng.normal(size=(n, positions)) * np.exp(3 * rng.normal(size=(n, 1)))
    yield 1e12 * rng.normal(size=(n, positions))
    yield 1e-12 * rng.normal(size=(n, positions))


@pytest.mark.parametrize("positions", [1, 9, 49, 784])
def test_distances_are_right_to_the_last_bits(positions: int) -> None:
    """Relative to the distance, also of maps that are alike or weak; of equal rows zero."""
    n = 40
    valid = (np.arange(n)[:, None] < n - 3).astype(np.float32)
    run = runner(
        lambda op, x, v: (lambda rows, factor: (squared_distances(op, rows, v), factor))(*scaled(op, x)),
        np.zeros((n, positions), np.float32),
        valid,
    )
    for rows in maps(n, positions):
        given = rows.astype(np.float32)
        given[5], given[6], given[7] = given[4], 0, 0
        found, factor = run(given, valid)
        exact = ((given[:, None].astype(float) - given[None]) ** 2).sum(axis=2) * factor.astype(float) ** 2
        np.testing.assert_array_equal(found, found.T)
        within = found[: n - 3, : n - 3]
        np.testing.assert_allclose(within, exact[: n - 3, : n - 3], rtol=3e-7, atol=4e-3 * positions**0.5)
        assert within[4, 5] == within[6, 7] == within.diagonal().max() == 0
        assert (found[n - 3 :] >= FAR).all()
        assert (found[:, n - 3 :] >= FAR).all()


def test_distances_by_one_product_would_be_worse() -> None:
    rng = np.random.default_rng(5)
    given = (rng.normal(size=(1, 49)) + 1e-3 * rng.normal(size=(30, 49))).astype(np.float32)
    run = runner(lambda op, x, v: squared_distances(op, x, v), given, np.ones((30, 1), np.float32))
    given *= np.float32(UNIT) / np.linalg.norm(given, axis=1).max()
    unit = given.astype(float)
    exact = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
    norms = (given**2).sum(axis=1)
    plain = norms[:, None] + norms - 2 * given @ given.T
    apart = ~np.eye(30, dtype=bool)
    (found,) = run(given, np.ones((30, 1)))
    errors = [np.abs(x - exact)[apart].max() / exact[apart].max() for x in (found, plain)]
    assert errors[0] < 0.05 * errors[1]


@pytest.mark.parametrize("positions", [1, 2, 49])
def test_shapes_know_correlation_only(positions: int) -> None:
    rng = np.random.default_rng(positions)
    rows = rng.normal(size=(8, positions))
    given = np.concatenate([rows, 1e-9 * rows, 100 + rows, 0 * rows, 0 * rows + 0.1, 1e9 * rows]).astype(np.float32)
    run = runner(shapes, given)
    found, shaped = run(given)
    centred = given.astype(float) - given.astype(float).mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = norms <= 1e-6 * np.linalg.norm(given.astype(float), axis=1, keepdims=True)
    np.testing.assert_array_equal(shaped, ~flat)
    expected = np.divide(UNIT * centred, norms, out=np.zeros_like(centred), where=~flat)
    np.testing.assert_allclose(found * ~flat, expected, atol=UNIT * 3e-7)


def test_powers_of_two() -> None:
    run = runner(power_of_two, np.zeros((1, 1), np.float32))
    for peak in (1e-30, 0.3, 0.5, 1, 1.99, 2, 1e30):
        (found,) = run(np.full((1, 1), peak))
        assert np.frexp(found)[0] == 0.5
        assert 1 <= found * np.float32(peak) < 2
    for peak in (0, np.inf, np.nan):
        assert np.isfinite(run(np.full((1, 1), peak))[0]).all()


def points(n: int, dimensions: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Blobs, spread points, a lattice with ties, duplicates, a shuffled chain."""
    centres = rng.normal(size=(int(rng.integers(2, 9)), dimensions))
    yield centres[rng.integers(len(centres), size=n)] + rng.choice([0.03, 0.1, 0.3]) * rng.normal(size=(n, dimensions))
    yield rng.normal(size=(n, dimensions))
    yield rng.integers(0, 4, size=(n, dimensions)).astype(float)
    yield centres[rng.integers(len(centres), size=n)]
    yield np.eye(dimensions)[0] * rng.permutation(n)[:, None]


def label_runner(n: int):
    return runner(dbscan, np.zeros((n, n), np.float32), *[np.zeros((1, 1), np.float32)] * 2)


def numbered(first: NDArray) -> NDArray[np.intp]:
    """Cluster numbers from first cores, which must rise in the same order."""
    return np.searchsorted(np.unique(first[first >= 0]), first) - (first < 0)


@pytest.mark.parametrize(("n", "trials"), [(2, 3), (3, 5), (10, 20), (120, 12)])
def test_labels_are_scikit_learns(n: int, trials: int) -> None:
    rng, run = np.random.default_rng(n), label_runner(n)
    seen = set()
    for _ in range(trials):
        for vectors in points(n, int(rng.integers(2, 9)), rng):
            squared = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2).astype(np.float32)
            limit = np.percentile(squared[~np.eye(n, dtype=bool)], rng.choice([2, 10, 25])).astype(np.float32)
            for min_samples in (2, 3, max(4, n // 10)):
                far = (squared > limit).astype(float)
                model = DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit(far)
                (first,) = run(squared, limit.reshape(1, 1), np.full((1, 1), min_samples))
                np.testing.assert_array_equal(numbered(first), model.labels_)
                seen |= {min(model.labels_.max() + 1, 3), "noise" if (model.labels_ < 0).any() else "none"}
    assert seen == {0, 1, 2, 3, "noise", "none"} or n < 120


def test_a_border_goes_to_the_first_cluster_in_reach() -> None:
    """Thirteen lines, each with a row between two clusters that is near to cores of both and none itself."""
    line = np.array([6, 5.5, 5, 4.5, 3, 1.5, 1, 0.5, 0])
    rows = np.concatenate([line + 100 * i for i in range(13)])
    rng, run = np.random.default_rng(6), label_runner(len(rows))
    sides = set()
    for _ in range(10):
        place = rng.permutation(rows)
        squared = (place[:, None] - place[None]).astype(np.float32) ** 2
        expected = DBSCAN(eps=1.5, min_samples=4).fit(place[:, None]).labels_
        np.testing.assert_array_equal(numbered(run(squared, [[2.25]], [[4.0]])[0]), expected)
        sides |= {bool(expected[place == 3 + 100 * i] == expected[place == 100 * i]) for i in range(13)}
    assert sides == {True, False}


def slow_order(n: int) -> NDArray[np.intp]:
    """Places on a line of n = 2^i + 1 rows that take i + 1 rounds: between two rows always a later one."""
    line = [0, 1]
    while len(line) < n:
        later = iter(range(len(line), 2 * len(line) - 1))
        line = [x for row in line for x in (row, next(later, -1))][:-1]
    return np.argsort(line)


@pytest.mark.parametrize("n", [3, 5, 33, 257])
def test_chains_in_any_order_are_one_cluster(n: int) -> None:
    """Rows in a line, each near to the next: in order, backwards, alternately, shuffled, in the slowest order known."""
    rng, run = np.random.default_rng(n), label_runner(n)
    orders = [np.arange(n), np.arange(n)[::-1], np.arange(n) * 2 % n, slow_order(n)]
    orders += [rng.permutation(n) for _ in range(20)]
    for place in orders:
        squared = (place[:, None] - place[None]).astype(np.float32) ** 2
        np.testing.assert_array_equal(run(squared, [[1.0]], [[2.0]])[0], 0)
        cut = np.where(place < n // 3, place, place + 1)
        squared = (cut[:, None] - cut[None]).astype(np.float32) ** 2
        model = DBSCAN(eps=1, min_samples=2).fit(cut[:, None])
        np.testing.assert_array_equal(numbered(run(squared, [[1.0]], [[2.0]])[0]), model.labels_)


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4), (1536, 14)])
def test_as_many_rounds_as_fibonacci_numbers(n: int, expected: int) -> None:
    jumps = list(rounds(n))
    assert len(jumps) == expected
    assert jumps == sorted(jumps, reverse=True)
    if n > 2:
        assert 2 ** jumps[0] >= n - 1


@pytest.mark.parametrize("n", [1, 2, 3, 50, 257])
def test_every_pair_once(n: int) -> None:
    squared = np.arange(n * n, dtype=np.float32).reshape(n, n)
    squared = np.triu(squared, 1) + np.triu(squared, 1).T
    found = runner(pairs, squared)(squared)[0].ravel()
    np.testing.assert_array_equal(np.sort(found[found < FAR]), np.sort(squared[np.triu_indices(n, 1)]))
    assert n < 257 or found.size < 0.6 * n * n
