"""The values of methods' options, checked: numbers, words, and pictures that say nothing."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from aerocam.errors import UsageError, did_you_mean
from aerocam.runtime.methods.kinds import Array
from aerocam.runtime.methods.smoothing import gaussian_weights

BLUR = 0.05
"""Standard deviation of the baseline `blur`, as a share of the picture's longer side."""


def refused(method: str, option: str, value: Any, expected: str) -> UsageError:
    """Return the error for the value of an option that is not what is expected."""
    return UsageError(f"method {method}: option {option} is {value!r}, expected {expected}; correct it")


def whole(method: str, option: str, value: Any, least: int) -> int:
    """Return the value of an option that is a whole number from `least` on.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise refused(method, option, value, f"a whole number from {least} on")
    return int(value)


def number(method: str, option: str, value: Any) -> float:
    """Return the value of an option that is a number of 0 or more.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise refused(method, option, value, "a number of 0 or more")
    return float(value)


def share(method: str, option: str, value: Any) -> float:
    """Return the value of an option that is a number above 0 and at most 1.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 < value <= 1:
        raise refused(method, option, value, "a number above 0 and up to 1")
    return float(value)


def choice(method: str, option: str, value: Any, known: Collection[str]) -> str:
    """Return the value of an option that is one of several words.

    Raises:
        UsageError: It is none of them.
    """
    if value not in known:
        raise UsageError(f"method {method}: option {option} is {value!r}. {did_you_mean(str(value), known)}")
    return str(value)


def flag(method: str, option: str, value: Any) -> bool:
    """Return the value of an option that is on or off.

    Raises:
        UsageError: It is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise refused(method, option, value, "True or False")
    return bool(value)


def _mean_colour(picture: Array) -> Array:
    return np.broadcast_to(picture.mean(axis=(2, 3), keepdims=True), picture.shape)


def _blurred(picture: Array) -> Array:
    """The picture through a Gaussian along rows and columns; at the border its weights are scaled to add up to 1."""
    deviation = BLUR * max(picture.shape[2:])
    rows, columns = (gaussian_weights(size, deviation).astype(np.float32) for size in picture.shape[2:])
    return np.asarray(rows @ picture @ columns.T, np.float32)


BASELINES: dict[str, Callable[[Array], Array]] = {"zeros": np.zeros_like, "mean": _mean_colour, "blur": _blurred}
"""The baselines with a name."""


def baseline_of(method: str, picture: Array, wanted: Any) -> Array:
    """Return the baseline that the option of a method asks for, in the picture's shape.

    Args:
        method: Its name, for the error message.
        picture: float32 (1, C, H, W).
        wanted: Of `BASELINES`, or an array, or a number, that broadcasts to the picture, in the tensor's units.

    Raises:
        UsageError: There is no such baseline.
    """
    if isinstance(wanted, str):
        return BASELINES[choice(method, "baseline", wanted, BASELINES)](picture)
    try:
        return np.broadcast_to(np.asarray(wanted, np.float32), picture.shape)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"method {method}: option baseline has shape {np.shape(wanted)}, expected one that broadcasts"
            f" to the input's {picture.shape}, of numbers; give such an array, or one of: {', '.join(BASELINES)}"
        ) from error
