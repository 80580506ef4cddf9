"""eps and min_samples of CF-CAM's DBSCAN: what depends on the number of compared channels, read off a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.cfcam_config import CURVE, TIE, CfCamConfig
from aerocam.export.heads.channel_distances import FAR
from aerocam.export.heads.ordering import by_bisection, in_order
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

LARGEST_EPS = 5000.0
"""In the units of `channel_distances`: more than any distance there is, less than that of a row that does not count."""

LEAST, MOST = 2.0**-20, 2.0**24 + 2.0**16
"""Between these lies every squared distance that is not zero; rounding whole adds a little to 2^24."""

WIDTH = 1024
"""Length of the rows that pairs are counted by."""


@dataclass(frozen=True)
class Neighbourhood:
    """What makes a core, float32 (1, 1) each.

    Attributes:
        squared_eps: Squared distance up to which two rows are neighbours.
        min_samples: Neighbours that a core has, itself counted.
    """

    squared_eps: ir.Value
    min_samples: ir.Value


def neighbourhood(
    op: Builder, squared: ir.Value, count: ir.Value, config: CfCamConfig, factor: ir.Value
) -> Neighbourhood:
    """Compute eps and min_samples as the reference does, from squared distances (n, n).

    Args:
        op: Builder of the graph.
        squared: Squared distances of the rows, of which the first `count` are valid.
        count: Number of valid rows, float32 (1,).
        config: The method's constants.
        factor: One unit of the maps in those of the distances, (1, 1).
    """
    (n, _), pairwise = static_shape(squared), config.eps_rule == "pairwise"
    rows = [_of_pairs(m, config) if pairwise else _of_neighbours(m, config) for m in range(n + 1)]
    row = op.Gather(op.constant(np.array(rows, np.float32)), op.Cast(count, to=ir.DataType.INT64), axis=0)
    entries = [op.slice_axis(row, 1, i, i + 1) for i in range(len(rows[0]))]
    if pairwise:
        low, high = by_bisection(op, pairs(op, squared), entries[1], LEAST, MOST)
    else:
        low, high = _of_curve(op, squared, count, config, entries)
    eps = _between(op, op.Sqrt(low), op.Sqrt(high), entries[2])
    floor = op.Mul(factor, config.eps_floor)
    eps = op.Min(op.Mul(op.Max(eps, floor), 1 + TIE), LARGEST_EPS)
    return Neighbourhood(op.Mul(eps, eps), entries[0])


def pairs(op: Builder, squared: ir.Value) -> ir.Value:
    """Return the pairs of a symmetric matrix (n, n), each once, as rows with `FAR` in between.

    They are a little more than its upper half, cut into rectangles and, along the diagonal, squares of an eighth of the
    matrix: counting through them thirty times takes little more than half the time.
    """
    (n, _) = static_shape(squared)
    parts = [op.reshape(part, int(np.prod(static_shape(part)))) for part in _upper(op, squared, 0, n, -(-n // 8))]
    size = sum(static_shape(part)[0] for part in parts)
    rows = -(-size // WIDTH)
    parts.append(op.constant(np.full(rows * WIDTH - size, FAR, np.float32)))
    return op.reshape(op.Concat(*parts, axis=0), rows, WIDTH)


def _upper(op: Builder, squared: ir.Value, start: int, stop: int, smallest: int) -> Iterator[ir.Value]:
    """Yield the pairs of rows `start` to `stop` with one another."""
    size, middle = stop - start, (start + stop) // 2
    if size <= smallest:
        block = op.slice_axis(op.slice_axis(squared, 0, start, stop), 1, start, stop)
        yield op.Add(block, op.constant(np.tril(np.full((size, size), FAR, np.float32))))
        return
    yield op.slice_axis(op.slice_axis(squared, 0, start, middle), 1, middle, stop)
    yield from _upper(op, squared, start, middle, smallest)
    yield from _upper(op, squared, middle, stop, smallest)


def _of_pairs(m: int, config: CfCamConfig) -> tuple[float, ...]:
    """Return min_samples, and rank and share of the percentile of all distances, which count twice, among them once."""
    if m < 2:
        return config.min_samples(m), 0, 0
    position = (m * (m - 1) - 1) * config.eps_percentile / 100
    below = math.floor(position)
    return config.min_samples(m), below // 2, position % 1 if below % 2 else 0


def _of_neighbours(m: int, config: CfCamConfig) -> tuple[float, ...]:
    """Return min_samples, rank and share of the percentile in the curve, the neighbour meant, and the step of rows."""
    step = max(-(-m // CURVE), 1)
    position = max(-(-m // step) - 1, 0) * config.eps_percentile / 100
    rank = max(min(config.min_samples(m), m) - 1, 0)
    return config.min_samples(m), math.floor(position), position % 1, rank, step


def _of_curve(
    op: Builder, squared: ir.Value, count: ir.Value, config: CfCamConfig, entries: list[ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """Return the two values of the k-distance curve between which its percentile lies."""
    (n, _), (_, position, _, rank, step) = static_shape(squared), entries
    points = min(n, CURVE)
    row = op.Mul(op.constant(np.arange(points, dtype=np.float32)[None]), step)
    beyond = op.Cast(op.GreaterOrEqual(row, count), to=ir.DataType.FLOAT)
    row = op.Cast(op.Min(row, float(n - 1)), to=ir.DataType.INT64)
    nearest = max(min(config.min_samples(n), n), 1)
    lists = in_order(op, op.Gather(squared, op.reshape(row, points), axis=0), nearest, axis=1)
    curve = op.Gather(lists, op.reshape(op.Cast(rank, to=ir.DataType.INT64), 1), axis=1)
    curve = in_order(op, op.Add(op.reshape(curve, points), op.Mul(op.reshape(beyond, points), FAR)), points)
    places = op.Concat(position, op.Min(op.Add(position, 1.0), float(points - 1)), axis=1)
    two = op.Gather(op.reshape(curve, 1, points), op.reshape(op.Cast(places, to=ir.DataType.INT64), 2), axis=1)
    return op.slice_axis(two, 1, 0, 1), op.slice_axis(two, 1, 1, 2)


def _between(op: Builder, low: ir.Value, high: ir.Value, share: ir.Value) -> ir.Value:
    """Interpolate linearly as NumPy does; where `share` is 0, `high` does not count, even if infinite."""
    high = op.Where(op.Greater(share, 0.0), high, low)
    return op.Add(low, op.Mul(op.Sub(high, low), share))
