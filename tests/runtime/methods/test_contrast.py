"""Finer-CAM: against pytorch-grad-cam's arrays (golden/input/make_smoothing.py), and the graph against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exported_models
from aerocam.errors import UsageError
from aerocam.runtime import Explainer
from aerocam.runtime.methods import CONTRAST_METHODS
from aerocam.runtime.predictions.scores import logits as logits_of
from checkout import GOLDEN

pytestmark = pytest.mark.runtime

INPUT = GOLDEN / "input"
OTHER = 3


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(INPUT / "smoothing.npz") as arrays, np.load(INPUT / "captum.npz") as frame:
        return {**arrays, "frame": np.ascontiguousarray(frame["rgb"][:, :, ::-1])}


@pytest.mark.parametrize("target", [None, OTHER])
@pytest.mark.parametrize("name", [exported_models.SMALL_GUIDED, exported_models.SMALL_FINER])
def test_finercam_equals_pytorch_grad_cam(golden: dict[str, Any], name: str, target: int | None) -> None:
    """From several classes' gradients, and from a file exported with the contrast."""
    with Explainer(exported_models.folder() / name, method="finercam", threads=1) as explain:
        found = explain(golden["frame"], target)
    expected = golden[f"finercam/{target}/raw"]
    assert found.method == "finercam"
    assert np.abs(found.raw[0] - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(found.tensor_map[0] - golden[f"finercam/{target}"]).max() < 1e-5


def finer_score(logits: np.ndarray, target: int, others: np.ndarray, alpha: float) -> float:
    """The definition."""
    shares = np.exp(logits - logits.max())
    p = shares[others] / shares.sum()
    return float((p * (logits[target] - alpha * logits[others])).sum() / (p.sum() + 1e-9))


@pytest.mark.parametrize("alpha", [1.0, 0.6])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_finercam_s_slopes_are_the_derivative_of_its_score(alpha: float, count: int) -> None:
    rng = np.random.default_rng(count)
    logits = 3 * rng.normal(size=count)
    classes, slopes = CONTRAST_METHODS["finercam"](logits, 1, alpha=alpha)
    assert classes[0] == 1
    nearest = sorted((i for i in range(count) if i != 1), key=lambda i: abs(logits[i] - logits[1]))[:3]
    assert classes[1:].tolist() == nearest
    for i in range(count):
        step = np.eye(count)[i] * 1e-5
        slope = sum(sign * finer_score(logits + sign * step, 1, classes[1:], alpha) for sign in (1, -1)) / 2e-5
        assert slope == pytest.approx(float(slopes[classes == i].sum()), abs=1e-6)


def test_finercam_may_compare_other_ranks_over_another_method(golden: dict[str, Any]) -> None:
    options = {"base": "hirescam", "comparisons": [2], "alpha": 0.5}
    path = exported_models.folder() / exported_models.SMALL_GUIDED
    with Explainer(path, method="finercam", options=options, threads=1) as explain:
        found = explain(golden["frame"], OTHER)
        logits = np.log(explain.predict(golden["frame"]).probabilities.astype(np.float64))
    classes, slopes = CONTRAST_METHODS["finercam"](logits, OTHER, comparisons=[2], alpha=0.5)
    with Explainer(path, method="hirescam", threads=1) as explain:
        single = [explain(golden["frame"], int(c)).raw[0] for c in classes]
    expected = sum(slope * one for slope, one in zip(slopes, single, strict=True))
    np.testing.assert_allclose(found.raw[0], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "eigencam"}, "option base is 'eigencam', which reads no gradients"),
        ({"comparisons": [9]}, "option comparisons is .* for 5 classes"),
        ({"alhpa": 1}, "no option 'alhpa'"),
    ],
)
def test_finercam_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(exported_models.folder() / exported_models.SMALL_GUIDED, method="finercam", options=options)


def test_logits_of_probabilities_that_float32_rounds_to_0_or_1() -> None:
    """1 counts as the largest float32 below it, whose logit is that number's own."""
    below = np.float32(1) - np.float32(2**-24)
    ends = logits_of(np.array([0, 0.5, below, 1], np.float32), sigmoid=True)
    np.testing.assert_allclose(ends, [np.log(2.0**-126), 0, np.log(2.0**24 - 1), np.log(2.0**24)], atol=1e-6)
    assert np.all(np.diff(ends) > 0)
    np.testing.assert_array_equal(logits_of(np.array([0.25, 0.75]), sigmoid=False), np.log([0.25, 0.75]))
