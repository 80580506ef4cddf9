"""A perfect map, a constant one, a random one and an inverted one rank as they must, on a toy and on a real model."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime
import pytest

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.case import Case, Map, Truth
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.runtime.frames.preprocess import Preprocessor
from metric_subjects import Toy, bright_square, limits


def values(name: str, cases: dict[str, Case], **parameters: object) -> dict[str, float]:
    """By map; the larger the better, whatever the metric's direction."""
    metric = METRICS[name]
    sign = 1 if metric.direction == "higher" else -1
    return {key: sign * number(metric.compute(one, **parameters)) for key, one in cases.items()}


FAITHFUL = ("average_drop", "drop_in_confidence", "deletion_auc", "insertion_auc")
ROAD = ("road_morf", "road_lerf", "road_combined")
LOCATED = ("energy_pointing_game", "relevance_mass", "relevance_rank")


@pytest.fixture(scope="module")
def toys() -> dict[str, Case]:
    return {name: bright_square(map_) for name, map_ in limits().items()}


@pytest.mark.parametrize("name", [*FAITHFUL, "road_combined", "infidelity"])
def test_faithfulness_on_a_toy(toys: dict[str, Case], name: str) -> None:
    """The perfect map is the best of all, the inverted one the worst."""
    found = values(name, toys, **({"side": 6, "score": "logit"} if name == "infidelity" else {}))
    for key in ("constant", "random"):
        assert found["perfect"] > found[key] + 0.05
        assert found[key] > found["inverted"] + 0.05


def test_road_by_order_on_a_toy(toys: dict[str, Case]) -> None:
    """What lies around the square hardly matters to the toy: one order alone does not find the inverted map worst."""
    for name, other in (("road_morf", "random"), ("road_lerf", "inverted")):
        found = values(name, toys)
        assert found["perfect"] > max(found["constant"], found["inverted"]) + 0.05
        assert found["perfect"] >= found[other]


def test_gain_on_a_toy(toys: dict[str, Case]) -> None:
    for name in ("increase_in_confidence", "average_gain"):
        found = values(name, toys)
        assert found["perfect"] > 0 == found["inverted"]


@pytest.mark.parametrize("name", LOCATED)
def test_mass_and_rank_on_a_toy(toys: dict[str, Case], name: str) -> None:
    found = values(name, toys)
    share = 80 / 480
    assert (found["perfect"], found["inverted"]) == (1.0, 0.0)
    assert found["constant"] == pytest.approx(share)
    assert found["random"] == pytest.approx(share, abs=0.06)


def test_regions_and_boxes_on_a_toy(toys: dict[str, Case]) -> None:
    for name in ("pointing_game", "iou", "box_iou", "max_box_acc_v2"):
        found = values(name, toys)
        assert found["perfect"] == 1.0, name
        assert max(found["inverted"], found["constant"]) < 0.2, name
        assert found["random"] < 0.5, name


def test_a_random_map_points_by_chance() -> None:
    hits = []
    for seed in range(400):
        map_ = np.random.default_rng(seed).random((24, 20)).astype(np.float32)
        hits.append(number(METRICS["pointing_game"].compute(bright_square(map_))))
    assert np.mean(hits) == pytest.approx(80 / 480, abs=3 * 0.0186)


CUP = (31.0, 0.0, 183.0, 172.0)
"""Where the espresso's cup lies in the tensor, by eye."""


@pytest.fixture(scope="module")
def espresso() -> dict[str, Case]:
    """EfficientNet-Lite0 and a photograph of a cup: the cup, nothing, noise as coarse as a map's, all but the cup."""
    session = onnxruntime.InferenceSession(str(zoo.lite0.model()), providers=["CPUExecutionProvider"])

    def logits(tensors: np.ndarray) -> np.ndarray:
        return np.concatenate([session.run(None, {"images": x[None]})[0] for x in tensors.astype(np.float32)])

    tensor = Preprocessor(zoo.lite0.PREPROCESS)(zoo.photograph("coffee"))[0].copy()
    x0, y0, x1, y1 = (int(edge) for edge in CUP)
    mask = np.zeros((224, 224), bool)
    mask[y0:y1, x0:x1] = True
    coarse = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    maps = {
        "perfect": mask.astype(np.float32),
        "constant": np.full((224, 224), 0.5, np.float32),
        "random": cv2.resize(coarse, (224, 224), interpolation=cv2.INTER_LINEAR),
        "inverted": (~mask).astype(np.float32),
    }
    subject = Toy(logits, classes=1000, fill=np.full(3, -127 / 128, np.float32))
    target = int(logits(tensor).argmax())
    assert zoo.lite0.labels()[target] == "espresso"
    truth = Truth((CUP,), mask)
    return {name: Case(subject, tensor, target, Map(map_, map_), truth) for name, map_ in maps.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAITHFUL, *ROAD])
def test_faithfulness_on_a_real_model(espresso: dict[str, Case], name: str) -> None:
    found = values(name, espresso, **({"percentiles": (30, 60, 90)} if name in ROAD else {}))
    assert found["perfect"] > found["random"] > found["inverted"]
    assert found["perfect"] > found["constant"] > found["inverted"]


@pytest.mark.slow
def test_a_blurred_espresso_is_one_still(espresso: dict[str, Case]) -> None:
    """Why insertion begins with zeros by default: into RISE's blur, all but the cup is as good as the cup."""
    found = values("insertion_auc", espresso, fill="blur")
    assert found["inverted"] > found["random"]
    assert found["inverted"] == pytest.approx(found["perfect"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LOCATED, "iou", "box_iou", "max_box_acc_v2"])
def test_localisation_on_a_real_picture(espresso: dict[str, Case], name: str) -> None:
    """The cup is half the picture: what a map of nothing reaches is much."""
    found = values(name, espresso)
    assert found["perfect"] == 1.0
    assert max(found[key] for key in ("constant", "random", "inverted")) < 0.7


@pytest.mark.slow
def test_the_pointing_game_on_a_real_picture(espresso: dict[str, Case]) -> None:
    """A random map hits half of the time, here it does."""
    found = values("pointing_game", espresso)
    assert found == {"perfect": 1.0, "constant": 0.0, "random": 1.0, "inverted": 0.0}
