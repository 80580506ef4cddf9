"""Pictures that say nothing: what an integral starts from, and what a patch is covered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from aerocam.errors import UsageError, did_you_mean
from aerocam.runtime.methods.registry import Array

BLUR = 0.05
"""Standard deviation of the baseline `blur`, as a share of the picture's longer side."""


def _zeros(picture: Array) -> Array:
    return np.zeros_like(picture)


def _mean_colour(picture: Array) -> Array:
    return np.broadcast_to(picture.mean(axis=(2, 3), keepdims=True), picture.shape)


def _blurred(picture: Array) -> Array:
    """The picture through a Gaussian along rows and columns; at the border its weights are scaled to add up to 1."""
    deviation = BLUR * max(picture.shape[2:])
    matrices = []
    for size in picture.shape[2:]:
        places = np.arange(size)
        bell = np.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
        matrices.append((bell / bell.sum(axis=1, keepdims=True)).astype(np.float32))
    rows, columns = matrices
    return np.asarray(rows @ picture @ columns.T, np.float32)


BASELINES: dict[str, Callable[[Array], Array]] = {"zeros": _zeros, "mean": _mean_colour, "blur": _blurred}
"""The baselines with a name."""


def baseline_of(method: str, picture: Array, wanted: Any) -> Array:
    """The baseline that the option of a method asks for, in the picture's shape.

    Args:
        method: Its name, for the error message.
        picture: float32 (1, C, H, W).
        wanted: Of `BASELINES`, or an array, or a number, that broadcasts to the picture, in the tensor's units.

    Raises:
        UsageError: There is no such baseline.
    """
    if isinstance(wanted, str):
        if wanted not in BASELINES:
            raise UsageError(f"method {method}: option baseline is {wanted!r}. {did_you_mean(wanted, BASELINES)}")
        return BASELINES[wanted](picture)
    try:
        return np.broadcast_to(np.asarray(wanted, np.float32), picture.shape)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"method {method}: option baseline has shape {np.shape(wanted)}, expected one that broadcasts"
            f" to the input's {picture.shape}, of numbers; give such an array, or one of: {', '.join(BASELINES)}"
        ) from error
