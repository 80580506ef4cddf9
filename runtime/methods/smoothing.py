"""Filters of a cluster's mean gradient. Stacks of maps, float64, shape (K, H, W)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Stack = npt.NDArray[np.float64]


def published_mean(maps: Stack, spatial_sigma: float, range_sigma: float, kernel_eps: float) -> Stack:
    """Return mean of every map after the filter that CF-CAM's release applies; (K, H, W) -> (K,).

    The release correlates a map g, zero-padded, with one kernel as large as itself:
    K[i, j] = exp(-((i - H/2)² + (j - W/2)²) / 2 spatial_sigma²) exp(-(g[i, j] - mean g)² / 2 range_sigma²), divided by
    ΣK + kernel_eps. The mean of the result is the sum over the kernel's entries of the entry times the sum of that
    part of the map which it meets as the kernel moves: a rectangle, read off a summed-area table.
    """
    _, height, width = maps.shape
    rows = np.arange(height)[:, None] - height / 2
    columns = np.arange(width)[None, :] - width / 2
    deviation = maps - maps.mean(axis=(1, 2), keepdims=True)
    kernel = np.exp(-(rows**2 + columns**2) / (2 * spatial_sigma**2) - deviation**2 / (2 * range_sigma**2))
    kernel /= kernel.sum(axis=(1, 2), keepdims=True) + kernel_eps
    table = np.pad(maps, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    top, bottom = _span(height)
    left, right = _span(width)
    met = table[:, bottom][:, :, right] - table[:, top][:, :, right]
    met += table[:, top][:, :, left] - table[:, bottom][:, :, left]
    return (kernel * met).sum(axis=(1, 2)) / (height * width)


def bilateral(maps: Stack, spatial_sigma: float, range_sigma: float) -> Stack:
    """Return edge-preserving mean: near positions of like value count most.

    f(p) = Σ_q v(p, q) g(q) / Σ_q v(p, q), v = exp(-|p - q|² / 2 spatial_sigma²) exp(-(g(p) - g(q))² / 2 s²), over the q
    inside the map at most 2 spatial_sigma away; s = range_sigma times the standard deviation of g. A constant map
    stays as it is, up to and including its border, and scaling g scales f.

    Args:
        maps: g, shape (K, H, W).
        spatial_sigma: In positions of the layer.
        range_sigma: In standard deviations of the map.
    """
    _, height, width = maps.shape
    spread = range_sigma * maps.std(axis=(1, 2), keepdims=True)
    scaled = np.divide(maps, spread, out=np.zeros_like(maps), where=spread > 0)
    total, norm = np.zeros_like(maps), np.zeros_like(maps)
    radius = math.ceil(2 * spatial_sigma)
    for i in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        for j in range(-min(radius, width - 1), min(radius, width - 1) + 1):
            here = (slice(None), slice(max(0, -i), height - max(0, i)), slice(max(0, -j), width - max(0, j)))
            there = (slice(None), slice(max(0, i), height + min(0, i)), slice(max(0, j), width + min(0, j)))
            exponent = (i * i + j * j) / spatial_sigma**2 + (scaled[here] - scaled[there]) ** 2
            weight = np.exp(-exponent / 2)
            total[here] += weight * maps[there]
            norm[here] += weight
    return total / norm


def gaussian(raw: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Return Gaussian over the positive part of maps (..., H, W), sigma in their positions; 0: the maps as they are.

    At the border the weights inside count alone. What speaks against the target is left out first: it would wear away
    what speaks for it beside it, on a layer where most speaks against it all of that.
    """
    if not sigma:
        return raw
    rows, columns = (gaussian_weights(size, sigma) for size in raw.shape[-2:])
    return (rows @ np.maximum(raw, 0) @ columns.T).astype(np.float32)


def gaussian_weights(size: int, sigma: float) -> Stack:
    """Return what each position counts for each, (size, size); rows add up to one."""
    place = np.arange(size, dtype=np.float64)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weights / weights.sum(axis=1, keepdims=True)


def _span(size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return first and one-past-last position that entry 0, 1, ... of a kernel of `size` meets, 'same' padding."""
    shift = np.arange(size) - (size - 1) // 2
    return np.maximum(shift, 0), np.minimum(shift, 0) + size
