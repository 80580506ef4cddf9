"""Methods that run the whole model on changed pictures, and read nothing of it but the score.

All take a function that has the scores S of N targets at any picture, which do not change from picture to picture, and
the picture x as the model gets it, float32 (1, C, H, W). They return the raw map, float32 (N, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError
from aerocam.runtime.methods.kinds import Array, Scorer
from aerocam.runtime.methods.options import baseline_of, refused, share, whole
from aerocam.runtime.methods.registry import computes


@computes("scorecam")
def score_cam(score: Scorer, picture: Array, activations: Array) -> Array:
    """Compute Score-CAM (arXiv:1910.01279, eq. 5-7): L = Σ_c w_c A_c, w the softmax over the channels of S(x M_c).

    M_c is A_c brought to the picture's size (bilinear, corners aligned), then (M - min) / (max - min + 1e-8), as
    pytorch-grad-cam has it; the paper's baseline S(0) falls out of the softmax. The model runs once per channel.

    Args:
        score: S at pictures.
        picture: x.
        activations: A, (1, C, h, w).
    """
    rows, columns = (_between_corners(*sizes) for sizes in zip(activations.shape[2:], picture.shape[2:], strict=True))

    def masked(channels: npt.NDArray[np.intp]) -> Array:
        mask = rows @ activations[0, channels] @ columns.T
        mask -= mask.min(axis=(1, 2), keepdims=True)
        mask /= mask.max(axis=(1, 2), keepdims=True) + np.float32(1e-8)
        return np.asarray(picture * mask[:, None], np.float32)

    scores = score.each(activations.shape[1], masked).astype(np.float64)
    weights = np.exp(scores - scores.max(axis=0))
    weights /= weights.sum(axis=0)
    return np.tensordot(weights.T.astype(np.float32), activations[0], axes=1)


@computes("occlusion")
def occlusion(score: Scorer, picture: Array, *, patch: Any = 32, stride: Any = None, baseline: Any = "zeros") -> Array:
    """Occlusion (arXiv:1311.2901, sec. 4.2): L = the mean of S(x) - S(x with a patch covered) over a pixel's patches.

    captum's `Occlusion` with windows over all channels, of which each has this map. Patches begin at multiples of the
    stride; the last of a row or column ends where the picture does. The model runs once per patch.

    Args:
        score: S at pictures.
        picture: x.
        patch: Height and width of a patch in px of the input tensor: one number, or two.
        stride: From patch to patch in px, at most a patch: one number, two, or None for half a patch.
        baseline: What covers: as for `integrated_gradients`, `zeros` (the mean colour of the preprocessing), `mean`,
            `blur`, a number or an array.
    """
    height, width = picture.shape[2:]
    sizes = _pair("patch", patch, (height, width), "the picture's")
    half = tuple(max(1, size // 2) for size in sizes)
    steps = half if stride is None else _pair("stride", stride, sizes, "the patch's")
    cover = baseline_of("occlusion", picture, baseline)
    whole_picture = score(picture)
    drops = np.zeros((whole_picture.shape[1], height, width))
    counts = np.zeros((height, width))
    for rows, columns in _windows((height, width), sizes, steps):
        changed = picture.copy()
        changed[:, :, rows, columns] = cover[:, :, rows, columns]
        drops[:, rows, columns] += (whole_picture - score(changed))[0, :, None, None]
        counts[rows, columns] += 1
    return np.asarray(drops / counts, np.float32)


@computes("rise")
def rise(
    score: Scorer, picture: Array, *, masks: int = 1000, grid: int = 8, probability: float = 0.5, seed: int = 0
) -> Array:
    """Compute RISE (arXiv:1806.07421, eq. 6): L = Σ_i S(x M_i) M_i / (n p), over n random masks M_i.

    A mask is a grid of zeros and ones, 1 with probability p, drawn out linearly by whole cells to one cell more than
    the picture and shifted at random (sec. 3.2). The paper's S are probabilities, here they are logits: what is added
    to all of them adds nearly a constant to the map, which is shown from its minimum to its maximum.

    Args:
        score: S at pictures.
        picture: x.
        masks: n; the model runs once for each. The paper has 4000 to 8000.
        grid: Cells of a grid along each side.
        probability: p.
        seed: Masks are drawn from `numpy.random.default_rng(seed)`: for each a grid of `random`, below p for 1, then
            the shift down and to the right by `integers`; every call starts anew, so that frames can be compared.
    """
    count, cells = whole("rise", "masks", masks, 1), whole("rise", "grid", grid, 2)
    p = share("rise", "probability", probability)
    rng = np.random.default_rng(whole("rise", "seed", seed, 0))
    total = np.float64(0)
    for _ in range(count):
        mask = _random_mask(rng, picture.shape[2:], cells, p)
        total = total + score(picture * mask)[0, :, None, None] * mask.astype(np.float64)
    return np.asarray(total / (count * p), np.float32)


def _random_mask(rng: np.random.Generator, size: tuple[int, ...], cells: int, p: float) -> Array:
    """Return one mask (H, W) of RISE, from 0 to 1."""
    drawn = (rng.random((cells, cells)) < p).astype(np.float32)
    lengths = [math.ceil(length / cells) for length in size]
    shifts = [int(rng.integers(length)) for length in lengths]
    rows, columns = (
        _between_centres(cells, (cells + 1) * length)[shift : shift + end]
        for length, shift, end in zip(lengths, shifts, size, strict=True)
    )
    return np.asarray(rows @ drawn @ columns.T, np.float32)


def _between_corners(before: int, after: int) -> Array:
    """Return (after, before): linear interpolation where the first and the last places of both sizes meet."""
    places = np.arange(after) * ((before - 1) / max(after - 1, 1))
    return _weights(places, before)


def _between_centres(before: int, after: int) -> Array:
    """(after, before): linear interpolation of cells by their centres; at the border the outermost cell goes on."""
    places = (np.arange(after) + 0.5) * (before / after) - 0.5
    return _weights(np.clip(places, 0, before - 1), before)


def _weights(places: npt.NDArray[Any], size: int) -> Array:
    """Return (places, size): what each of `size` values counts at places between them."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)


def _pair(option: str, value: Any, most: tuple[int, ...], whose: str) -> tuple[int, ...]:
    """Return two whole numbers of px, from 1 to `most`."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(given) != 2:
        raise refused("occlusion", option, value, "one number or two")
    pair = tuple(whole("occlusion", option, one, 1) for one in given)
    if any(one > end for one, end in zip(pair, most, strict=True)):
        raise UsageError(
            f"method occlusion: option {option} is {value!r}, at most {whose} {most[0]} by {most[1]} px is expected;"
            " give less"
        )
    return pair


def _windows(size: tuple[int, int], patch: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of every patch."""
    starts = [
        range(0, (math.ceil((whole_side - side) / step) + 1) * step, step)
        for whole_side, side, step in zip(size, patch, stride, strict=True)
    ]
    for top in starts[0]:
        for left in starts[1]:
            yield slice(top, min(top + patch[0], size[0])), slice(left, min(left + patch[1], size[1]))
