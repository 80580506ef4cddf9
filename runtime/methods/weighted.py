"""Σ_c w_c A_c: what methods that only say how channels weigh have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aerocam.runtime.methods.principal import first_component

Array = npt.NDArray[np.float32]


def weighted_sum(weights: Array, activations: Array) -> Array:
    """Σ_c w_c A_c: weights (N, C) or (N, C, H, W), activations (N, C, H, W), all float32 -> (N, H, W)."""
    if weights.ndim == activations.ndim:
        return (weights * activations).sum(axis=1)
    n, channels, height, width = activations.shape
    return (weights[:, None] @ activations.reshape(n, channels, height * width)).reshape(n, height, width)


def smoothed_sum(weights: Array, activations: Array) -> Array:
    """The first principal component of w A, instead of its sum: `eigen_smooth` of pytorch-grad-cam.

    The component's sign is that of its correlation with the sum; pytorch-grad-cam leaves it to the decomposition, which
    may turn a map inside out. Arguments and result as of `weighted_sum`.
    """
    if weights.ndim != activations.ndim:
        weights = weights[:, :, None, None]
    return first_component(weights * activations, "mean_act")
