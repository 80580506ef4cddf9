"""Operators in NumPy, for onnx's reference implementation to run whole networks in float64.

Its own go entry by entry through Python (pools, ConvTranspose), lack a form (Pad cannot crop) or are wrong (LRN takes
the batch's length for the number of channels). These take one matrix product or one slice per tap of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


def taps(kernel: Sequence[int], sizes: Sequence[int], strides: Any, dilations: Any) -> Iterator[tuple[Any, Any]]:
    """Per position in a window: its index, and the slices of the padded input that it reads for every output."""
    ones = (1,) * len(kernel)
    for tap in np.ndindex(*kernel):
        axes = zip(tap, sizes, strides or ones, dilations or ones, strict=True)
        yield tap, tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in axes)


def padded(x: Array, pads: Any, fill: float = 0.0) -> Array:
    """`x` with a border around its spatial axes."""
    rank = x.ndim - 2
    if not pads or not any(pads):
        return x
    return np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)


def out_sizes(x: Array, kernel: Sequence[int], strides: Any, dilations: Any) -> list[int]:
    """How many windows fit on each axis of a padded input."""
    rank = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations or (1,) * rank, strict=True)]
    return [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, strides or (1,) * rank, strict=True)]


def product(w: Array, x: Array, group: int) -> Array:
    """(group, m, k) times x of shape (N, group * k, ...), group by group."""
    _, m, k = w.shape
    flat = x.reshape(x.shape[0], group, k, -1)
    result = w * flat if m == k == 1 else w @ flat
    return result.reshape(x.shape[0], group * m, *x.shape[2:])


class Conv(OpRun):
    """Y = W * X + B."""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
        assert auto_pad in (None, "NOTSET")
        kernel, x = w.shape[2:], padded(x, pads)
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:])
        sizes = out_sizes(x, kernel, strides, dilations)
        parts = (
            product(grouped[(..., *tap)], x[(..., *places)], group)
            for tap, places in taps(kernel, sizes, strides, dilations)
        )
        y = sum(parts, np.zeros((1,) * x.ndim))
        return (y if b is None else y + b.reshape(-1, *(1,) * len(kernel)),)


class ConvTranspose(OpRun):
    """The adjoint of Conv with the same weight and attributes."""

    def _run(
        self, x, w, b=None, auto_pad=None, dilations=None, group=1, kernel_shape=None, output_padding=None,
        output_shape=None, pads=None, strides=None,
    ):  # fmt: skip
        assert auto_pad in (None, "NOTSET")
        assert output_shape is None
        assert b is None
        kernel, rank = w.shape[2:], x.ndim - 2
        pads, strides, dilations = pads or [0] * 2 * rank, strides or [1] * rank, dilations or [1] * rank
        whole = [
            (n - 1) * s + (k - 1) * d + 1 + extra
            for n, s, k, d, extra in zip(
                x.shape[2:], strides, kernel, dilations, output_padding or [0] * rank, strict=True
            )
        ]
        y = np.zeros((x.shape[0], w.shape[1] * group, *whole), x.dtype)
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
        for tap, places in taps(kernel, x.shape[2:], strides, dilations):
            y[(..., *places)] += product(grouped[(..., *tap)], x, group)
        inner = tuple(slice(a, n - b) for a, b, n in zip(pads[:rank], pads[rank:], whole, strict=True))
        return (y[(..., *inner)],)


class MaxPool(OpRun):
    """Y = the largest entry of each window."""

    def _run(
        self, x, auto_pad=None, ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0, strides=None
    ):
        assert auto_pad in (None, "NOTSET")
        assert not ceil_mode
        x = padded(x, pads, -np.inf)
        sizes = out_sizes(x, kernel_shape, strides, dilations)
        places = [places for _, places in taps(kernel_shape, sizes, strides, dilations)]
        y = x[(..., *places[0])]
        for place in places[1:]:
            y = np.maximum(y, x[(..., *place)])
        return (y,)


class AveragePool(OpRun):
    """Y = the mean of each window; the border counts only if `count_include_pad`."""

    def _run(
        self, x, auto_pad=None, ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape=None, pads=None,
        strides=None,
    ):  # fmt: skip
        assert auto_pad in (None, "NOTSET")
        assert not ceil_mode
        ones = padded(np.ones((1, 1, *x.shape[2:])), pads, float(count_include_pad))
        x = padded(x, pads)
        sizes = out_sizes(x, kernel_shape, strides, dilations)
        places = [places for _, places in taps(kernel_shape, sizes, strides, dilations)]
        return (sum(x[(..., *place)] for place in places) / sum(ones[(..., *place)] for place in places),)


class LRN(OpRun):
    """Y = X / (bias + alpha / size * sum of X^2 over neighbouring channels) ^ beta."""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        below, above = (size - 1) // 2, size - 1 - (size - 1) // 2
        squares = np.pad(x**2, [(0, 0), (below, above), *[(0, 0)] * (x.ndim - 2)])
        energy = sum(squares[:, i : i + x.shape[1]] for i in range(size))
        return (x / (bias + alpha / size * energy) ** beta,)


class Pad(OpRun):
    """A constant border; a negative one is cropped, which onnx's own does not do."""

    def _run(self, x, pads, constant_value=None, axes=None, mode="constant"):
        assert mode == "constant"
        assert axes is None
        edges = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
        inner = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(edges, x.shape, strict=True))
        fill = 0.0 if constant_value is None else constant_value.item()
        return (np.pad(x[inner], [(max(a, 0), max(b, 0)) for a, b in edges], constant_values=fill),)


OPERATORS = [Conv, ConvTranspose, MaxPool, AveragePool, LRN, Pad]
