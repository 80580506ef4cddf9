"""Contrasts: what a class has that its neighbours lack. The score is made of several logits, the map is any CAM's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.runtime.methods.registry import computes

EPSILON = 1e-9


@computes("finercam")
def finer_cam(
    logits: NDArray[np.float64],
    target: int,
    *,
    alpha: float = 1.0,
    comparisons: Sequence[int] = (1, 2, 3),
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Compute Finer-CAM (arXiv:2501.11309), as pytorch-grad-cam has it.

    The score is S = Σ_i p_i (l_t - α l_i) / (Σ_i p_i + 1e-9) over the classes i whose logits are nearest to that of the
    target t, with p the softmax of the logits. Its derivative by p counts too: d S / d l_i = p_i (l_t - α l_i - S - α)
    / (Σ p + 1e-9), and Σ p / (Σ p + 1e-9) for t, but for terms with 1e-9.

    Args:
        logits: float64 (classes,), up to a number added to all of them.
        target: The class.
        alpha: How strongly the others count.
        comparisons: Which of the classes in the order of |l - l_t| are compared, 0 being t itself; those that the
            model does not have are left out.

    Returns:
        The classes, and d S / d l of each.

    Raises:
        UsageError: Nothing to compare with.
    """
    distance = np.abs(logits - logits[target])
    distance[target] = -1
    others = np.argsort(distance, kind="stable")[[i for i in comparisons if 0 < i < len(logits)]]
    if not len(others):
        raise UsageError(
            f"method finercam: option comparisons is {comparisons!r} for {len(logits)} classes, ranks from 1 on are"
            " expected, 1 being the nearest class; correct it"
        )
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    p, margins = shares[others], logits[target] - alpha * logits[others]
    whole = p.sum() + EPSILON
    score = (p * margins).sum() / whole
    classes = np.concatenate([[target], others])
    slopes = np.concatenate([[p.sum()], p * (margins - score - alpha)]) / whole
    return classes, slopes - EPSILON * score / whole * shares[classes]
