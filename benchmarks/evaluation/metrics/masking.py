"""What is done to a picture by a map: parts of it are taken away, in an order, and something stands in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Case, Floats, Map
from aerocam.errors import UsageError, did_you_mean

SPACES = ("normalised", "raw")
SCORES = ("probability", "logit")
FILLS = ("zero", "black", "blur")
BLUR = (11, 5.0)
"""RISE's Gaussian: its kernel's side and its standard deviation, px."""


def check(name: str, value: object, choices: Sequence[str]) -> None:
    """Check that a metric's parameter is one of its possible values.

    Raises:
        UsageError: The value is not one of them.
    """
    if value not in choices:
        raise UsageError(f"{name} {value!r}: a metric's parameter cannot be that. {did_you_mean(str(value), choices)}")


def check_count(name: str, value: int) -> None:
    """Check that a metric's parameter is a whole number of 1 or more.

    Raises:
        UsageError: The value is not a whole number of 1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{name} {value!r}: found no count, expected a whole number from 1")


def numbers(name: str, value: object, low: float, high: float, least: bool = False) -> tuple[float, ...]:
    """Return a metric's parameter that is one number or several as a tuple.

    Args:
        name: The parameter's.
        value: Its value.
        low: Below this is none of them.
        high: Above this is none of them.
        least: Whether they may be `low` itself.

    Raises:
        UsageError: The value is not a number or several, or one of them is out of range.
    """
    values = tuple(value) if isinstance(value, (list, tuple, np.ndarray)) else (value,)
    good = [not isinstance(one, bool) and isinstance(one, (int, float, np.number)) for one in values]
    if not values or not all(good) or not all(low < one <= high or (least and one == low) for one in values):
        span = f"{'from' if least else 'above'} {low:g}" + (f" to {high:g}" if np.isfinite(high) else "")
        raise UsageError(f"{name} {value!r}: found none, or what is no such number; expected numbers {span}")
    return values


def score(case: Case, tensors: Floats, kind: str) -> NDArray[np.float64]:
    """Return the target's score, float64 (n,): its `probability` or its `logit`.

    Raises:
        UsageError: `kind` is not a score.
    """
    check("score", kind, SCORES)
    scores = case.probability(tensors) if kind == "probability" else case.logit(tensors)
    return np.asarray(scores, np.float64)


def finite(map_: Floats) -> bool:
    """Tell whether all values of a map are finite; metrics have no value of a map that is not."""
    return bool(np.isfinite(map_).all())


def raw_of(maps: Map) -> Floats:
    """Return the raw map, (h, w).

    Raises:
        UsageError: The file gives normalised maps only.
    """
    if not maps.raw.size:
        raise UsageError(
            "raw map: the file gives this method's map normalised, not raw; export the model again without --map"
        )
    return maps.raw


def constant(map_: Floats) -> bool:
    """Tell whether a map has the same value everywhere."""
    return bool(np.ptp(map_) == 0)


def black(case: Case) -> Floats:
    """Return a black picture of one px as the model is given it: float32 (1, C, 1, 1)."""
    return np.asarray(case.subject.fill, np.float32).reshape(1, -1, 1, 1)


def masked(case: Case, mask: Floats, space: str) -> Floats:
    """Return the tensor under a soft mask (H, W): float32 (1, C, H, W).

    `normalised`: x M. `raw`: the picture itself is multiplied before normalisation, which is x M + fill (1 - M).

    Raises:
        UsageError: `space` is not one of `SPACES`.
    """
    check("space", space, SPACES)
    dimmed = case.tensor * mask
    if space == "raw":
        dimmed += black(case) * (1 - mask)
    return np.asarray(dimmed, np.float32)


def filling(case: Case, fill: str) -> Floats:
    """Return what takes the place of px that are removed: float32 (1, C, H, W).

    `zero` is 0 after normalisation, `black` a black px, `blur` the picture under RISE's Gaussian.

    Raises:
        UsageError: `fill` is not one of `FILLS`.
    """
    check("fill", fill, FILLS)
    if fill == "blur":
        return blurred(case.tensor)
    flat = black(case) if fill == "black" else np.float32(0)
    return np.array(np.broadcast_to(flat, case.tensor.shape), np.float32)


def blurred(tensor: Floats) -> Floats:
    """Blur a tensor (1, C, H, W) with RISE's Gaussian, with zeros around the picture as RISE has them."""
    from scipy import ndimage

    side, sigma = BLUR
    peak = np.zeros(side)
    peak[side // 2] = 1
    kernel = ndimage.gaussian_filter1d(peak, sigma)  # as RISE makes it: what leaves the kernel is reflected into it
    across = ndimage.convolve1d(tensor, kernel, axis=2, mode="constant")
    return np.asarray(ndimage.convolve1d(across, kernel, axis=3, mode="constant"), np.float32)


def order(values: Floats) -> NDArray[np.intp]:
    """Return the px of a map (H, W) from the largest value to the smallest; equal ones in reading order."""
    return np.argsort(-np.asarray(values, np.float64), axis=None, kind="stable")


def first(ranked: NDArray[np.intp], count: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask that is True on the first `count` px of an order, bool (H, W)."""
    chosen = np.zeros(size[0] * size[1], np.bool_)
    chosen[ranked[:count]] = True
    return chosen.reshape(size)
