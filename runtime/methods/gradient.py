"""CAM methods by a closed formula of activations and gradients.

Most give the weights w of L = Σ_c w_c A_c for A and G, float32, shape (N, C, H, W): one weight per channel, (N, C), or
one per entry, (N, C, H, W). Sums over h, w run over the positions of one channel. The small constants are
pytorch-grad-cam's, so that the maps equal its own.

NormGrad (Rebuffi et al., "There and Back Again", CVPR 2020, arXiv:2004.02866) gives the map: how much each position
contributes to the gradient of a convolution's weight. At the target layer a convolution is imagined that changes
nothing (the identity). The gradient of its weight is a sum over positions u of outer products of g_u, the gradient
there, and the activations that the kernel meets at u; the map is the Frobenius norm of each summand. It is never
negative, and says where a layer matters rather than for which class: behind the last layer of a network with global
average pooling g_u is the same at every u, and all but the scaling form no longer depend on the class.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aerocam.errors import UsageError
from aerocam.runtime.methods.kinds import Array, planes_of
from aerocam.runtime.methods.registry import computes

CAM_TOLERANCE = 1e-3
"""`cam`: largest spread of G over a map that counts as constant, relative to the largest |G| (float16 noise passes)."""


@computes("gradcam")
def grad_cam(activations: Array, gradients: Array) -> Array:
    """Compute Grad-CAM (arXiv:1610.02391, eq. 1 and 2): w_c = mean_hw G_c."""
    n, channels, height, width = gradients.shape
    return gradients.reshape(n, channels, height * width) @ _averager(height * width)


@lru_cache(maxsize=16)
def _averager(positions: int) -> Array:
    """Return the vector whose product with `positions` values is their mean."""
    return np.full(positions, 1 / positions, np.float32)


@computes("gradcam++")
def grad_cam_plus_plus(activations: Array, gradients: Array) -> Array:
    """Compute Grad-CAM++ (arXiv:1710.11063, eq. 7 and 19): w_c = Σ_hw α max(G, 0).

    α = G² / (2 G² + (Σ_hw A) G³ + 1e-6), and 0 where G = 0. The constant is absolute: with |G| near 1e-3 it weighs as
    much as G², so that the map depends on the scale of G. G must be the true gradient, any seed scale taken out.
    """
    squared = gradients**2
    total = activations.sum(axis=(2, 3), keepdims=True)
    denominator = 2 * squared + total * (squared * gradients) + np.float32(1e-6)
    defined = (gradients != 0) & (denominator != 0)
    alpha = np.divide(squared, denominator, out=np.zeros_like(squared), where=defined)
    return (np.maximum(gradients, 0) * alpha).sum(axis=(2, 3))


@computes("xgradcam")
def x_grad_cam(activations: Array, gradients: Array) -> Array:
    """Compute XGrad-CAM (arXiv:2008.02312, eq. 7): w_c = Σ_hw G A / (Σ_hw A + 1e-7)."""
    total = activations.sum(axis=(2, 3), keepdims=True) + np.float32(1e-7)
    scaled = np.divide(gradients * activations, total, out=np.zeros_like(activations), where=total != 0)
    return scaled.sum(axis=(2, 3))


@computes("layercam")
def layer_cam(activations: Array, gradients: Array) -> Array:
    """Compute LayerCAM (Jiang et al., IEEE TIP 2021, eq. 5 and 6): w = max(G, 0)."""
    return np.maximum(gradients, 0)


@computes("hirescam")
def hi_res_cam(activations: Array, gradients: Array) -> Array:
    """Compute HiResCAM (arXiv:2011.08891, eq. 4): w = G."""
    return gradients


@computes("gradcamelementwise")
def grad_cam_element_wise(activations: Array, gradients: Array) -> Array:
    """Element-wise Grad-CAM (as pytorch-grad-cam has it): L = Σ_c max(G A, 0), so w = G where G A > 0, else 0."""
    return np.where(gradients * activations > 0, gradients, np.float32(0))


@computes("cam")
def class_activation_map(activations: Array, gradients: Array) -> Array:
    """Compute CAM (arXiv:1512.04150, eq. 2): w the class's row of the classifier's weight.

    With a head of global average pooling and one linear layer, G_c = w_c / HW at every position, so w_c = Σ_hw G_c.

    Raises:
        UsageError: G is not constant over the map, so the head is another one.
    """
    spread = np.ptp(gradients, axis=(2, 3)).max(axis=1)
    largest = np.abs(gradients).max(axis=(1, 2, 3))
    if (spread > CAM_TOLERANCE * largest).any():
        raise UsageError(
            "method cam: the gradient varies over the map, expected one value per channel, as a head of global average"
            " pooling and one linear layer gives it; use method gradcam, or the layer just before the pooling"
        )
    return gradients.sum(axis=(2, 3))


@computes("relevance")
def relevance(activations: Array, multipliers: Array) -> Array:
    """Compute LRP-epsilon (Bach et al., PLoS ONE 2015, eq. 58): w = M, so that L is the relevance of each position.

    Positive: it speaks for the target, negative: against it. Over all positions it adds up to the score, but for what
    biases and other constants behind the layer take.

    Args:
        activations: A.
        multipliers: M, as an export with `relevance=True` has them in place of gradients.
    """
    return multipliers


@computes("normgrad")
def norm_grad(activations: Array, gradients: Array) -> Array:
    """Compute NormGrad of a 1x1 convolution (table 1): L_u = |g_u| |a_u|, norms over the channels."""
    return np.asarray(np.linalg.norm(gradients, axis=1) * np.linalg.norm(activations, axis=1))


@computes("normgrad-3x3")
def norm_grad_3x3(activations: Array, gradients: Array, *, planes: int = 1) -> Array:
    """NormGrad of a 3x3 convolution (table 1): L_u = |g_u| |a_N(u)|, the norm over channels and the 3x3 positions at u.

    What lies outside counts as zero; of a volume, also what lies in another of its `planes`, which lie below each
    other.
    """
    energy = planes_of((activations**2).sum(axis=1), planes)
    squared = np.pad(energy, ((0, 0), (1, 1), (1, 1)))
    rows = squared[:, :-2] + squared[:, 1:-1] + squared[:, 2:]
    met = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    norm = np.linalg.norm(gradients, axis=1)
    return np.asarray(norm * np.sqrt(met).reshape(norm.shape))


@computes("normgrad-scaling")
def norm_grad_scaling(activations: Array, gradients: Array) -> Array:
    """Compute NormGrad of a factor per channel (table 1): L_u = |g_u ⊙ a_u|, the norm of the products."""
    return np.asarray(np.linalg.norm(gradients * activations, axis=1))


@computes("normgrad-bias")
def norm_grad_bias(activations: Array, gradients: Array) -> Array:
    """Compute NormGrad of a number added per channel (table 1): L_u = |g_u|."""
    return np.asarray(np.linalg.norm(gradients, axis=1))
