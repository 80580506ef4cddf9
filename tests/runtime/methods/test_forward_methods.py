"""Methods that only run the model forward, against other packages' arrays (golden/forward) and direct loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

import checkout
import exported_models
from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.runtime import FORWARD_METHODS, Explainer
from aerocam.runtime.maps import saliency
from aerocam.runtime.methods import Scorer, find, get
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime

GOLDEN = checkout.GOLDEN / "forward"
TARGET = 2
FEATURES, NEGATIVE = exported_models.FORWARD, exported_models.FORWARD_NEGATIVE
TAIL, TAIL_NEGATIVE = exported_models.TAIL, exported_models.TAIL_NEGATIVE
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    (FEATURES, "scorecam", {}, "scorecam/features"),
    (NEGATIVE, "scorecam", {}, "scorecam/negative"),
    (TAIL, "scorecam", {}, "scorecam/features"),
    (TAIL, "ablationcam", {}, "ablationcam/features"),
    (TAIL, "ablationcam", {"fill": "pgc"}, "ablationcam/features"),
    (TAIL_NEGATIVE, "ablationcam", {"fill": "pgc"}, "ablationcam/negative"),
    (FEATURES, "occlusion", {"patch": (7, 5), "stride": (4, 3)}, "occlusion/uneven"),
    (FEATURES, "occlusion", {"patch": 8, "baseline": 0.5}, "occlusion/half"),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "forward.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def logits() -> Callable[[np.ndarray], np.ndarray]:
    """The network as it is, with nothing of this package around it: (1, 3, H, W) -> (5,)."""
    session = onnxruntime.InferenceSession(str(GOLDEN / "network.onnx"), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.astype(np.float32)})[0][0]


def frame(golden: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(golden["rgb"][:, :, ::-1])


def tensor(golden: Mapping[str, np.ndarray]) -> np.ndarray:
    return ((golden["rgb"].transpose(2, 0, 1)[None] - 127.0) / 64.0).astype(np.float32)


def explainer(name: str, method: str, counterfactual: bool = False, **options: Any) -> Explainer:
    path = exported_models.folder() / name
    return Explainer(path, method=method, options=options, threads=1, counterfactual=counterfactual)


@pytest.mark.parametrize(("name", "method", "options", "key"), CASES, ids=str)
def test_equals_the_other_package(golden: Any, name: str, method: str, options: dict[str, Any], key: str) -> None:
    with explainer(name, method, **options) as explain:
        found = explain(frame(golden), TARGET)
    expected = golden[key]
    assert found.raw.dtype == np.float32
    assert found.raw.shape == expected.shape
    assert np.abs(found.raw - expected).max() < 1e-5 * np.abs(expected).max()
    assert found.target.logit == pytest.approx(float(golden["score"]), rel=1e-5)
    assert (found.method, found.warnings) == (method, [])


@pytest.fixture(scope="module")
def behind(golden: Mapping[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """What follows `features` in NumPy: (12, 7, 6) -> (5,), in float64."""

    def run(a: np.ndarray) -> np.ndarray:
        padded = np.pad(a.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
        e = golden["6.bias"][:, None, None] + sum(
            np.tensordot(golden["6.weight"][:, :, i, j], padded[:, i : i + 7, j : j + 6], axes=1)
            for i in range(3)
            for j in range(3)
        )
        return golden["10.weight"] @ (e / (1 + np.exp(-e))).mean(axis=(1, 2)) + golden["10.bias"]

    return run


@pytest.mark.parametrize("gaussian", [False, True])
def test_recipro_cam_equals_a_direct_loop(golden: Any, behind: Any, gaussian: bool) -> None:
    with explainer(TAIL, "reciprocam", gaussian=gaussian) as explain:
        found = explain(frame(golden), TARGET)
        a = explain._passes.explain(explain._resolved.slots[0])["features"][0]  # type: ignore[attr-defined]
    around = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16 if gaussian else np.pad([[1.0]], 1)
    expected = np.zeros((7, 6))
    for i in range(7):
        for j in range(6):
            mask = np.zeros((9, 8))
            mask[i : i + 3, j : j + 3] = around
            expected[i, j] = behind(a * mask[1:-1, 1:-1])[TARGET]
    np.testing.assert_allclose(found.raw[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert found.warnings == []


def test_an_ablated_channel_may_hold_its_mean(golden: Any, behind: Any) -> None:
    with explainer(TAIL, "ablationcam", fill="mean") as explain:
        found = explain(frame(golden), TARGET)
        a = explain._passes.explain(explain._resolved.slots[0])["features"][0]  # type: ignore[attr-defined]
    expected, whole = np.zeros((7, 6)), behind(a)[TARGET]
    for c in range(12):
        changed = a.copy()
        changed[c] = a[c].mean()
        expected += (whole - behind(changed)[TARGET]) / whole * a[c]
    np.testing.assert_allclose(found.raw[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_rise_equals_a_direct_loop(golden: Any, logits: Any) -> None:
    """The masks are OpenCV's enlarged grids, cut out at random; cells of 4 by 3 px over 26 by 22."""
    x, rng = tensor(golden), np.random.default_rng(7)
    expected = np.zeros((26, 22))
    for _ in range(40):
        grid = (rng.random((8, 8)) < 0.3).astype(np.float32)
        down, right = (int(rng.integers(cell)) for cell in (4, 3))
        mask = cv2.resize(grid, (27, 36), interpolation=cv2.INTER_LINEAR)[down : down + 26, right : right + 22]
        expected += logits(x * mask)[TARGET] * mask / (40 * 0.3)
    with explainer(FEATURES, "rise", masks=40, probability=0.3, seed=7) as explain:
        found = explain(frame(golden), TARGET)
        again = explain(frame(golden), TARGET)
    np.testing.assert_allclose(found.raw[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(again.raw, found.raw)
    span = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(found.tensor_map[0], span, atol=1e-4)


def test_masks_of_rise_are_open_as_often_as_asked() -> None:
    seen: list[np.ndarray] = []

    def run(pictures: np.ndarray) -> np.ndarray:
        seen.append(pictures[:, 0])
        return np.ones((len(pictures), 1), np.float32)

    ones = np.ones((1, 1, 40, 56), np.float32)
    found = FORWARD_METHODS["rise"](Scorer(run), ones, masks=600, probability=0.25)
    masks = np.concatenate(seen)
    assert masks.min() == 0.0
    assert masks.max() == 1.0
    assert masks.mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(found, masks.mean(axis=0)[None] / 0.25, rtol=1e-5)


def test_the_target_is_chosen_on_the_picture_and_kept(golden: Any) -> None:
    """Also where other pictures would have another best class."""
    for method, options in (("scorecam", {}), ("occlusion", {"patch": 26 // 2}), ("rise", {"masks": 5})):
        with explainer(FEATURES, method, **options) as explain:
            own, named = explain(frame(golden)), explain(frame(golden), TARGET)
        assert own.target.index == TARGET
        np.testing.assert_array_equal(own.raw, named.raw)


def test_several_targets_have_a_map_each(golden: Any) -> None:
    with explainer(FEATURES, "scorecam") as explain:
        both = explain(frame(golden), [TARGET, 4])
        singles = [explain(frame(golden), target).raw[0] for target in (TARGET, 4)]
    np.testing.assert_array_equal(both.raw, singles)


def test_the_negative_score_is_explained_too(golden: Any) -> None:
    with explainer(FEATURES, "occlusion", counterfactual=True, patch=8, baseline=0.5) as explain:
        found = explain(frame(golden), TARGET)
    expected = golden["occlusion/half"]
    assert np.abs(found.raw + expected).max() < 1e-5 * np.abs(expected).max()
    with explainer(FEATURES, "scorecam", counterfactual=True) as explain:
        against = explain(frame(golden), TARGET)
    assert not np.allclose(against.raw, golden["scorecam/features"], rtol=1e-2)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("occlusion", {"patch": 0}, "option patch is 0, expected a whole number from 1 on"),
        ("occlusion", {"patch": (4, 23)}, r"at most the picture's 26 by 22 px is expected; give less"),
        ("occlusion", {"patch": 4, "stride": 5}, r"option stride is 5, at most the patch's 4 by 4 px is expected"),
        ("occlusion", {"patch": (1, 2, 3)}, "expected one number or two"),
        ("occlusion", {"patch": 4, "baseline": "grey"}, "method occlusion: option baseline is 'grey'"),
        ("rise", {"masks": 0}, "option masks is 0, expected a whole number from 1 on"),
        ("rise", {"probability": 0.0}, "option probability is 0.0, expected a number above 0 and up to 1"),
        ("rise", {"grids": 8}, "it has no option 'grids'. Did you mean 'grid'"),
        ("scorecam", {"batch": 8}, "it has no option 'batch'"),
    ],
)
def test_options_are_checked_before_anything_runs(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explainer(FEATURES, method, **options)


def test_a_tail_is_asked_for_in_one_sentence() -> None:
    with pytest.raises(
        UsageError,
        match=r"method 'reciprocam': it runs the part behind the layer many times, and the export has a single file;"
        r" export the model again with `packaging='split'`, `batch=32`, or with `head='reciprocam'`",
    ):
        explainer(FEATURES, "reciprocam")


def test_get_takes_only_methods_that_need_no_model() -> None:
    assert find("Score-CAM") is FORWARD_METHODS["scorecam"]
    with pytest.raises(UsageError, match="method scorecam: it runs the model"):
        get("scorecam")


def test_a_span_knows_no_zero() -> None:
    raw = np.float32([[[-5, -3], [-4, -5]]])
    np.testing.assert_allclose(saliency.combine([raw], (2, 2), "span"), [[[0, 1], [0.5, 0]]], atol=1e-6)
    assert saliency.problems([raw], ["layer"], rule="span") == []
    flat = np.full((1, 2, 2), 3, np.float32)
    assert saliency.problems([flat], ["layer"], rule="span") == [
        "the map is zero everywhere: nothing in layer speaks for the target"
    ]
    assert "NaN" in saliency.problems([flat * np.float32(np.nan)], ["layer"], rule="span")[0]


def test_score_cam_runs_the_model_once_per_channel_for_the_score_alone() -> None:
    with explainer(FEATURES, "scorecam") as explain:
        runs: list[tuple[str, ...]] = []
        run = explain.session.run
        explain.session.run = lambda feeds, names: runs.append(tuple(names)) or run(feeds, names)  # type: ignore
        explain(noise((26, 22)))
    assert runs[1:] == [(manifest.SCORE,)] * 12
