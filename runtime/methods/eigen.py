"""CAM methods that show the first principal component of a layer."""

from __future__ import annotations

import numpy as np

from aerocam.errors import UsageError
from aerocam.runtime.methods.principal import Sign, first_component
from aerocam.runtime.methods.registry import Array, cam_method


@cam_method("eigencam", needs_gradients=False)
def eigen_cam(activations: Array, *, sign: Sign = "max_abs") -> Array:
    """EigenCAM (arXiv:2008.00299): L = R v, the activations R (HW, C) on their first principal component.

    The columns of R are centred; v is its first right singular vector.
    NaN counts as 0. Activations that do not vary over the map give a map of zeros, infinite ones a map of NaN.

    Raises:
        UsageError: An unknown `sign`.
    """
    return first_component(activations, sign)


@cam_method("eigengradcam", needs_gradients=True)
def eigen_grad_cam(activations: Array, gradients: Array, *, sign: Sign = "max_abs") -> Array:
    """EigenGradCAM (as pytorch-grad-cam has it): EigenCAM of G A.

    Raises:
        UsageError: An unknown `sign`.
    """
    return first_component(gradients * activations, sign)


MOST_POSITIONS = 4096
"""Largest map of `kpcacam`: its kernel matrix has as many rows and columns."""


@cam_method("kpcacam", "kpca-cam", needs_gradients=False)
def kernel_pca_cam(activations: Array, *, gamma: float | None = None) -> Array:
    """KPCA-CAM (arXiv:2410.00267): the first kernel principal component, with pytorch-grad-cam's sigmoid kernel.

    k(x, y) = tanh(γ x·y + 1) between the positions' activations, centred per channel; γ is 1 / C unless given. The
    largest entry of the component is positive, as scikit-learn has it. NaN counts as 0, infinity gives a map of NaN.

    Raises:
        UsageError: More than `MOST_POSITIONS` positions.
    """
    n, channels, height, width = activations.shape
    if height * width > MOST_POSITIONS:
        raise UsageError(
            f"method kpcacam: the layer has {height} x {width} positions, at most {MOST_POSITIONS} are expected, of"
            " which each is compared with each; choose a layer nearer to the score"
        )
    images = np.where(np.isnan(activations), np.float32(0), activations).reshape(n, channels, -1)
    return np.stack([_kernel_component(image, gamma).reshape(height, width) for image in images])


def _kernel_component(image: Array, gamma: float | None) -> Array:
    """(C, HW) -> (HW,)."""
    if not np.isfinite(image).all():
        return np.full(image.shape[1], np.nan, np.float32)
    rows = image.T - image.T.mean(axis=0, dtype=np.float64)
    kernel = np.tanh((rows @ rows.T) * (1 / rows.shape[1] if gamma is None else gamma) + 1)
    means = kernel.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel - means - means[:, None] + means.mean())
    component = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    if values[-1] <= 1e-9 * len(kernel):  # a constant map: all entries of the kernel are alike but for rounding
        return np.zeros(len(kernel), np.float32)
    return (component * np.sign(component[np.abs(component).argmax()])).astype(np.float32)
