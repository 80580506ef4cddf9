"""Whether the map foretells how much the score changes when the picture does."""

from __future__ import annotations

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Floats
from aerocam.benchmarks.evaluation.metrics.masking import check, check_count, filling, finite, score
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric
from aerocam.errors import UsageError


@metric(
    "infidelity",
    group="infidelity",
    direction="lower",
    definition="The mean over samples of (beta sum(I phi) - (f(x) - f(x - I)))^2: phi is the map, the same for every"
    " channel, f the target's score, I is x - fill inside a square of `side` px at a uniformly drawn place, or Gaussian"
    " noise of standard deviation `sigma`; with scaling='optimal' beta is sum(a b) / sum(a^2) for a = sum(I phi) and"
    " b = f(x) - f(x - I) over the samples (0 where a is 0 in all, as for a map of zeros), else 1; NaN where the map is"
    " not finite; mean over pictures.",
    source="Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019; equals captum's infidelity on the"
    " same I, with normalize for scaling='optimal'",
)
def infidelity(
    case: Case,
    perturbation: str = "square",
    samples: int = 50,
    side: int = 56,
    sigma: float = 0.2,
    fill: str = "zero",
    scaling: str = "optimal",
    score: str = "probability",
) -> Value:
    """Return the mean squared error of the changes of score that the map foretells; `METRICS` has the definition."""
    check("perturbation", perturbation, ("square", "gaussian"))
    check("scaling", scaling, ("optimal", "none"))
    check_count("samples", samples)
    if not finite(case.map):
        return float("nan")
    changes = _squares(case, samples, side, fill) if perturbation == "square" else _noise(case, samples, sigma)
    return _error(case, changes, scaling == "optimal", score)


def _error(case: Case, changes: Floats, scaled: bool, kind: str) -> float:
    """Return the infidelity under perturbations I, float32 (n, C, H, W)."""
    foretold = np.einsum("nchw,hw->n", changes, case.map, dtype=np.float64)
    seen = score(case, case.tensor, kind) - score(case, case.tensor - changes, kind)
    if scaled:
        power = float((foretold**2).sum())
        foretold *= float((foretold * seen).sum()) / power if power > 0 else 0.0
    return float(((foretold - seen) ** 2).mean())


def _squares(case: Case, samples: int, side: int, fill: str) -> Floats:
    """Draw what is taken away when a square is replaced by the fill, float32 (samples, C, H, W)."""
    height, width = case.tensor.shape[2:]
    check_count("side", side)
    if not 1 <= side <= min(height, width):
        raise UsageError(f"side {side}: found a tensor of {height} x {width} px, expected 1 to {min(height, width)}")
    rng = np.random.default_rng(case.seed)
    tops, lefts = rng.integers(height - side + 1, size=samples), rng.integers(width - side + 1, size=samples)
    whole = (case.tensor - filling(case, fill))[0]
    made = np.zeros((samples, *whole.shape), np.float32)
    for one, top, left in zip(made, tops, lefts, strict=True):
        square = np.s_[:, top : top + side, left : left + side]
        one[square] = whole[square]
    return made


def _noise(case: Case, samples: int, sigma: float) -> Floats:
    """Draw Gaussian noise, float32 (samples, C, H, W)."""
    drawn = np.random.default_rng(case.seed).standard_normal((samples, *case.tensor.shape[1:]), np.float32)
    return np.asarray(sigma * drawn, np.float32)
