"""Finite differences of a score that is rounded to float32."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aerocam.export import export_model
from aerocam.export.checking.gradients import gradient_error, is_faint
from aerocam.export.checking.report import GRADIENT_TOLERANCE
from onnx_graphs import f32, model, node, saved

WEIGHTS, ACTIVATIONS = f32(1, 4, 3, 3), f32(1, 4, 3, 3, seed=1)


def rounded_score(size: float) -> Callable[[np.ndarray], float]:
    """0.4 and what an offset adds, in float32."""
    return lambda offset: float(np.float32(0.4 + size * np.vdot(WEIGHTS.astype("f8"), offset)))


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-7, 1e-9, 1e-12])
def test_a_right_gradient_of_any_size_passes(size: float) -> None:
    gradient = np.float32(size) * WEIGHTS
    assert gradient_error(rounded_score(size), gradient, ACTIVATIONS) < GRADIENT_TOLERANCE
    assert is_faint(0.4, gradient, ACTIVATIONS) == (size < 1e-7)


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-5])
@pytest.mark.parametrize("factor", [-1.0, 0.0, 0.3, 3.0])
def test_a_wrong_gradient_is_seen_as_far_as_the_score_tells(size: float, factor: float) -> None:
    gradient = np.float32(size * factor) * WEIGHTS
    assert gradient_error(rounded_score(size), gradient, ACTIVATIONS) > GRADIENT_TOLERANCE


def test_no_gradient_at_all_is_not_faint() -> None:
    zeros = np.zeros_like(WEIGHTS)
    assert not is_faint(0.4, zeros, ACTIVATIONS)
    assert gradient_error(lambda _: 0.4, zeros, ACTIVATIONS) == 0.0


def test_a_network_whose_signal_dies_away_is_exported_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As networks that were never trained: behind two such layers the score is all but its bias."""
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Mul", ["c", "small"], ["m"]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Add", ["f", "b"], ["y"]),
    ]
    weights = {"k": f32(5, 3, 3, 3), "small": np.float32([1e-10]), "b": np.float32([0.4, 0.3, 0.2, 0.1, 0.05])}
    path = saved(tmp_path, model(nodes, {"x": f32(1, 3, 8, 8)}, weights, ["y"]))
    done = export_model(path, layers="c", task="classify", preprocess="unit")
    assert done.report is not None
    assert done.report.gradients == {}
    assert [item.getMessage() for item in caplog.records if item.levelno == logging.WARNING] == [
        "layer 'c': its gradients are too faint to be seen in the score as it is rounded; they are not checked"
    ]
