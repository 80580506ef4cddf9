"""Metrics on pictures of a few px, by hand."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.benchmarks.evaluation.case import Case, Map, Truth
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.benchmarks.evaluation.metrics.imputation import impute
from aerocam.benchmarks.evaluation.metrics.masking import masked
from aerocam.benchmarks.evaluation.similarity import pearson, ssim
from aerocam.errors import UsageError
from metric_subjects import Toy, bright_square, case, fixed, limits, no_map

TESTS = Path(__file__).parent

ROW = np.array([[[1.0, 2.0, 4.0, 8.0]]])
"""A picture of four px; the toy's first logit is their sum."""


def total(tensors: np.ndarray) -> np.ndarray:
    seen = np.asarray(tensors, float).sum(axis=(1, 2, 3))
    return np.stack([seen, np.zeros(len(seen))], axis=1)


def compute(name: str, one: Case, **parameters: Any) -> float:
    return number(METRICS[name].compute(one, **parameters))


def test_every_metric_has_values_in_a_test() -> None:
    """A new one is named in a module of tests beside this one: against another package, or by hand."""
    modules = [*TESTS.glob("test_metrics_*.py"), TESTS / "test_mosaics.py"]
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    named = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert sorted(METRICS.keys() - named) == []


FAITHFUL: list[tuple[str, tuple[float, float], dict[str, Any], float]] = [
    ("average_drop", (0.8, 0.2), {"epsilon": 0}, 0.75),
    ("average_drop", (0.2, 0.8), {}, 0.0),
    ("average_drop", (0.2, 0.8), {"signed": True, "epsilon": 0}, -3.0),
    ("drop_in_confidence", (0.8, 0.2), {}, 0.6),
    ("increase_in_confidence", (0.8, 0.2), {}, 0.0),
    ("increase_in_confidence", (0.2, 0.8), {}, 1.0),
    ("average_gain", (0.2, 0.8), {"epsilon": 0}, 0.75),
    ("average_gain", (0.8, 0.2), {}, 0.0),
]


@pytest.mark.parametrize(("name", "scores", "parameters", "expected"), FAITHFUL)
def test_faithfulness(name: str, scores: tuple[float, float], parameters: dict[str, Any], expected: float) -> None:
    assert compute(name, case(Toy(fixed(*scores)), ROW, ROW[0] / 8), **parameters) == pytest.approx(expected)


def test_a_mask_in_the_raw_picture_leaves_black() -> None:
    subject = Toy(total, fill=np.array([-3.0], np.float32))
    one = case(subject, ROW, [[1, 0.5, 0, 0]])
    assert masked(one, one.map, "raw").tolist() == [[[[1, 1 - 1.5, -3, -3]]]]
    assert masked(one, one.map, "normalised").tolist() == [[[[1, 1, 0, 0]]]]
    assert compute("average_drop", one, score="logit", space="raw", epsilon=0) == pytest.approx((15 + 5.5) / 15)
    assert compute("average_drop", one, score="logit", threshold=0.4, epsilon=0) == pytest.approx(12 / 15)


def test_adcc_over_a_set_is_of_the_means() -> None:
    """Two pictures: (Coh, Com, AD) are (1, .5, 0) and (.5, .25, .5)."""
    first = case(Toy(fixed(0.5, 0.5), lambda x, t: np.array([[0, 0, 1, 1]])), ROW, [[0, 0, 1, 1]])
    second = case(Toy(fixed(0.8, 0.4), lambda x, t: np.ones((1, 4))), ROW, [[0, 0, 0, 1]])
    nothing = case(Toy(fixed(0.5), no_map), ROW, [[math.nan] * 4])
    metric = METRICS["adcc"]
    values = [metric.compute(one) for one in (first, second, nothing)]
    by_hand = [3 / (1 / 1 + 1 / 0.5 + 1 / 1), 3 / (1 / 0.5 + 1 / 0.75 + 1 / 0.5)]
    assert [number(value) for value in values[:2]] == pytest.approx(by_hand)
    assert math.isnan(number(values[2]))
    assert metric.gather(values) == pytest.approx(3 / (1 / 0.75 + 1 / 0.625 + 1 / 0.75))
    assert METRICS["adcc_per_picture"].gather(values) == pytest.approx(np.mean(by_hand))


def test_curves_by_hand() -> None:
    one = case(Toy(total, fill=np.array([-1.0], np.float32)), ROW, [[0, 0.2, 0.5, 1]])
    found: Any = METRICS["deletion_auc"].compute(one, steps=4, score="logit")
    assert (found["fraction"], found["score"]) == ([0, 0.25, 0.5, 0.75, 1], [15, 7, 3, 1, 0])
    assert found["value"] == pytest.approx((15 / 2 + 7 + 3 + 1) / 4)
    found = METRICS["insertion_auc"].compute(one, steps=3, fill="black", score="logit")
    assert (found["fraction"], found["score"]) == ([0, 0.5, 1], [-4, 10, 15])
    assert found["value"] == pytest.approx((3 + 12.5) / 2)


def test_equal_px_are_taken_in_reading_order() -> None:
    found: Any = METRICS["deletion_auc"].compute(case(Toy(total), ROW, [[1, 0, 1, 0]]), steps=4, score="logit")
    assert found["score"] == [15, 14, 10, 8, 0]


def test_imputation_solves_its_equations() -> None:
    rng = np.random.default_rng(0)
    tensor, missing = rng.standard_normal((2, 33, 29)).astype(np.float32), rng.random((33, 29)) < 0.9
    filled = impute(tensor, missing)
    assert (filled[:, ~missing] == tensor[:, ~missing]).all()
    for plane in filled.astype(float):
        for y, x in np.argwhere(missing):
            beside = [
                (y + j, x + i, 6 if 0 in (j, i) else 12) for j in (-1, 0, 1) for i in (-1, 0, 1) if (j, i) != (0, 0)
            ]
            inside = [(plane[a, b], 1 / w) for a, b, w in beside if 0 <= a < 33 and 0 <= b < 29]
            values, weights = zip(*inside, strict=True)
            assert plane[y, x] == pytest.approx(np.average(values, weights=weights), abs=1e-5)
    assert (impute(tensor, np.zeros((33, 29), bool)) == tensor).all()


def test_road_noise_follows_the_seed() -> None:
    def change(seed: int, noise: float = 0.01) -> float:
        one = bright_square(limits()["random"])
        return compute("road_morf", Case(one.subject, one.tensor, 0, one.maps, seed=seed), noise=noise)

    assert change(1) == change(1)
    assert change(1) != change(2)
    assert change(1, 0.0) == change(2, 0.0)


def test_max_sensitivity_of_a_map_that_is_the_picture() -> None:
    """The map of x is x: the change is the noise itself."""
    one = case(Toy(total, lambda x, t: x[0, 0]), ROW, ROW[0])
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 1, 1, 4))
    expected = np.sqrt((noise**2).sum(axis=(1, 2, 3)).max()) / math.sqrt(1 + 4 + 16 + 64)
    assert compute("max_sensitivity", one, radius=0.5, samples=6) == pytest.approx(expected, rel=1e-5)
    small = case(Toy(lambda x: total(x * [[[[1, 0, 0, 0]]]]) - 1, lambda x, t: x[0, 0]), ROW, ROW[0])
    assert not math.isnan(compute("max_sensitivity", small, radius=0.5, flips="keep"))
    turns = case(Toy(lambda x: total(x) - [15, 0], lambda x, t: x[0, 0]), ROW, ROW[0])
    assert math.isnan(compute("max_sensitivity", turns, radius=0.5, flips="nan"))


def test_ssim_by_hand() -> None:
    """One window: means, variances and covariance over its 49 px, with 48 in the denominator."""
    a, b = np.random.default_rng(2).random((2, 7, 7)).astype(np.float32)
    ((saa, sab), (_, sbb)), (ma, mb) = np.cov(a.ravel(), b.ravel()), (a.mean(), b.mean())
    expected = (2 * ma * mb + 1e-4) * (2 * sab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (saa + sbb + 9e-4))
    assert ssim(a, b) == pytest.approx(expected, rel=1e-5)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_gradient_noise_is_a_curve_over_shares() -> None:
    map_ = np.random.default_rng(2).random((9, 9)).astype(np.float32)
    one = case(Toy(total, no_map, lambda share, seed: map_ * (1 - share)), np.ones((1, 9, 9)), map_)
    found: Any = METRICS["gradient_noise"].compute(one, shares=(0.0, 0.5))
    assert found["ssim"][0] == pytest.approx(1)
    assert found["ssim"] == pytest.approx([1, ssim(map_, map_ / 2)])
    assert found["mse"] == pytest.approx([0, np.mean((map_ / 2) ** 2)])
    assert found["value"] == pytest.approx(np.mean(found["ssim"]))
    assert compute("gradient_noise", one, shares=(0.0, 0.5), similarity="correlation") == pytest.approx(1)


def test_input_noise_has_the_share_of_the_range() -> None:
    """The map is the noise itself, so that its spread can be seen."""
    picture = np.zeros((1, 40, 40))
    picture[0, 0, 0] = 10.0
    seen: list[float] = []

    def maps(x: np.ndarray, target: int) -> np.ndarray:
        seen.append(float((x[0] - picture).std()))
        return np.zeros((40, 40)) + (x[0, 0] > 5)

    one = case(Toy(total, maps), picture, picture[0] / 10)
    assert compute("input_noise", one, shares=(0.01, 0.1), samples=2) == pytest.approx(1)
    assert seen == pytest.approx([0.1, 0.1, 1, 1], rel=0.1)


def test_infidelity_of_a_linear_score_is_zero() -> None:
    """The sum's own gradient is 1 everywhere: it foretells every change."""
    picture = np.random.default_rng(0).random((1, 8, 8))
    right, half = (case(Toy(total), picture, np.full((8, 8), value)) for value in (1, 0.5))
    options: dict[str, Any] = {"score": "logit", "side": 3}
    assert compute("infidelity", right, scaling="none", **options) == pytest.approx(0, abs=1e-9)
    assert compute("infidelity", half, **options) == pytest.approx(0, abs=1e-9)
    zeros = case(Toy(total), picture, np.zeros((8, 8)))
    rng = np.random.default_rng(0)
    tops, lefts = rng.integers(6, size=50), rng.integers(6, size=50)
    sums = [picture[0, y : y + 3, x : x + 3].sum() for y, x in zip(tops, lefts, strict=True)]
    assert compute("infidelity", zeros, **options) == pytest.approx(np.square(sums).mean(), rel=1e-5)
    assert compute("infidelity", half, scaling="none", **options) == pytest.approx(np.square(sums).mean() / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([[0, 1, 2, 3]], [[0, 2, 4, 6]], 1.0),
        ([[0, 1, 2, 3]], [[3, 2, 1, 0]], -1.0),
        ([[0, 1, 0, 1]], [[0, 0, 1, 1]], 0.0),
        ([[1, 1, 1, 1]], [[0, 0, 0, 0]], 1.0),
        ([[1, 1, 1, 1]], [[0, 0, 0, 1]], 0.0),
    ],
)
def test_class_sensitivity(first: Any, second: Any, expected: float) -> None:
    subject = Toy(total, lambda x, target: np.array(second) if target == 1 else no_map(x, target))
    assert compute("class_sensitivity", case(subject, ROW, first, second=1)) == pytest.approx(expected)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("average_drop", {"space": "hsv"}),
    ("average_drop", {"score": "loss"}),
    ("deletion_auc", {"steps": 0}),
    ("deletion_auc", {"fill": "green"}),
    ("road_morf", {"percentiles": []}),
    ("road_morf", {"percentiles": [0]}),
    ("max_sensitivity", {"of": "layer"}),
    ("input_noise", {"shares": []}),
    ("gradient_noise", {"shares": [-1]}),
    ("infidelity", {"side": 99}),
    ("infidelity", {"side": 2.5}),
    ("road_morf", {"percentiles": [20, "a"]}),
    ("road_morf", {"percentiles": [math.nan]}),
    ("input_noise", {"shares": "many"}),
    ("iou", {"parts": "some"}),
    ("max_box_acc_v2", {"deltas": []}),
]


@pytest.mark.parametrize(("name", "parameters"), BAD)
def test_a_parameter_that_cannot_be_is_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(parameters)))):
        compute(name, bright_square(limits()["perfect"]), **parameters)


def test_a_truth_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="mask: found"):
        compute("iou", case(Toy(total), ROW, ROW[0], truth=Truth(mask=np.ones((3, 3), bool))))


def test_a_single_number_is_a_list_of_one() -> None:
    """As `--parameter NAME=0.1` gives it."""
    map_ = limits()["random"]
    one = bright_square(map_)
    noisy = Case(Toy(one.subject.logits, no_map, lambda share, seed: 1 - map_), one.tensor, 0, one.maps, one.truth)
    for name, key, value in (("gradient_noise", "shares", 0.1), ("road_lerf", "percentiles", 20)):
        assert compute(name, noisy, **{key: value}) == compute(name, noisy, **{key: [value]})
    assert compute("max_box_acc_v2", one, deltas=0.5) == compute("max_box_acc_v2", one, deltas=[0.5])


def test_nothing_can_be_gained_where_the_probability_is_1() -> None:
    sure = Toy(lambda x: np.stack([np.full(len(x), 900.0), np.zeros(len(x))], axis=1))
    assert compute("average_gain", case(sure, ROW, ROW[0] / 8)) == 0
    assert math.isnan(compute("average_gain", case(sure, ROW, ROW[0] / 8), epsilon=0))


HERE = ("average_drop", "deletion_auc", "road_combined", "max_sensitivity", "infidelity", "iou", "class_sensitivity")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_map_with_nan_has_no_value(broken: float) -> None:
    """By any metric of these files; nothing crashes, nothing is counted as a number."""
    map_ = limits()["perfect"].copy()
    map_[0, 0] = broken
    one = bright_square(map_)
    flat = Toy(one.subject.logits, lambda x, t: map_, lambda share, seed: map_)
    one = Case(flat, one.tensor, 0, Map(map_, map_), one.truth, second=1)
    ours = [name for name, found in METRICS.items() if found.needs <= {"box", "mask", "gradients", "second class"}]
    assert set(HERE) <= set(ours)
    for name in ours:
        value = METRICS[name].compute(one, **({"side": 4} if name == "infidelity" else {}))
        assert math.isnan(number(value)), name
        assert math.isnan(METRICS[name].gather([value])), name


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_constant_map_never_crashes(level: float) -> None:
    one = bright_square(np.full((24, 20), level, np.float32))
    flat = Toy(one.subject.logits, lambda x, t: one.map, lambda share, seed: one.map)
    one = Case(flat, one.tensor, 0, one.maps, one.truth, second=1)
    found = {name: number(METRICS[name].compute(one)) for name in METRICS if name in STATED}
    share = 80 / 480
    expected = {**STATED, "energy_pointing_game": share if level else math.nan}
    assert found == pytest.approx({**expected, "complexity": level, "relevance_rank": share}, nan_ok=True)


STATED = {
    "class_sensitivity": 1.0,
    "coherency": 0.5,
    "complexity": None,
    "energy_pointing_game": None,
    "gradient_noise": math.nan,
    "input_noise": math.nan,
    "iou": 0.0,
    "box_iou": 0.0,
    "pointing_game": 0.0,
    "relevance_rank": None,
    "road_combined": 0.0,
    "max_box_acc_v2": 0.0,
}
"""What a constant map has, as the definitions say."""
