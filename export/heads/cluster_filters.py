"""The mean of each cluster's filtered gradient: float32 (b, H, W) -> (b,). See `aerocam.runtime.methods.smoothing`."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

TINY = 1e-30
"""In place of a zero that is divided by."""


def published_mean(
    op: Builder, maps: ir.Value, spatial_sigma: float, range_sigma: float, kernel_eps: float
) -> ir.Value:
    """Return each map's mean after the filter that CF-CAM's release applies.

    Entry (i, j) of the kernel meets a rectangle of the map as the kernel moves; its sum is a product from the left and
    one from the right with zeros and ones.
    """
    _, height, width = static_shape(maps)
    rows = np.arange(height)[:, None] - height / 2
    columns = np.arange(width)[None, :] - width / 2
    near = -(rows**2 + columns**2) / (2 * spatial_sigma**2)
    deviation = op.Sub(maps, op.reduce("ReduceMean", maps, [1, 2]))
    exponent = op.Add(op.Mul(op.Mul(deviation, deviation), -1 / (2 * range_sigma**2)), near.astype(np.float32)[None])
    kernel = op.Exp(exponent)
    met = op.MatMul(op.MatMul(op.constant(_met(height)), maps), op.constant(_met(width).T))
    met_mean = op.scale(op.sum(op.Mul(kernel, met), [1, 2], keepdims=False), 1 / (height * width))
    return op.Div(met_mean, op.Add(op.sum(kernel, [1, 2], keepdims=False), kernel_eps))


def bilateral_mean(op: Builder, maps: ir.Value, spatial_sigma: float, range_sigma: float) -> ir.Value:
    """Return each map's mean after the bilateral filter: f(p) = g(p) + Σ_q v(p, q) (g(q) - g(p)) / Σ_q v(p, q).

    One Conv has the differences to all neighbours as its channels. g is in units of its largest entry.
    """
    b, height, width = static_shape(maps)
    peak = op.Max(op.reduce("ReduceMax", op.Abs(maps), [1, 2]), TINY)
    unit = op.Div(maps, peak)
    mean = op.reduce("ReduceMean", unit, [1, 2])
    kernels, near = _neighbours(height, width, spatial_sigma)
    if len(kernels):
        centred = op.Sub(unit, mean)
        variance = op.reduce("ReduceMean", op.Mul(centred, centred), [1, 2])
        falloff = op.Div(-0.5 / range_sigma**2, op.Max(variance, TINY))
        pads = [size // 2 for size in kernels.shape[2:]] * 2
        moved = op.reshape(unit, b, 1, height, width)
        steps = op.Conv(moved, op.constant(kernels), pads=pads, kernel_shape=kernels.shape[2:])
        exponent = op.Mul(op.Mul(steps, steps), op.reshape(falloff, b, 1, 1, 1))
        weights = op.Mul(op.Exp(exponent), near)
        change = op.Div(op.sum(op.Mul(weights, steps), [1]), op.Add(op.sum(weights, [1]), 1.0))
        mean = op.Add(mean, op.reshape(op.reduce("ReduceMean", change, [1, 2, 3]), b, 1, 1))
    return op.reshape(op.Mul(mean, peak), b)


def gaussian(op: Builder, maps: ir.Value, sigma: float) -> ir.Value:
    """Apply a Gaussian to the positive part of each map, (n, H, W) -> (n, H, W); sigma 0 leaves maps as they are."""
    if not sigma:
        return maps
    _, height, width = static_shape(maps)
    rows, columns = (_gaussian_weights(size, sigma) for size in (height, width))
    return op.MatMul(op.MatMul(op.constant(rows), op.Relu(maps)), op.constant(columns.T))


def _gaussian_weights(size: int, sigma: float) -> NDArray[np.float32]:
    """Return what each position counts for each, (size, size); rows add up to one."""
    positions = np.arange(size, dtype=np.float64)
    weights = np.exp(-((positions[:, None] - positions) ** 2) / (2 * sigma**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _neighbours(height: int, width: int, sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kernels (n, 1, a, b) of g(q) - g(p), and how near q is to p, (1, n, H, W), which is 0 outside the map."""
    radius = math.ceil(2 * sigma)
    up, left = min(radius, height - 1), min(radius, width - 1)
    offsets = [(i, j) for i in range(-up, up + 1) for j in range(-left, left + 1) if i or j]
    kernels = np.zeros((len(offsets), 1, 2 * up + 1, 2 * left + 1), np.float32)
    near = np.zeros((1, len(offsets), height, width), np.float32)
    for n, (i, j) in enumerate(offsets):
        kernels[n, 0, up + i, left + j], kernels[n, 0, up, left] = 1, -1
        inside = np.s_[max(0, -i) : height - max(0, i), max(0, -j) : width - max(0, j)]
        near[0, n][inside] = math.exp(-(i * i + j * j) / (2 * sigma**2))
    return kernels, near


def _met(size: int) -> NDArray[np.float32]:
    """Return a mask (size, size): 1 where entry i of a kernel as large as the map meets position p, 'same' padding."""
    shift = np.arange(size)[:, None] - (size - 1) // 2
    positions = np.arange(size)[None, :]
    return ((positions >= shift) & (positions < shift + size)).astype(np.float32)
