"""Resizing with antialiasing, as Pillow does it, and torchvision and timm by Pillow: one matrix per axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REACH = {"pil-bilinear": 1.0, "pil-bicubic": 2.0}
"""Half the width of the kernel of the manifest's antialiased interpolations, in px of whichever side is coarser."""

CUBIC = -0.5
"""The parameter of Pillow's bicubic kernel."""

DIGITS = 22
"""Binary digits of a weight behind the point, as Pillow has them for uint8: they decide what becomes of a half."""


def antialiased(source: int, target: int, interpolation: str) -> NDArray[np.float64]:
    """Return what each pixel of an axis counts in the resized axis, (target, source), to `DIGITS`; rows add up to 1.

    Where the axis shrinks, the kernel is as much wider: nothing of the source is left out. Pixels beyond an edge do not
    count, and the others count more.

    Args:
        source: Pixels of the axis.
        target: Pixels of the resized axis.
        interpolation: One of `REACH`.
    """
    scale = source / target
    width = max(scale, 1.0)
    reach = REACH[interpolation] * width
    centre = (np.arange(target)[:, None] + 0.5) * scale
    first, last = (centre - reach + 0.5).astype(int), (centre + reach + 0.5).astype(int)
    at = np.arange(source)
    x = np.abs(at - centre + 0.5) / width
    if interpolation == "pil-bilinear":
        kernel = np.maximum(1 - x, 0)
    else:
        near, far = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * CUBIC
        kernel = np.where(x < 1, near, np.where(x < 2, far, 0))
    kernel = np.where((at >= first) & (at < last), kernel, 0)
    weights = kernel / kernel.sum(axis=1, keepdims=True) * (1 << DIGITS)
    return np.trunc(weights + np.copysign(0.5, weights)) / (1 << DIGITS)
