"""NormGrad: how much each position contributes to the gradient of a convolution's weight.

Rebuffi et al., "There and Back Again", CVPR 2020 (arXiv:2004.02866). At the target layer a convolution is imagined that
changes nothing (the identity). The gradient of its weight is a sum over positions u of outer products of g_u, the
gradient there, and the activations that the kernel meets at u; the map is the Frobenius norm of each summand. It is
never negative, and says where a layer matters rather than for which class: behind the last layer of a network with
global average pooling g_u is the same at every u, and all but the scaling form no longer depend on the class.
"""

from __future__ import annotations

import numpy as np

from aerocam.runtime.methods.registry import Array, cam_method


@cam_method("normgrad", "normgrad-conv1x1", "normgrad-1x1")
def norm_grad(activations: Array, gradients: Array) -> Array:
    """NormGrad of a 1x1 convolution (table 1): L_u = |g_u| |a_u|, norms over the channels."""
    return np.asarray(np.linalg.norm(gradients, axis=1) * np.linalg.norm(activations, axis=1))


@cam_method("normgrad-3x3", "normgrad-conv3x3")
def norm_grad_3x3(activations: Array, gradients: Array) -> Array:
    """NormGrad of a 3x3 convolution (table 1): L_u = |g_u| |a_N(u)|, the norm over channels and the 3x3 positions at u.

    What lies outside counts as zero.
    """
    squared = np.pad((activations**2).sum(axis=1), ((0, 0), (1, 1), (1, 1)))
    rows = squared[:, :-2] + squared[:, 1:-1] + squared[:, 2:]
    met = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return np.asarray(np.linalg.norm(gradients, axis=1) * np.sqrt(met))


@cam_method("normgrad-scaling")
def norm_grad_scaling(activations: Array, gradients: Array) -> Array:
    """NormGrad of a factor per channel (table 1): L_u = |g_u ⊙ a_u|, the norm of the products."""
    return np.asarray(np.linalg.norm(gradients * activations, axis=1))


@cam_method("normgrad-bias")
def norm_grad_bias(activations: Array, gradients: Array) -> Array:
    """NormGrad of a number added per channel (table 1): L_u = |g_u|."""
    return np.asarray(np.linalg.norm(gradients, axis=1))
