"""Metrics against pytorch-grad-cam, torch-cam, captum and Quantus on the same arrays (golden/metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import checkout
from aerocam.benchmarks.evaluation.case import Case, Map, Truth
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.benchmarks.evaluation.metrics.imputation import impute
from metric_subjects import Toy

GOLDEN = checkout.GOLDEN / "metrics/metrics.npz"
PERCENTILES = (15, 35, 55, 85)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def method(golden: dict[str, np.ndarray]) -> Callable[[np.ndarray, int], np.ndarray]:
    """The map that the golden's script describes, written anew."""
    weights = golden["second"] @ golden["first"]

    def maps(tensor: np.ndarray, target: int) -> np.ndarray:
        found = np.maximum((tensor[0] * weights[target].reshape(tensor.shape[1:])).sum(axis=0), 0)
        found -= found.min()
        return found / (found.max() + 1e-7)

    return maps


def cases(golden: dict[str, np.ndarray], maps: str) -> list[Case]:
    def score(tensors: np.ndarray) -> np.ndarray:
        return np.tanh(tensors.reshape(len(tensors), -1) @ golden["first"].T) @ golden["second"].T

    subject = Toy(score, method(golden), classes=len(golden["second"]), fill=np.zeros(3, np.float32))
    rows = zip(golden["x"], golden["targets"], golden[maps], golden["masks"], strict=True)
    return [
        Case(subject, x[None], int(target), Map(map_, map_), Truth(mask=mask, boxes=px_boxes(mask)))
        for x, target, map_, mask in rows
    ]


def px_boxes(mask: np.ndarray) -> tuple[tuple[float, float, float, float], ...]:
    """One box per px: the mask as boxes."""
    return tuple((float(x), float(y), x + 1.0, y + 1.0) for y, x in np.argwhere(mask))


ROWS: list[tuple[str, str, dict[str, Any], str]] = [
    ("average_drop", "mixed", {}, "torchcam/drop"),
    ("increase_in_confidence", "mixed", {}, "torchcam/increase"),
    ("increase_in_confidence", "mixed", {}, "pgc/increase"),
    ("drop_in_confidence", "mixed", {}, "pgc/drop"),
    ("coherency", "maps", {}, "pgc/coherency"),
    ("complexity", "maps", {}, "pgc/complexity"),
    ("deletion_auc", "maps", {"steps": 9}, "torchcam/deletion"),
    ("insertion_auc", "maps", {"steps": 9}, "torchcam/insertion"),
    ("deletion_auc", "maps", {"steps": 9, "fill": "blur"}, "torchcam/deletion-blur"),
    ("insertion_auc", "maps", {"steps": 9, "fill": "blur"}, "torchcam/insertion-blur"),
    ("max_sensitivity", "maps", {}, "captum/sensitivity"),
    ("max_sensitivity", "maps", {"radius": 0.2}, "quantus/sensitivity"),
    ("infidelity", "maps", {"perturbation": "gaussian", "scaling": "none", "samples": 10}, "captum/gaussian"),
    ("infidelity", "maps", {"perturbation": "gaussian", "samples": 10}, "captum/gaussian-scaled"),
    ("infidelity", "maps", {"side": 5, "scaling": "none", "samples": 10}, "captum/square"),
    ("infidelity", "maps", {"side": 5, "samples": 10}, "captum/square-scaled"),
    ("pointing_game", "smooth", {}, "quantus/pointing"),
    ("relevance_rank", "smooth", {}, "quantus/rank"),
    ("relevance_mass", "smooth", {}, "quantus/mass"),
    ("energy_pointing_game", "smooth", {}, "quantus/mass"),
]


@pytest.mark.parametrize(("name", "maps", "parameters", "key"), ROWS)
def test_a_metric_equals_another_package(
    golden: dict[str, np.ndarray], name: str, maps: str, parameters: dict[str, Any], key: str
) -> None:
    found = [number(METRICS[name].compute(one, **parameters)) for one in cases(golden, maps)]
    np.testing.assert_allclose(found, golden[key], rtol=2e-5, atol=2e-6)


def test_the_goldens_can_tell(golden: dict[str, np.ndarray]) -> None:
    for *_, key in ROWS:
        assert np.ptp(golden[key]) > 0, key


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_road_equals_pytorch_grad_cam(golden: dict[str, np.ndarray], order: str) -> None:
    for one, expected in zip(cases(golden, "smooth"), golden[f"pgc/{order}"], strict=True):
        found: Any = METRICS[f"road_{order}"].compute(one, percentiles=PERCENTILES, noise=0.0)
        np.testing.assert_allclose(found["score"], expected, atol=2e-6)
        assert found["value"] == pytest.approx(expected.mean(), abs=2e-6)


def test_road_combined_is_half_the_difference(golden: dict[str, np.ndarray]) -> None:
    for one, most, least in zip(cases(golden, "smooth"), golden["pgc/morf"], golden["pgc/lerf"], strict=True):
        found = number(METRICS["road_combined"].compute(one, percentiles=PERCENTILES, noise=0.0))
        assert found == pytest.approx((least.mean() - most.mean()) / 2, abs=2e-6)


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_imputed_px_equal_pytorch_grad_cam(golden: dict[str, np.ndarray], order: str, percentile: int) -> None:
    map_ = golden["smooth"][0] if order == "morf" else 1 - golden["smooth"][0]
    missing = map_ >= np.percentile(map_, percentile)
    expected = golden[f"pgc/imputed/{order}/{percentile}"]
    np.testing.assert_allclose(impute(golden["x"][0], missing), expected, atol=1e-5)
