"""CAM methods that read the activations alone, and those by a principal component."""

from __future__ import annotations

import numpy as np

from aerocam.errors import UsageError
from aerocam.runtime.methods.kinds import Array
from aerocam.runtime.methods.options import refused
from aerocam.runtime.methods.principal import Sign, first_component
from aerocam.runtime.methods.registry import computes

MOST_POSITIONS = 4096
"""Largest map of `kpcacam`: its kernel matrix has as many rows and columns."""


@computes("fem")
def feature_explanation(activations: Array, *, k: float = 2.0) -> Array:
    """Compute FEM (Fuad et al., IPTA 2020): w_c is the share of positions where A_c exceeds its mean by k deviations.

    Mean and standard deviation are those of the channel's own positions.
    """
    mean = activations.mean(axis=(2, 3), keepdims=True)
    deviation = activations.std(axis=(2, 3), keepdims=True)
    return (activations > mean + np.float32(k) * deviation).mean(axis=(2, 3), dtype=np.float32)


@computes("randomcam")
def random_cam(activations: Array, *, seed: int = 0) -> Array:
    """Compute RandomCAM (as pytorch-grad-cam has it): w_c uniform in [-1, 1], what any method has to be better than.

    The weights are drawn from `seed`, the same for every image and target.

    Raises:
        UsageError: A seed that is none.
    """
    return np.broadcast_to(random_weights(activations.shape[1], seed), activations.shape[:2])


def random_weights(channels: int, seed: int = 0) -> Array:
    """Return the weights of `randomcam`, float32 (channels,).

    Raises:
        UsageError: A seed that is none.
    """
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise refused("randomcam", "seed", seed, "a whole number of 0 or more") from error
    return generator.uniform(-1, 1, channels).astype(np.float32)


@computes("eigencam")
def eigen_cam(activations: Array, *, sign: Sign = "max_abs") -> Array:
    """Compute EigenCAM (arXiv:2008.00299): L = R v, the activations R (HW, C) on their first principal component.

    The columns of R are centred; v is its first right singular vector.
    NaN counts as 0. Activations that do not vary over the map give a map of zeros, infinite ones a map of NaN.

    Raises:
        UsageError: An unknown `sign`.
    """
    return first_component(activations, sign)


@computes("eigengradcam")
def eigen_grad_cam(activations: Array, gradients: Array, *, sign: Sign = "max_abs") -> Array:
    """Compute EigenGradCAM (as pytorch-grad-cam has it): EigenCAM of G A.

    Raises:
        UsageError: An unknown `sign`.
    """
    return first_component(gradients * activations, sign)


@computes("kpcacam")
def kernel_pca_cam(activations: Array, *, gamma: float | None = None) -> Array:
    """Compute KPCA-CAM (arXiv:2410.00267): the first kernel principal component, by pytorch-grad-cam's sigmoid kernel.

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
    """Return (C, HW) -> (HW,)."""
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
