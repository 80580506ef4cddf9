"""Methods that run what follows a layer on changed activations of it, and read nothing of it but the score.

All take a function that has the scores S of N targets at any activations, which do not change from one to the next, and
the layer's activations A, float32 (1, C, h, w). They return the raw map, float32 (N, h, w).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from aerocam.runtime.methods.kinds import Array, Scorer, planes_of
from aerocam.runtime.methods.options import choice, flag
from aerocam.runtime.methods.registry import computes

FAR_BELOW = np.float32(1e7)
"""How far below the smallest activation pytorch-grad-cam's ablation goes."""


def _zero(activations: Array) -> Array:
    return np.zeros((activations.shape[1], 1, 1), np.float32)


def _mean(activations: Array) -> Array:
    return activations[0].mean(axis=(1, 2), keepdims=True)


def _pgc(activations: Array) -> Array:
    low = activations.min()
    return np.full((activations.shape[1], 1, 1), 0 if low == 0 else low - FAR_BELOW, np.float32)


FILLS: dict[str, Callable[[Array], Array]] = {"zero": _zero, "mean": _mean, "pgc": _pgc}
"""What an ablated channel holds, (C, 1, 1), by the word that asks for it."""


@computes("ablationcam")
def ablation_cam(score: Scorer, activations: Array, *, fill: str = "zero") -> Array:
    """Compute Ablation-CAM (Desai, Ramaswamy, WACV 2020, eq. 3-4): L = Σ_c w_c A_c, w_c = (S - S_c) / S.

    S_c is the score where channel c is filled. The weights are shares of S: they are the same for -S, large where S is
    small, and where S is 0 there is no map.

    Args:
        score: S at activations.
        activations: A.
        fill: `zero`, the paper's, and pytorch-grad-cam's where the smallest activation is 0; `mean`: the channel's own
            mean over its positions; `pgc`: pytorch-grad-cam's, 0 where the smallest activation of the layer is 0, else
            1e7 below it. (There it sinks by another 1e7 from entry to entry of a batch, so that its maps depend on the
            batch's size; here all entries are as its first.)
    """
    values = FILLS[choice("ablationcam", "fill", fill, FILLS)](activations)

    def ablated(channels: npt.NDArray[np.intp]) -> Array:
        batch = np.repeat(activations, len(channels), axis=0)
        batch[np.arange(len(channels)), channels] = values[channels]
        return batch

    whole = score(activations)[0]
    drops = whole - score.each(activations.shape[1], ablated)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = (drops / whole).T
    return np.tensordot(weights, activations[0], axes=1)


@computes("reciprocam")
def recipro_cam(score: Scorer, activations: Array, *, gaussian: bool = False, planes: int = 1) -> Array:
    """Compute Recipro-CAM (arXiv:2209.14074, sec. 3): L at a position is S where A is kept at that position alone.

    The scores are logits, like all that is explained here, and the map is shown from its minimum to its maximum.

    Args:
        score: S at activations.
        activations: A.
        gaussian: Keep the eight neighbours as well, by the weights (1 2 1; 2 4 2; 1 2 1) / 16.
        planes: Of a volume, which lie below each other: neighbours lie in the same one.
    """
    height, width = activations.shape[2:]
    planes_of(activations, planes)
    masks = position_masks(height, width, flag("reciprocam", "gaussian", gaussian), planes)
    scores = score.each(len(masks), lambda places: activations * masks[places, None])
    return scores.T.reshape(-1, height, width)


def position_masks(height: int, width: int, gaussian: bool, planes: int = 1) -> Array:
    """Return the masks of Recipro-CAM, one per position, row by row: float32 (h w, h, w)."""
    reach = (0.25, 0.5) if gaussian else (0.0, 1.0)
    rows, columns = (reach[1] * np.eye(n) + reach[0] * (np.eye(n, k=1) + np.eye(n, k=-1)) for n in (height, width))
    plane = np.arange(height) * planes // height
    masks = np.einsum("ai,bj->abij", rows * (plane[:, None] == plane), columns)
    return masks.reshape(height * width, height, width).astype(np.float32)
