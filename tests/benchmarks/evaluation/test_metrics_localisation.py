"""Metrics of where a map lies, on pictures of a few px, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from aerocam.benchmarks.evaluation.case import Case, Truth
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.benchmarks.evaluation.metrics.localisation import best_iou, inside, parts_above
from metric_subjects import Toy, case, no_map

FAR = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.4, 0.6, 0.0, 0.0, 0.0],
        [0.0, 0.4, 0.6, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""A block of four px, and the maximum away from it."""

BOX = (1.0, 1.0, 3.0, 3.0)
"""Around the block."""


def located(map_: Any, box: tuple[float, float, float, float] = BOX) -> Case:
    size = np.shape(map_)
    mask = np.zeros(size, bool)
    mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    truth = Truth(boxes=(box,), mask=mask)
    return case(Toy(lambda x: x, no_map), np.zeros((1, *size)), map_, truth=truth)


def compute(name: str, one: Case, **parameters: Any) -> float:
    return number(METRICS[name].compute(one, **parameters))


def test_px_of_a_box_are_those_whose_centre_it_holds() -> None:
    assert inside([(0.4, 0.6, 1.5, 2)], (3, 3)).tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert not inside([(-9, -9, 0, 0)], (3, 3)).any()


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 0.0), (2, 0.0), (math.sqrt(10) - 0.01, 0.0), (3.2, 1.0)])
def test_pointing_game(tolerance: float, expected: float) -> None:
    """The maximum lies 3 px to the right of the box's nearest px, and 1 below."""
    assert compute("pointing_game", located(FAR), tolerance=tolerance) == expected


def test_pointing_game_takes_any_of_equal_maxima() -> None:
    assert compute("pointing_game", located(np.where(FAR == 0.6, 1.0, FAR))) == 1.0


def test_mass_and_rank() -> None:
    assert compute("energy_pointing_game", located(FAR)) == pytest.approx(2 / 3)
    assert compute("relevance_mass", located(FAR)) == pytest.approx(2 / 3)
    assert compute("relevance_rank", located(FAR)) == pytest.approx((2 + 1) / 4)  # 1.0, 0.6, 0.6, and a 0.4 of two
    assert compute("relevance_rank", located(FAR, (4, 0, 6, 4))) == pytest.approx(1 / 8 + 3 * (7 / 19) / 8)


def test_iou_of_regions() -> None:
    assert compute("iou", located(FAR), threshold=0.4) == pytest.approx(4 / 5)
    assert compute("iou", located(FAR), threshold=0.4, parts="largest") == 1.0
    assert compute("iou", located(FAR), threshold=0.6) == pytest.approx(2 / 5)
    assert compute("box_iou", located(FAR), threshold=0.4) == 1.0
    assert compute("box_iou", located(FAR), threshold=0.5) == pytest.approx(0.5)
    assert compute("box_iou", located(FAR), threshold=1.0) == 0.0


def test_boxes_overlap() -> None:
    found = np.array([[0, 0, 2, 2], [10, 10, 11, 11]], float)
    assert best_iou(found, [(1, 1, 3, 3), (50, 50, 60, 60)]) == pytest.approx(1 / 7)
    assert best_iou(found[:0], [(1, 1, 3, 3)]) == 0.0
    assert parts_above(FAR.astype(np.float32), 0.4, False).tolist() == [[1, 1, 3, 3], [5, 3, 6, 4]]
    assert parts_above(FAR.astype(np.float32), 0.4, True).tolist() == [[1, 1, 3, 3]]


def test_max_box_acc_over_a_set_has_one_threshold_for_all() -> None:
    """The first picture is right at thresholds up to 0.4, the second above 0.4 only; alone each has a full score."""
    first = located(FAR)
    second = located(np.where(FAR == 0.4, 0.45, FAR), (2.0, 1.0, 3.0, 3.0))
    metric = METRICS["max_box_acc_v2"]
    options: dict[str, Any] = {"steps": 10, "deltas": (0.9,), "parts": "largest"}
    values: list[Any] = [metric.compute(one, **options) for one in (first, second)]
    expected = [4 / 24, *[1.0] * 4, *[0.5] * 2, *[0.0] * 3]
    assert values[0]["iou"] == pytest.approx(expected)
    assert values[1]["iou"] == pytest.approx([2 / 24, *[0.5] * 4, *[1.0] * 2, *[0.0] * 3])
    assert [number(value) for value in values] == [1.0, 1.0]
    assert metric.gather(values) == 0.5
    assert metric.gather([*values, float("nan")]) == 0.5
    half = [metric.compute(one, steps=10, deltas=(0.5, 0.9), parts="largest") for one in (first, second)]
    assert metric.gather(half) == 0.75
    assert math.isnan(metric.gather([]))


def test_max_box_acc_takes_the_best_part() -> None:
    one = located(FAR, (5.0, 3.0, 6.0, 4.0))
    assert compute("max_box_acc_v2", one, steps=10) == 1.0
    values: Any = METRICS["max_box_acc_v2"].compute(one, steps=10, parts="largest")
    assert values["iou"][1:7] == [0.0] * 6
    assert values["iou"][7] == 1.0


@pytest.mark.parametrize("name", ["pointing_game", "energy_pointing_game", "iou", "relevance_rank", "max_box_acc_v2"])
def test_a_target_outside_the_picture_leaves_no_value(name: str) -> None:
    assert math.isnan(compute(name, located(FAR, (40.0, 40.0, 50.0, 50.0))))
