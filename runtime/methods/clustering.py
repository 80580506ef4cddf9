"""DBSCAN of a layer's channels: distances, the neighbourhood eps, labels.

All distances come from one matrix product, and the order statistic that eps needs from a partial sort of them: 2048
channels of 7 x 7 then take tens of megabytes and milliseconds, not a gigabyte and a third of a second.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from aerocam.cfcam_config import CURVE, FLAT, NOISE
from aerocam.errors import missing

ROUNDING = 2.0**-46
"""Squared distances below this share of the two squared norms are rounding: the vectors count as equal."""

SAMPLE = 20_000
"""About how many distances locate a percentile of them all."""

SPARSE = 0.1
"""Share of pairs that are neighbours below which scikit-learn is faster with a sparse matrix."""

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


def shapes(vectors: Matrix) -> Matrix:
    """Return every row without its mean, at unit length; a constant row becomes zeros.

    The squared distance of two such rows is 2 (1 - r), r their correlation.
    """
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = length <= FLAT * np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=~flat)


def squared_distances(vectors: Matrix) -> Matrix:
    """Return squared Euclidean distances between the rows, (m, d) -> (m, m), zeros on the diagonal."""
    norms = np.einsum("ij,ij->i", vectors, vectors)[:, None]
    ones = np.ones_like(norms)
    norms_less_rounding = (1 - ROUNDING) * norms
    left = np.concatenate([-2 * vectors, norms_less_rounding, ones], axis=1)
    right = np.concatenate([vectors, ones, norms_less_rounding], axis=1)
    squared = left @ right.T  # |x|² + |y|² - 2 x·y in one product, without passes over the large matrix
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, 0)
    return squared


def pairwise_percentile(squared: Matrix, percentile: float) -> float:
    """Percentile of all off-diagonal distances, as `numpy.percentile` interpolates; 0 for fewer than two rows."""
    if len(squared) < 2:
        return 0.0
    upper = np.concatenate([row[i + 1 :] for i, row in enumerate(squared)])
    position = (2 * upper.size - 1) * percentile / 100  # every distance stands in the matrix twice
    below = math.floor(position)
    low, high = below // 2, min((below + 1) // 2, upper.size - 1)
    first, last = (math.sqrt(each) for each in _in_order(upper, low, high))
    return first + (last - first) * (position - below)


def neighbour_percentile(squared: Matrix, rank: int, percentile: float) -> float:
    """Return percentile of the rows' distances to their `rank`-th neighbour, themselves counted: the k-distance curve.

    Of more than `CURVE` rows, evenly spaced ones stand for all. They are ordered in float32, in half the time: that
    rounds by less than `TIE` stretches eps.
    """
    if len(squared) < 2:
        return 0.0
    rank = min(rank, len(squared)) - 1
    rows = squared[:: -(-len(squared) // CURVE)].astype(np.float32)
    rows.partition(rank, axis=1)
    return float(np.percentile(np.sqrt(rows[:, rank], dtype=np.float64), percentile))


def dbscan(squared: Matrix, eps: float, min_samples: int) -> Labels:
    """Compute DBSCAN (Ester et al., 1996), with the labels of scikit-learn's; a row counts among its own neighbours.

    Clusters are numbered by their first core row; a border row takes the lowest number within reach; others are NOISE.
    Of 1536 channels, this takes 2 ms; scikit-learn's own 14 to 20 ms told the neighbours, and 12 to 170 from vectors,
    where another runtime's threads keep the cores busy.
    """
    near = squared <= eps * eps
    core = np.count_nonzero(near, axis=1) >= min_samples
    labels = np.full(len(squared), NOISE, dtype=np.intp)
    cluster = 0
    for first in np.flatnonzero(core):
        if labels[first] == NOISE:
            labels[_reach(near, core, first) & (labels == NOISE)] = cluster
            cluster += 1
    return labels


def scikit_learn_dbscan(squared: Matrix, eps: float, min_samples: int) -> Labels:
    """Return the same labels from scikit-learn's DBSCAN, told which rows are neighbours.

    On the plain vectors it would work the distances out again, in threads that fight with an inference runtime's.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import DBSCAN
    except ImportError as error:
        raise missing("scikit-learn", "cluster", "for CF-CAM's clustering") from error
    if not len(squared):
        return np.zeros(0, dtype=np.intp)
    near = squared <= eps * eps
    few = np.count_nonzero(near) < SPARSE * near.size
    distances = _neighbour_graph(near) if few else (~near).astype(np.float32)
    return DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit(distances).labels_.astype(np.intp)


def _neighbour_graph(near: npt.NDArray[np.bool_]) -> Any:
    """Which rows are neighbours, as scikit-learn takes it: a sparse matrix of distances below eps, itself included."""
    from scipy.sparse import csr_matrix  # comes with scikit-learn

    columns = np.flatnonzero(near)
    columns %= len(near)
    ends = np.cumsum(near.sum(axis=1))
    distances = np.full(len(columns), 0.25, np.float32)
    return csr_matrix((distances, columns, np.concatenate([[0], ends])), shape=near.shape)


def _reach(near: npt.NDArray[np.bool_], core: npt.NDArray[np.bool_], first: np.intp) -> npt.NDArray[np.bool_]:
    """Return rows reached from `first` through core rows, wave by wave."""
    reached = near[first].copy()
    wave = reached.copy()
    while True:
        fresh = near[wave & core].any(axis=0) & ~reached
        if not fresh.any():
            return reached
        reached |= fresh
        wave = fresh


def _in_order(values: Matrix, low: int, high: int) -> tuple[float, float]:
    """Return `sorted(values)[low]` and `[high]`, two neighbours; reorders `values`.

    A sample drawn at random, the same in every run, tells between which values they lie; only what is there is
    partitioned, 40 % faster in all. Should they lie elsewhere, everything is.
    """
    if len(values) > 2 * SAMPLE:
        sample = np.sort(values[np.random.default_rng(0).integers(len(values), size=SAMPLE)])
        rank, margin = low * SAMPLE // len(values), SAMPLE // 50  # six standard deviations of a rank in the sample
        least, most = sample[max(rank - margin, 0)], sample[min(rank + margin, SAMPLE - 1)]
        inside = values[(values >= least) & (values <= most)]
        before = np.count_nonzero(values < least)
        if before <= low and high < before + len(inside):
            values, low, high = inside, low - before, high - before
    values.partition(sorted({low, high}))
    return float(values[low]), float(values[high])
