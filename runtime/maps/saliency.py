"""From raw maps at layer size to one normalised map at the size of the input tensor.

The order is pytorch-grad-cam's: ReLU and normalise at layer size, resize, fuse the layers, normalise again. With the
normalisation `minmax` the result equals its to 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.methods import EPSILON, Normalisation
from aerocam.runtime.frames.opencv import cv2

Fusion = Literal["mean", "max", "product"]
Form = Literal["raw", "layer", "tensor", "frame"]
"""What maps are: raw, or in [0, 1] at the layer's size, over the input tensor, or over the frame."""

FUSIONS: dict[str, np.ufunc] = {"mean": np.add, "max": np.maximum, "product": np.multiply}
"""How the maps of several layers become one; the sum stands for the mean, as the result is normalised."""

OUTLIERS = 99
"""Percentile that `magnitude` takes for the largest value: gradients at single pixels would leave all else black."""


def normalise(saliency: NDArray[np.float32], rule: Normalisation = "minmax") -> NDArray[np.float32]:
    """Scale each map to [0, 1], in place.

    Args:
        saliency: float32 (N, H, W), none of it negative. It is overwritten.
        rule: As `aerocam.methods.MethodFacts.normalisation` has it, without the ReLU.

    Returns:
        The same array; a constant map gives zeros under `minmax` and `span`, an all-zero one under all four.
    """
    if rule in ("minmax", "span"):
        saliency -= saliency.min(axis=(1, 2), keepdims=True)
    peak = saliency.max(axis=(1, 2), keepdims=True)
    if rule == "magnitude":
        usual = np.percentile(saliency, OUTLIERS, axis=(1, 2), keepdims=True, method="higher")
        peak = np.where(usual > 0, usual, peak)
        np.minimum(saliency, peak, out=saliency)
    saliency /= peak + np.float32(EPSILON) if rule in ("minmax", "span") else np.where(peak > 0, peak, np.float32(1))
    return saliency


def check_fusion(fusion: str) -> None:
    """Make sure that there is such a way to fuse layers.

    Raises:
        UsageError: There is none.
    """
    if fusion not in FUSIONS:
        raise UsageError(f"fusion '{fusion}': there is no such way to fuse layers. {did_you_mean(fusion, FUSIONS)}")


def resize(saliency: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize each map linearly (half-pixel centres).

    Args:
        saliency: float32 (N, h, w).
        size: (H, W) in px.

    Returns:
        float32 (N, H, W).
    """
    resized = np.empty((len(saliency), *size), np.float32)
    for source, target in zip(saliency, resized, strict=True):
        cv2.resize(source, (size[1], size[0]), target, interpolation=cv2.INTER_LINEAR)
    return resized


def combine(
    raws: Sequence[NDArray[np.float32]],
    size: tuple[int, int],
    rule: Normalisation = "minmax",
    fusion: Fusion = "mean",
    gaussian: float = 0.0,
) -> NDArray[np.float32]:
    """Return one map per target from the raw maps of one layer or several.

    Args:
        raws: One float32 (N, h, w) per layer, as a method gives it. A map with a value that is not finite counts as
            zero.
        size: (H, W) of the result, in px: that of the input tensor.
        rule: The method's normalisation.
        fusion: How several layers become one.
        gaussian: Standard deviation of a Gaussian over the positive part of each map, in its positions; 0: none.

    Returns:
        float32 (N, H, W) in [0, 1].

    Raises:
        UsageError: There is no such fusion.
    """
    check_fusion(fusion)
    positive = [_positive(finite(raw), rule) for raw in raws]
    if fusion != "product":  # a silent layer adds nothing; a detector's anchor speaks to one layer of several
        positive = [raw for raw in positive if raw.any()] or positive[:1]
    positive = [blurred(raw, gaussian) for raw in positive]
    fused = resize(normalise(positive[0], rule), size)
    for raw in positive[1:]:
        FUSIONS[fusion](fused, resize(normalise(raw, rule), size), out=fused)
    return normalise(fused, rule)


def _positive(raw: NDArray[np.float32], rule: Normalisation) -> NDArray[np.float32]:
    """Return what of a raw map (N, h, w) is shown, none of it negative; a new array."""
    if rule == "span":
        return raw - raw.min(axis=(1, 2), keepdims=True)
    return np.abs(raw) if rule == "magnitude" else np.maximum(raw, 0)


def blurred(maps: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """Each map (N, h, w) through a Gaussian; the border is mirrored, so that the mass stays inside. 0: as they are."""
    if deviation == 0:
        return maps
    return np.stack([cv2.GaussianBlur(one, (0, 0), deviation, borderType=cv2.BORDER_REFLECT) for one in maps])


def finite(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `raw` (N, h, w) with every map that has NaN or infinite values replaced by zeros."""
    good = np.isfinite(raw).all(axis=(1, 2), keepdims=True)
    return raw if good.all() else np.where(good, raw, np.float32(0))


def problems(
    raws: Sequence[NDArray[np.float32]],
    layers: Sequence[str],
    fusion: Fusion = "mean",
    rule: Normalisation = "minmax",
    form: Form = "raw",
) -> list[str]:
    """Return what a reader of the fused map has to know about the raw maps (N, h, w); empty if all is well.

    Of maps that the model has normalised itself, see `form`, a constant one is zero too, and cannot be told apart.

    That one layer of several is silent is not worth a word: a detector's anchor speaks to the layer of its own scale.
    """
    ends = [(float(raw.min()), float(raw.max())) for raw in raws]  # a NaN anywhere is both
    found = [
        f"layer '{layer}': the {'raw map' if form == 'raw' else 'map'} has NaN or infinite values; it is shown as zero"
        for layer, (low, high) in zip(layers, ends, strict=True)
        if not (math.isfinite(low) and math.isfinite(high))
    ]
    if rule == "span":
        ends = [(0.0, float(np.ptp(raw, axis=(1, 2)).max())) for raw in raws] if not found else ends
    positive = [high > 0 or (rule == "magnitude" and low < 0) for low, high in ends]
    if not found and not (all(positive) if fusion == "product" else any(positive)):
        alike = "" if form == "raw" else ", or all of it alike"
        found.append(f"the map is zero everywhere: nothing in {', '.join(layers)} speaks for the target{alike}")
    return found
