"""Methods on the input picture itself: its gradient, the gradient smoothed or integrated, and guided backpropagation.

All take the picture x as the model gets it (preprocessed, float32, (1, C, H, W)) and a function that has the model's
gradient G = d score / d x at any picture of that shape, for one and the same target. They return the raw map, float32,
(N, H, W), with its sign: positive speaks for the target. An attribution per channel becomes one per pixel as the sum
over the channels (as captum's `visualize_image_attr` has it), but in `saliency` and `smoothgrad` as the largest
absolute value, as their authors have it.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aerocam.runtime.methods.kinds import Array, Gradient
from aerocam.runtime.methods.options import baseline_of, choice, number, whole
from aerocam.runtime.methods.registry import computes

logger = logging.getLogger(__name__)

Float64 = npt.NDArray[np.float64]

MOST_STEPS = 1600
"""Where `integrated_gradients` gives up on its tolerance."""


@computes("saliency")
def saliency(picture: Array, gradient: Gradient) -> Array:
    """Saliency map (arXiv:1312.6034, sec. 3.1): L = max_c |G|. captum's `Saliency`, the largest of its channels."""
    return np.abs(gradient(picture)[0]).max(axis=1)


@computes("inputxgradient")
def input_x_gradient(picture: Array, gradient: Gradient) -> Array:
    """Input x Gradient (arXiv:1605.01713, sec. 2): L = Σ_c x G. captum's `InputXGradient`, summed over its channels."""
    return (picture * gradient(picture)[0]).sum(axis=1)


@computes("smoothgrad")
def smooth_grad(
    picture: Array,
    gradient: Gradient,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    absolute: bool = False,
) -> Array:
    """Compute SmoothGrad (arXiv:1706.03825, sec. 3): L = max_c |mean_i G(x + σ ε_i)|, σ = noise (max x - min x).

    captum's `NoiseTunnel(Saliency(model))` takes absolute values before the mean unless told `abs=False`: `absolute`.

    Args:
        picture: x.
        gradient: G at any picture.
        samples: How many noisy pictures; the model runs once for each.
        noise: Standard deviation of the noise as a share of the range of the values in x; the paper has 0.1 to 0.2.
        seed: ε_i is the i-th draw of `numpy.random.default_rng(seed).standard_normal` in float32; every call starts
            anew, so that frames can be compared.
        absolute: The mean of |G| in place of |the mean of G|.
    """
    samples = whole("smoothgrad", "samples", samples, 1)
    noise = number("smoothgrad", "noise", noise)
    rng = np.random.default_rng(whole("smoothgrad", "seed", seed, 0))
    deviation = np.float32(noise) * np.ptp(picture)
    total = np.float64(0)
    for _ in range(samples):
        found, _ = gradient(picture + deviation * rng.standard_normal(picture.shape, np.float32))
        total = total + (np.abs(found) if absolute else found)
    return np.abs(total / samples).max(axis=1)


@computes("integrated_gradients")
def integrated_gradients(
    picture: Array,
    gradient: Gradient,
    *,
    steps: int = 50,
    baseline: Any = "zeros",
    rule: str = "gausslegendre",
    tolerance: float | None = None,
) -> Array:
    """Compute integrated gradients (arXiv:1703.01365, eq. 1): L = Σ_c (x - b) ∫ G(b + α (x - b)) dα, α from 0 to 1.

    The sum of L is about score(x) - score(b) (completeness). How nearly depends on `steps` and on how rough the network
    is: behind many ReLUs 50 steps may be off by some percent.

    Args:
        picture: x.
        gradient: G at any picture.
        steps: Points of the quadrature; the model runs once for each.
        baseline: b, the picture that says nothing. `zeros`: 0 in the tensor, which is the mean colour of the
            preprocessing; `mean`: the mean colour of x; `blur`: x blurred beyond recognition; or an array, or a number,
            that broadcasts to x, in the tensor's units.
        rule: Of the quadrature: `gausslegendre`, as captum's default, or `trapezoid` with equal steps from 0 to 1
            (captum's `riemann_trapezoid` is that times (steps - 1) / steps).
        tolerance: If given, the steps are doubled until the sum of L is off by at most this share of score(x) -
            score(b), or until there are `MOST_STEPS`.
    """
    steps = whole("integrated_gradients", "steps", steps, 1)
    allowed = math.inf if tolerance is None else number("integrated_gradients", "tolerance", tolerance)
    start = baseline_of("integrated_gradients", picture, baseline)
    change = gradient(picture)[1] - gradient(start)[1] if tolerance is not None else None
    while True:
        found = _integral(picture, start, gradient, *_quadrature(rule, steps))
        if change is None or (gap := _gap(found, change)) <= allowed:
            return found
        if 2 * steps > MOST_STEPS:
            logger.warning("integrated_gradients: with %d steps the map's sum is off by %.1f %%", steps, 100 * gap)
            return found
        steps *= 2


@computes("guided_backprop")
def guided_backprop(picture: Array, gradient: Gradient) -> Array:
    """Guided backpropagation (arXiv:1412.6806, sec. 3.4): L = Σ_c G, what each ReLU lets through of G being positive.

    The rule is in the exported graph. It does not depend much on the class: it shows edges (arXiv:1810.03292).
    """
    return gradient(picture)[0].sum(axis=1)


@computes("guided_gradcam")
def guided_grad_cam(picture: Array, gradient: Gradient, cam: Array) -> Array:
    """Compute guided Grad-CAM (arXiv:1610.02391, sec. 3.2): L = Σ_c G cam, G by guided backpropagation.

    captum's `GuidedGradCam` with `interpolate_mode="bilinear"`, summed over its channels.

    Args:
        picture: x.
        gradient: The guided gradient.
        cam: The positive part of Grad-CAM's raw map of a layer, resized to the picture, (N, H, W).
    """
    return gradient(picture)[0].sum(axis=1) * cam


def _integral(picture: Array, start: Array, gradient: Gradient, points: Float64, weights: Float64) -> Array:
    """Return (x - b) times the weighted sum of the gradients on the way from b to x, over the channels; (N, H, W)."""
    way = picture - start
    total = np.float64(0)
    for point, weight in zip(points, weights, strict=True):
        total = total + weight * gradient(start + np.float32(point) * way)[0]
    return np.asarray((way * total).sum(axis=1), np.float32)


def _gap(found: Array, change: Array) -> float:
    """How far the maps' sums are from the changes of the scores, relative to these; 0 where that is not finite."""
    off = np.abs(found.sum(axis=(1, 2), dtype=np.float64) - change)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nan_to_num(off / np.abs(change), nan=0, posinf=0).max())


def _quadrature(rule: str, steps: int) -> tuple[Float64, Float64]:
    """Points from 0 to 1 and their weights, which add up to 1; float64 (steps,)."""
    if choice("integrated_gradients", "rule", rule, ("gausslegendre", "trapezoid")) == "gausslegendre":
        return _gauss_legendre(steps)
    steps = whole("integrated_gradients", "steps", steps, 2)
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


@lru_cache(maxsize=8)
def _gauss_legendre(steps: int) -> tuple[Float64, Float64]:
    """Points from 0 to 1 and weights; hundreds of them take their time."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (1 + points) / 2, weights / 2
