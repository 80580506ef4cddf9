"""CF-CAM (arXiv:2504.00060) in the graph: the same labels and weights as `aerocam.runtime.methods.cfcam`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.cfcam_config import DEFAULT, DOMINANT, NOISE, PUBLISHED, TIE, CfCamConfig
from aerocam.errors import UsageError
from aerocam.export.heads import cluster_filters, dbscan
from aerocam.export.heads.channel_distances import UNIT, power_of_two, scaled, shapes, squared_distances
from aerocam.export.heads.neighbourhood import neighbourhood
from aerocam.export.heads.ordering import partition, percentile, prefix_sums
from aerocam.export.heads.registry import fuses
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape


@fuses("cfcam")
def cfcam(op: Builder, activations: ir.Value, gradients: ir.Value, planes: int = 1) -> ir.Value:
    """Compute CF-CAM with the constants that tell classes apart."""
    return cf_cam(op, activations, gradients, DEFAULT, planes)


@fuses("cfcam-published")
def cfcam_published(op: Builder, activations: ir.Value, gradients: ir.Value, planes: int = 1) -> ir.Value:
    """Compute CF-CAM with the constants of its release."""
    return cf_cam(op, activations, gradients, PUBLISHED, planes)


def cf_cam(op: Builder, activations: ir.Value, gradients: ir.Value, config: CfCamConfig, planes: int = 1) -> ir.Value:
    """Compute CF-CAM: L = Σ_c w_c A_c over the channels that are dominant or in a cluster; (T, H, W).

    Filters stay within each of the planes that lie below each other.

    Raises:
        UsageError: The layer has too many channels to compare.
    """
    a, g = op.single(activations), op.single(gradients)
    n, channels, height, width = static_shape(a)
    maps = []
    for i in range(n):  # several targets of one image share its clusters
        own = op.reshape(op.slice_axis(a, 0, i, i + 1), channels, height * width)
        per_target = g if n == 1 else op.slice_axis(g, 0, i, i + 1)
        targets = static_shape(per_target)[0]
        labels = channel_labels(op, own, config)
        weights = channel_weights(op, labels, per_target, config, planes)
        weights = _less_activity(op, weights, own, labels, config)
        weights = op.Add(weights, _not_finite(op, own, [0, 1]))
        weights = op.Add(weights, op.reshape(_not_finite(op, per_target, [1, 2, 3]), targets, 1))
        summed = op.MatMul(weights, own)
        apart = op.reshape(summed, targets * planes, height // planes, width)
        filtered = cluster_filters.gaussian(op, apart, config.map_sigma)
        maps.append(op.reshape(filtered, targets, height, width))
    return maps[0] if n == 1 else op.Concat(*maps, axis=0)


def channel_labels(op: Builder, maps: ir.Value, config: CfCamConfig) -> ir.Value:
    """Compute steps one and two for one image, (C, P) -> (C,) float32: each channel's cluster, NOISE or DOMINANT.

    Raises:
        UsageError: There are too many channels to compare.
    """
    channels, _ = static_shape(maps)
    most = _most_compared(channels, config)
    if most > dbscan.LARGEST:
        raise UsageError(
            f"fused CF-CAM: the layer has {channels} channels, of which {most} would be compared with each other, at"
            f" most {dbscan.LARGEST} are expected; choose another layer, or let the runtime compute the map"
        )
    unit = op.Mul(maps, power_of_two(op, op.reduce("ReduceMax", op.Abs(maps), [0, 1])))
    norms = op.Sqrt(op.reshape(op.sum(op.Mul(unit, unit), [1]), channels))
    least = op.Mul(percentile(op, norms, config.dominant_percentile), 1 - TIE)
    compared = op.Cast(op.Less(norms, least), to=ir.DataType.FLOAT)  # never more than `most`, also among NaN
    clusters = op.constant(np.full(channels, NOISE, np.float32))
    if config.min_samples(most) <= most:
        clusters = _clusters(op, maps, compared, most, config)
    return op.Add(clusters, op.Mul(op.Sub(1.0, compared), float(DOMINANT - NOISE)))


def _most_compared(channels: int, config: CfCamConfig) -> int:
    """Return how many channels may be weaker than the percentile."""
    return math.ceil((channels - 1) * (config.dominant_percentile / 100))


def _clusters(op: Builder, maps: ir.Value, compared: ir.Value, most: int, config: CfCamConfig) -> ir.Value:
    """Return the cluster of each channel, or NOISE, as (C,); at most `most` channels are compared."""
    channels, _ = static_shape(maps)
    if config.similarity == "shape":
        maps, shaped = shapes(op, maps)
        compared = op.Mul(compared, op.reshape(shaped, channels))
    parts = partition(op, compared)
    rows = op.Gather(maps, op.slice_axis(parts.order, 0, 0, most), axis=0)
    numbers = op.constant(np.arange(most, dtype=np.float32)[:, None])
    valid = op.Cast(op.Less(numbers, parts.count), to=ir.DataType.FLOAT)
    rows = op.Mul(rows, valid)
    rows, factor = scaled(op, rows) if config.similarity == "values" else (rows, op.constant([[UNIT]]))
    squared = squared_distances(op, rows, valid)
    around = neighbourhood(op, squared, parts.count, config, factor)
    first = dbscan.dbscan(op, squared, around.squared_eps, around.min_samples)
    numbered = op.pad(_numbered(op, first), [0], [channels - most], float(NOISE))
    return op.Gather(numbered, parts.place, axis=0)


def _numbered(op: Builder, first: ir.Value) -> ir.Value:
    """Number the clusters, which `first` names by their first core; noise stays -1."""
    (n,) = static_shape(first)
    is_first = op.Cast(op.Equal(first, op.constant(np.arange(n, dtype=np.float32))), to=ir.DataType.FLOAT)
    before = op.Concat(op.constant([float(NOISE)]), op.Sub(prefix_sums(op, is_first), 1.0), axis=0)
    return op.Gather(before, op.Cast(op.Add(first, 1.0), to=ir.DataType.INT64), axis=0)


def channel_weights(
    op: Builder, labels: ir.Value, gradients: ir.Value, config: CfCamConfig, planes: int = 1
) -> ir.Value:
    """Compute step three: the weight of each channel for each target, (C,) and (T, C, H, W) -> (T, C)."""
    targets, channels, height, width = static_shape(gradients)
    flat = op.reshape(gradients, targets, channels, height * width)
    own = op.reduce("ReduceMean", flat, [2], keepdims=False)
    noise, dominant = (op.Cast(op.Equal(labels, float(i)), to=ir.DataType.FLOAT) for i in (NOISE, DOMINANT))
    weights = op.Mul(own, op.Add(dominant, noise) if config.keep_noise else dominant)
    count = most_clusters(_most_compared(channels, config), config)
    if count:
        numbers = op.constant(np.arange(count, dtype=np.float32)[:, None])
        members = op.Cast(op.Equal(op.reshape(labels, 1, channels), numbers), to=ir.DataType.FLOAT)
        means = op.Div(op.MatMul(members, flat), op.Max(op.sum(members, [1]), 1.0))
        apart = op.reshape(means, targets * count * planes, height // planes, width)
        of_clusters = _cluster_weights(op, apart, config)
        if planes > 1:
            of_planes = op.reshape(of_clusters, targets * count, planes)
            of_clusters = op.reduce("ReduceMean", of_planes, [1], keepdims=False)
        weights = op.Add(weights, op.MatMul(op.reshape(of_clusters, targets, count), members))
    if config.weighting == "linear":
        return weights
    kept = op.constant(np.ones(channels)) if config.keep_noise else op.Sub(1.0, noise)
    return _softmax(op, weights, kept)


def _less_activity(op: Builder, weights: ir.Value, maps: ir.Value, labels: ir.Value, config: CfCamConfig) -> ir.Value:
    """Subtract from weights (T, C) those by the kept channels' means, scaled to a share of each map's positive mean.

    Means are in units of the largest, so that their squares neither overflow nor vanish.
    """
    if not config.activity_share:
        return weights
    (channels,) = static_shape(labels)
    means = op.reduce("ReduceMean", maps, [1])
    if not config.keep_noise:
        dropped = op.Cast(op.Equal(labels, float(NOISE)), to=ir.DataType.FLOAT)
        means = op.Mul(means, op.reshape(op.Sub(1.0, dropped), channels, 1))
    peak = op.Max(op.reduce("ReduceMax", op.Abs(means), [0, 1]), cluster_filters.TINY)
    unit = op.Div(means, peak)
    evidence = op.Relu(op.MatMul(weights, unit))
    activity = op.Max(op.reduce("ReduceSum", op.Mul(unit, unit), [0, 1]), cluster_filters.TINY)
    less = op.Mul(op.Div(evidence, activity), op.reshape(unit, 1, channels))
    return op.Sub(weights, op.Mul(less, config.activity_share))


def most_clusters(channels: int, config: CfCamConfig) -> int:
    """Return an upper bound on the number of clusters among up to `channels` channels.

    A cluster has a core with k = min_samples - 1 neighbours. A neighbour that is a core is in no other cluster; one
    that is none has at most k - 1 neighbours, so it may be near to cores of so many clusters. With b such neighbours in
    all, c clusters have c k <= b (k - 1), and c + b channels or more.
    """
    most = 0
    for m in range(channels + 1):
        k = config.min_samples(m) - 1
        most = max(most, m // (k + 1) if k < 2 else m * (k - 1) // (2 * k - 1))
    return most


def _cluster_weights(op: Builder, maps: ir.Value, config: CfCamConfig) -> ir.Value:
    """Return the mean of every filtered map, (b, H, W) -> (b,)."""
    if config.smoothing == "published":
        return cluster_filters.published_mean(op, maps, config.spatial_sigma, config.range_sigma, config.kernel_eps)
    if config.smoothing == "bilateral":
        return cluster_filters.bilateral_mean(op, maps, config.spatial_sigma, config.range_sigma)
    return op.reduce("ReduceMean", maps, [1, 2], keepdims=False)


def _softmax(op: Builder, weights: ir.Value, kept: ir.Value) -> ir.Value:
    """Return the softmax of weights (T, C) over the channels that are kept: 1 in `kept` (C,), the others 0."""
    hidden = op.Mul(op.Sub(1.0, kept), -1e30)
    return op.Softmax(op.Add(op.Mul(weights, kept), hidden), axis=1)


def _not_finite(op: Builder, value: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Return 0, or NaN where an entry along `axes` is not finite: the map is NaN then, as the reference's."""
    return op.sum(op.Mul(value, 0.0), axes)
