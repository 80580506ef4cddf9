"""What becomes of weighted activations: their sum, or their first principal component, and which way it points."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError, did_you_mean

Sign = Literal["max_abs", "mean_act", "svd"]
"""A principal component has no sign of its own; this chooses one.

`max_abs`: the entry of the largest magnitude is positive; of entries equal to 1e-4, the first. `mean_act`: the map
correlates positively with the mean over the channels. `svd`: LAPACK's own, as pytorch-grad-cam shows it; it takes the
full decomposition (seconds for a large map) and may differ between LAPACK builds.
"""


def weighted_sum(weights: npt.NDArray[np.float32], activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute Σ_c w_c A_c: weights (N, C) or (N, C, H, W), activations (N, C, H, W), all float32 -> (N, H, W)."""
    if weights.ndim == activations.ndim:
        return (weights * activations).sum(axis=1)
    n, channels, height, width = activations.shape
    return (weights[:, None] @ activations.reshape(n, channels, height * width)).reshape(n, height, width)


def smoothed_sum(weights: npt.NDArray[np.float32], activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the first principal component of w A, instead of its sum: `eigen_smooth` of pytorch-grad-cam.

    The component's sign is that of its correlation with the sum; pytorch-grad-cam leaves it to the decomposition, which
    may turn a map inside out. Arguments and result as of `weighted_sum`.
    """
    if weights.ndim != activations.ndim:
        weights = weights[:, :, None, None]
    return first_component(weights * activations, "mean_act")


def first_component(batch: npt.NDArray[np.float32], sign: Sign) -> npt.NDArray[np.float32]:
    """Project each image on its first principal component, the positions being the samples: (N, C, H, W) -> (N, H, W).

    The columns of R (HW, C) are centred; the map is R v, v the first right singular vector. NaN counts as 0; an image
    that does not vary over its positions gives zeros, one with infinite values NaN.

    Raises:
        UsageError: An unknown `sign`.
    """
    if sign not in get_args(Sign):
        raise UsageError(f"option sign: got {sign!r}. {did_you_mean(str(sign), get_args(Sign))}")
    images = np.where(np.isnan(batch), np.float32(0), batch)
    return np.stack([_project(image, sign) for image in images])


def _project(image: npt.NDArray[np.float32], sign: Sign) -> npt.NDArray[np.float32]:
    """Return the map of one image, (C, H, W) -> (H, W)."""
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
    """Return R v up to sign, from the smaller of RᵀR and RRᵀ (whose eigenvector u gives R v = u sqrt(λ)).

    In double precision, because a Gram matrix squares the condition of R.
    """
    pixels, channels = centred.shape
    if channels <= pixels:
        return centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    return vectors[:, -1] * np.sqrt(max(values[-1], 0.0))


def _orient(component: npt.NDArray[np.float64], mean: npt.NDArray[np.floating], sign: Sign) -> npt.NDArray[np.float64]:
    """Return the component or its negative, as `sign` has it; `mean` is the mean over the channels."""
    if sign == "mean_act":
        return component if component @ (mean - mean.mean()) >= 0 else -component
    size = np.abs(component)
    leader = component[np.argmax(size >= (1 - 1e-4) * size.max())]
    return component if leader >= 0 else -component
