"""What metrics draw at random, what they give the model, and the ends of their ranges, seen from the model's side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aerocam.benchmarks.evaluation.case import Case
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.benchmarks.evaluation.metrics.grid import cell_window
from aerocam.benchmarks.evaluation.metrics.localisation import parts_above
from aerocam.benchmarks.evaluation.metrics.masking import masked
from metric_subjects import Toy, bright_square, case, limits

MAP = limits()["random"]


def compute(name: str, one: Case, **parameters: Any) -> float:
    return number(METRICS[name].compute(one, **parameters))


def seen_by(one: Case, maps: Callable[[np.ndarray, int], np.ndarray]) -> tuple[Case, list[np.ndarray], list[Any]]:
    """The case with a model that notes each tensor of which a map is asked, and each share and seed of noise."""
    tensors: list[np.ndarray] = []
    noisy: list[Any] = []

    def explain(tensor: np.ndarray, target: int) -> np.ndarray:
        tensors.append(tensor.copy())
        return maps(tensor, target)

    subject = Toy(one.subject.logits, explain, lambda *drawn: noisy.append(drawn) or MAP, fill=np.float32([-2.0]))
    return replace(one, subject=subject), tensors, noisy


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("max_sensitivity", {}),
        ("input_noise", {}),
        ("infidelity", {"side": 5}),
        ("infidelity", {"perturbation": "gaussian"}),
    ],
)
def test_what_is_drawn_follows_the_pictures_seed(name: str, parameters: dict[str, Any]) -> None:
    one, *_ = seen_by(bright_square(MAP), lambda x, t: x[0, 0])
    first, again, other = (compute(name, replace(one, seed=seed), **parameters) for seed in (1, 1, 2))
    assert first == again != other


def test_noise_on_gradients_has_a_seed_per_sample_and_the_same_ones_at_every_share() -> None:
    def asked(seed: int) -> list[Any]:
        one, _, noisy = seen_by(replace(bright_square(MAP), seed=seed), lambda x, t: MAP)
        compute("gradient_noise", one, shares=(0.1, 0.2), samples=3)
        return noisy

    shares, seeds = zip(*asked(1), strict=True)
    assert shares == (0.1,) * 3 + (0.2,) * 3
    assert seeds[:3] == seeds[3:]
    assert len(set(seeds)) == 3
    assert asked(1) == asked(1)
    assert not set(asked(1)) & set(asked(2))


def test_noise_on_the_picture_is_a_share_of_all_its_range() -> None:
    picture = np.zeros((1, 40, 40), np.float32)
    picture[0, 0, :2] = -6, 4
    one, tensors, _ = seen_by(case(Toy(lambda x: x), picture, np.abs(picture[0]) / 6), lambda x, t: np.ones((40, 40)))
    assert compute("input_noise", one, shares=(0.5,), similarity="correlation") == 0  # that map is constant
    assert len(tensors) == 3
    for tensor in tensors:
        assert (tensor - picture).std() == pytest.approx(0.5 * 10, rel=0.1)
    assert not np.allclose(tensors[0], tensors[1])


def test_road_adds_noise_where_px_are_missing_only() -> None:
    given: list[np.ndarray] = []
    one = bright_square(MAP)
    noting = Toy(lambda x: given.append(x.copy()) or one.subject.logits(x))
    for noise in (0.0, 1.0):
        compute("road_morf", replace(one, subject=noting), percentiles=(25, 75), noise=noise)
    still, noisy = given[0], given[2]
    assert len(still) == 2
    for plain, grained, percentile in zip(still, noisy, (25, 75), strict=True):
        kept = np.percentile(MAP, percentile) > MAP
        np.testing.assert_array_equal(plain[:, kept], one.tensor[0][:, kept])
        np.testing.assert_array_equal(grained[:, kept], one.tensor[0][:, kept])
        assert (grained - plain)[:, ~kept].std() == pytest.approx(1, abs=0.15)


def test_adccs_parts_are_the_metrics_in_the_same_space() -> None:
    one, tensors, _ = seen_by(bright_square(MAP), lambda x, t: np.abs(x[0, 0]) / 2)
    for space in ("normalised", "raw"):
        tensors.clear()
        found: Any = METRICS["adcc"].compute(one, space=space)
        assert found["coherency"] == compute("coherency", one, space=space)
        assert found["average_drop"] == compute("average_drop", one, space=space, epsilon=0)
        assert len(tensors) == 2
        for tensor in tensors:
            np.testing.assert_array_equal(tensor, masked(one, one.map, space))
    assert not np.array_equal(masked(one, one.map, "raw"), masked(one, one.map, "normalised"))


def test_a_threshold_is_not_reached_by_what_equals_it() -> None:
    row = np.array([[[1.0, 2.0, 4.0, 8.0]]])
    one = case(Toy(lambda x: np.stack([x.sum(axis=(1, 2, 3)), np.zeros(len(x))], axis=1)), row, [[1, 0.5, 0.5, 0]])
    assert compute("average_drop", one, score="logit", threshold=0.5, epsilon=0) == pytest.approx(14 / 15)


def test_the_pointing_games_tolerance_is_reached_by_what_equals_it() -> None:
    map_ = np.zeros((24, 20), np.float32)
    map_[12, 16] = 1  # the object's last column is 13
    assert [compute("pointing_game", bright_square(map_), tolerance=px) for px in (2.9, 3)] == [0.0, 1.0]


def test_parts_touch_at_corners() -> None:
    assert parts_above(np.eye(3, dtype=np.float32), 0.5, False).tolist() == [[0, 0, 3, 3]]


def test_cells_of_sides_that_are_no_multiple() -> None:
    rows = [cell_window((11, 8), 3, cell) for cell in (0, 4, 8)]
    assert rows == [(slice(0, 3), slice(0, 2)), (slice(3, 7), slice(2, 5)), (slice(7, 11), slice(5, 8))]
