"""How much the map changes when the picture, or the gradients, change a little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Map
from aerocam.benchmarks.evaluation.metrics.masking import check, check_count, constant, finite, numbers, raw_of
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric
from aerocam.benchmarks.evaluation.similarity import pearson, ssim

SHARES = (0.05, 0.1, 0.2, 0.3)
NAN = float("nan")


@metric(
    "max_sensitivity",
    group="robustness",
    direction="lower",
    definition="The largest of |A(x + u) - A(x)| / |A(x)| over samples of u, uniform in [-radius, radius] at every"
    " value of the normalised tensor, with A the method's map (normalised, or raw at the layer's size) and Frobenius"
    " norms; NaN where A(x) is zero everywhere or a map is not finite, with flips='nan' also where a sample's top class"
    " is another; mean over pictures.",
    source="Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019; the defaults equal captum's"
    " sensitivity_max, which divides by 1 where A(x) is zero",
    variant="captum; radius=0.2, samples=200: Quantus' MaxSensitivity, with flips='nan' as its"
    " return_nan_when_prediction_changes",
)
def max_sensitivity(case: Case, radius: float = 0.02, samples: int = 10, of: str = "map", flips: str = "keep") -> Value:
    """Return the largest relative change of the map in a small box around the picture; `METRICS` has the definition."""
    check("of", of, ("map", "raw"))
    check("flips", flips, ("keep", "nan"))
    check_count("samples", samples)
    norm = float(np.linalg.norm(_chosen(case.maps, of)))
    if not 0 < norm < np.inf:
        return NAN
    noise = np.random.default_rng(case.seed).uniform(-radius, radius, (samples, *case.tensor.shape[1:]))
    near = case.tensor + noise.astype(np.float32)
    if flips == "nan":
        top = case.subject.probabilities(np.concatenate([case.tensor, near])).argmax(axis=1)
        if (top != top[0]).any():
            return NAN
    maps = [_chosen(case.subject.explain(one[None], case.target), of) for one in near]
    return max((float(np.linalg.norm(one - _chosen(case.maps, of))) / norm for one in maps), key=_nan_last)


@metric(
    "input_noise",
    group="robustness",
    direction="higher",
    definition="The mean over shares and samples of the similarity of the map of x and that of x + n, n Gaussian with a"
    " standard deviation of share (max x - min x) at every value of the normalised tensor; the similarity is SSIM"
    " (uniform window of 7 px, data range 1) or Pearson's correlation (0 where one map alone is constant); NaN where"
    " the map of x is constant or a map is not finite; mean over pictures.",
    source="The noise is SmoothGrad's (Smilkov et al., 2017); SSIM is scikit-image's structural_similarity",
)
def input_noise(
    case: Case, shares: Sequence[float] = (0.05, 0.1, 0.2), samples: int = 3, similarity: str = "ssim"
) -> Value:
    """Return how alike the map stays under noise on the picture; `METRICS` has the definition."""
    check("similarity", similarity, ("ssim", "correlation"))
    shares = numbers("shares", shares, 0, np.inf, least=True)
    check_count("samples", samples)
    if not finite(case.map) or constant(case.map):
        return NAN
    rng = np.random.default_rng(case.seed)
    grains = rng.standard_normal((samples, *case.tensor.shape), np.float32) * np.ptp(case.tensor)
    maps = [[case.subject.explain(case.tensor + share * n, case.target) for n in grains] for share in shares]
    return _likeness(case, shares, maps, similarity)


@metric(
    "gradient_noise",
    group="robustness",
    direction="higher",
    definition="The mean over shares and samples of SSIM (uniform window of 7 px, data range 1) or Pearson's"
    " correlation (0 where one map alone is constant) between the map and that of the same picture with Gaussian noise"
    " on the gradients, of share times the gradients' standard deviation; NaN where the map is constant or one is"
    " not finite; mean over pictures.",
    source="He et al., CF-CAM, 2025, with two changes: the noise is relative to the gradients' spread (0.1 absolute"
    " there, where gradients are some 3e-4), and all methods are compared at the tensor's size",
    needs=("gradients",),
)
def gradient_noise(case: Case, shares: Sequence[float] = SHARES, samples: int = 1, similarity: str = "ssim") -> Value:
    """Return how alike the map stays under noise on the gradients; `METRICS` has the definition."""
    check("similarity", similarity, ("ssim", "correlation"))
    shares = numbers("shares", shares, 0, np.inf, least=True)
    check_count("samples", samples)
    if not finite(case.map) or constant(case.map):
        return NAN
    seeds = np.random.SeedSequence(case.seed).generate_state(samples).tolist()
    noisy = case.subject.explain_with_noise
    maps = [[noisy(case.tensor, case.target, share, seed) for seed in seeds] for share in shares]
    return _likeness(case, shares, maps, similarity)


def _chosen(maps: Map, of: str) -> np.ndarray:
    """Return the normalised map or the raw one (see `raw_of`) in float64."""
    return np.asarray(maps.map if of == "map" else raw_of(maps), np.float64)


def _nan_last(value: float) -> float:
    """Return a key by which NaN is larger than any number, so that one sample without a map leaves no value."""
    return np.inf if np.isnan(value) else value


def _likeness(case: Case, shares: Sequence[float], maps: Sequence[Sequence[Map]], similarity: str) -> Value:
    """Return the picture's number, and per share the means of SSIM, correlation and squared difference."""
    pairs = [[(case.map, one.map) for one in row] for row in maps]
    if not all(finite(one) for row in pairs for _, one in row):
        return NAN
    curves = {
        "ssim": [float(np.mean([ssim(*pair) for pair in row])) for row in pairs],
        "correlation": [float(np.mean([pearson(*pair) if np.ptp(pair[1]) else 0 for pair in row])) for row in pairs],
        "mse": [float(np.mean([np.mean((a - b) ** 2, dtype=np.float64) for a, b in row])) for row in pairs],
    }
    return {"value": float(np.mean(curves[similarity])), "share": list(shares), **curves}


@metric(
    "class_sensitivity",
    group="sensitivity",
    direction="lower",
    definition="Pearson's correlation over px of the normalised maps of the target and of a second class of the same"
    " picture: 1 where both are constant, 0 where one is, NaN where one is not finite or there is no second class; mean"
    " over pictures.",
    source="Random-logit test of Sixt et al., When Explanations Lie, 2020, with a plausible class for the random one",
    needs=("second class",),
)
def class_sensitivity(case: Case) -> Value:
    """Return how alike the maps of two classes are; `METRICS` has the definition."""
    if case.second < 0:
        return float("nan")
    other = case.subject.explain(case.tensor, case.second).map
    if not (finite(case.map) and finite(other)):
        return float("nan")
    flat = constant(case.map), constant(other)
    return float(np.all(flat)) if any(flat) else pearson(case.map, other)
