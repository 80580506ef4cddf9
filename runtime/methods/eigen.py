"""CAM methods that show the first principal component of a layer."""

from __future__ import annotations

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
