"""CAM methods that show the first principal component of a layer."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError, did_you_mean
from aerocam.runtime.methods.registry import Array, cam_method

Sign = Literal["max_abs", "mean_act", "svd"]
"""A principal component has no sign of its own; this chooses one.

`max_abs`: the entry of the largest magnitude is positive; of entries equal to 1e-4, the first. `mean_act`: the map
correlates positively with the mean over the channels. `svd`: LAPACK's own, as pytorch-grad-cam shows it; it takes the
full decomposition (seconds for a large map) and may differ between LAPACK builds.
"""


@cam_method("eigencam", needs_gradients=False)
def eigen_cam(activations: Array, *, sign: Sign = "max_abs") -> Array:
    """EigenCAM (arXiv:2008.00299): L = R v, the activations R (HW, C) on their first principal component.

    The columns of R are centred; v is its first right singular vector.
    NaN counts as 0. Activations that do not vary over the map give a map of zeros, infinite ones a map of NaN.

    Raises:
        UsageError: An unknown `sign`.
    """
    return _first_component(activations, sign)


@cam_method("eigengradcam", needs_gradients=True)
def eigen_grad_cam(activations: Array, gradients: Array, *, sign: Sign = "max_abs") -> Array:
    """EigenGradCAM (as pytorch-grad-cam has it): EigenCAM of G A.

    Raises:
        UsageError: An unknown `sign`.
    """
    return _first_component(gradients * activations, sign)


def _first_component(batch: Array, sign: Sign) -> Array:
    if sign not in get_args(Sign):
        raise UsageError(f"option sign: got {sign!r}. {did_you_mean(str(sign), get_args(Sign))}")
    images = np.where(np.isnan(batch), np.float32(0), batch)
    return np.stack([_project(image, sign) for image in images])


def _project(image: Array, sign: Sign) -> Array:
    """The map of one image, (C, H, W) -> (H, W)."""
    if not np.isfinite(image).all():
        return np.full(image.shape[1:], np.nan, np.float32)
    rows = image.reshape(len(image), -1).T
    if sign == "svd":
        centred = rows - rows.mean(axis=0)
        component = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    else:
        component = _orient(_principal(rows - rows.mean(axis=0, dtype=np.float64)), rows.mean(axis=1), sign)
    return component.reshape(image.shape[1:]).astype(np.float32)


def _principal(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """R v up to sign, from the smaller of RᵀR and RRᵀ (whose eigenvector u gives R v = u sqrt(λ)).

    In double precision, because a Gram matrix squares the condition of R.
    """
    pixels, channels = centred.shape
    if channels <= pixels:
        return centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    return vectors[:, -1] * np.sqrt(max(values[-1], 0.0))


def _orient(component: npt.NDArray[np.float64], mean: npt.NDArray[np.floating], sign: Sign) -> npt.NDArray[np.float64]:
    if sign == "mean_act":
        return component if component @ (mean - mean.mean()) >= 0 else -component
    size = np.abs(component)
    leader = component[np.argmax(size >= (1 - 1e-4) * size.max())]
    return component if leader >= 0 else -component
