"""The methods on the input picture, against captum's own arrays (golden/input/make_captum.py) and closed formulas."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import checkout
import exported_models
from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.runtime import INPUT_METHODS, Explainer, open_session, read_picture
from aerocam.runtime.maps.contract import Rerun
from aerocam.runtime.methods import find, get
from aerocam.runtime.methods.options import BASELINES
from aerocam.runtime.sessions.session import Run
from tiny_models import model

pytestmark = pytest.mark.runtime

GOLDEN = checkout.GOLDEN / "input/captum.npz"
TARGET = 2
SMALL, GUIDED = exported_models.SMALL, exported_models.SMALL_GUIDED
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    (SMALL, "saliency", {}, "saliency"),
    (SMALL, "inputxgradient", {}, "inputxgradient"),
    (SMALL, "smoothgrad", {"samples": 8}, "smoothgrad"),
    (SMALL, "smoothgrad", {"samples": 8, "absolute": True}, "smoothgrad_absolute"),
    (SMALL, "integrated_gradients", {}, "integrated_gradients"),
    (SMALL, "integrated_gradients", {"baseline": 0.5}, "integrated_gradients_from_half"),
    (SMALL, "integrated_gradients", {"rule": "trapezoid"}, "integrated_gradients_trapezoid"),
    (GUIDED, "guided_backprop", {}, "guided_backprop"),
    (GUIDED, "guided_gradcam", {}, "guided_gradcam"),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def frame(golden: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(golden["rgb"][:, :, ::-1])


def explainer(name: str, method: str, **options: Any) -> Explainer:
    return Explainer(exported_models.folder() / name, method=method, options=options, threads=1)


def on_channels(name: str, attribution: np.ndarray) -> np.ndarray:
    """One value per pixel, as the module under test says: (1, C, H, W) -> (1, H, W)."""
    largest = name.startswith(("saliency", "smoothgrad"))
    return np.abs(attribution).max(axis=1) if largest else attribution.sum(axis=1)


@pytest.mark.parametrize(("name", "method", "options", "key"), CASES, ids=[case[3] for case in CASES])
def test_equals_captum(golden: Any, name: str, method: str, options: dict[str, Any], key: str) -> None:
    with explainer(name, method, **options) as explain:
        found = explain(frame(golden), TARGET)
    expected = on_channels(key, golden[key])
    assert found.raw.dtype == np.float32
    assert found.raw.shape == expected.shape
    assert np.abs(found.raw - expected).max() < 1e-5 * np.abs(expected).max()
    assert found.target.logit == pytest.approx(golden["scores"][0], rel=1e-5)
    assert (found.method, found.warnings) == (method, [])


def test_every_method_has_a_golden() -> None:
    assert {case[1] for case in CASES} == INPUT_METHODS.keys()


def test_the_map_is_the_magnitude_below_its_outliers(golden: Any) -> None:
    with explainer(SMALL, "inputxgradient") as explain:
        found = explain(frame(golden), TARGET)
    size = np.abs(found.raw)
    assert found.raw.min() < 0 < found.raw.max()
    most = np.sort(size, axis=None)[-6]  # of 576 values the 570th from below, at 99 %
    np.testing.assert_allclose(found.tensor_map, np.minimum(size / most, 1), atol=1e-6)


def test_integrated_gradients_are_complete(golden: Any) -> None:
    with explainer(SMALL, "ig") as explain:
        found = explain(frame(golden), TARGET)
    assert found.raw.sum() == pytest.approx(golden["scores"][0] - golden["scores"][1], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "tolerance"), [(50, 0.05), (150, 0.01)])
def test_integrated_gradients_of_a_photograph_are_complete(steps: int, tolerance: float) -> None:
    """On EfficientNet-Lite0, whose gradient jumps at every kink of its ReLU6."""
    picture = read_picture(exported_models.folder() / "coffee.png")
    with explainer(exported_models.INPUT, "integrated_gradients", steps=steps) as explain:
        found = explain(picture)
        feeds = {"images": np.zeros((1, 3, 224, 224), np.float32), manifest.TARGET: np.int32([found.target.index])}
        nothing = float(explain.session.run(feeds, (manifest.SCORE,))[manifest.SCORE][0])
    assert found.target.label == "espresso"
    assert found.raw.sum() == pytest.approx(found.target.logit - nothing, rel=tolerance)


class Counted:
    """A session that notes the targets and pictures it is given, and reuses its arrays as it may."""

    depth = 1

    def __init__(self, name: str) -> None:
        self._inner = open_session(exported_models.folder() / name, threads=1)
        self.path, self.manifest = self._inner.path, self._inner.manifest
        self.inputs, self.outputs = self._inner.inputs, self._inner.outputs
        self.targets: list[list[int]] = []
        self.pictures: list[np.ndarray] = []
        self._given: dict[str, np.ndarray] = {}

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.targets.append(feeds[manifest.TARGET].tolist())
        self.pictures.append(feeds["images"].copy())
        for name, array in self._inner.run(feeds, outputs).items():
            self._given.setdefault(name, array.copy())[...] = array
        return {name: self._given[name] for name in outputs or self._given}

    def submit(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Run[dict[str, Any]]:
        outcome = self.run(feeds, outputs)
        return Run(lambda: outcome)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("method", ["inputxgradient", "integrated_gradients"])
def test_gradients_are_freed_from_the_seed_scale(golden: Any, method: str) -> None:
    session = Counted(SMALL)
    expected = Explainer(session, method=method, options={})(frame(golden)).raw
    session.manifest = dataclasses.replace(session.manifest, seed_scale=8.0)
    found = Explainer(session, method=method, options={})(frame(golden)).raw
    np.testing.assert_allclose(found, expected / 8, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "options", "runs"),
    [
        ("saliency", {}, 1),
        ("inputxgradient", {}, 1),
        ("smoothgrad", {"samples": 3}, 4),
        ("ig", {"steps": 5}, 6),
        ("ig", {"steps": 2, "tolerance": 0.9}, 4),
    ],
)
def test_the_target_is_chosen_once_and_kept(golden: Any, method: str, options: dict[str, Any], runs: int) -> None:
    session = Counted(SMALL)
    found = Explainer(session, method=method, options=options)(frame(golden))
    assert found.target.index == TARGET
    assert session.targets == [[-1], *([[TARGET]] * (runs - 1))]
    with explainer(SMALL, method, **options) as explain:
        expected = explain(frame(golden), TARGET)
    np.testing.assert_array_equal(found.raw, expected.raw)
    assert (found.target.logit, found.classes) == (expected.target.logit, expected.classes)


def test_noise_has_the_level_asked_for_and_is_the_same_for_a_seed(golden: Any) -> None:
    raws = []
    for seed in (0, 0, 7):
        session = Counted(SMALL)
        explain = Explainer(session, method="smoothgrad", options={"samples": 20, "noise": 0.1, "seed": seed})
        raws += [explain(frame(golden)).raw, explain(frame(golden)).raw]
        clean, *noisy = session.pictures[:21]
        assert np.std(np.stack(noisy) - clean) == pytest.approx(0.1 * np.ptp(clean), rel=0.02)
    np.testing.assert_array_equal(raws[0], raws[1])
    np.testing.assert_array_equal(raws[0], raws[2])
    assert np.abs(raws[0] - raws[4]).max() > 1e-3 * raws[0].max()


RNG = np.random.default_rng(3)
PICTURE = RNG.standard_normal((1, 3, 6, 8)).astype(np.float32)
WEIGHTS = RNG.standard_normal((2, 3, 6, 8)).astype(np.float32)


def squares(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two targets: score Σ w x², gradient 2 w x."""
    return 2 * WEIGHTS * at, (WEIGHTS * at**2).sum(axis=(1, 2, 3))


@pytest.mark.parametrize("rule", ["gausslegendre", "trapezoid"])
@pytest.mark.parametrize("baseline", ["zeros", "mean", "blur", 0.25, RNG.standard_normal((3, 1, 1))])
def test_the_integral_of_a_square_is_exact(rule: str, baseline: Any) -> None:
    found = find("ig")(PICTURE, squares, rule=rule, baseline=baseline, steps=3)
    start = BASELINES[baseline](PICTURE) if isinstance(baseline, str) else np.asarray(baseline, np.float32)
    np.testing.assert_allclose(found, (WEIGHTS * (PICTURE**2 - start**2)).sum(axis=1), rtol=1e-4, atol=1e-5)


def test_baselines_are_what_they_say() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 2, 30, 40))
    assert not BASELINES["zeros"](ramp).any()
    np.testing.assert_allclose(BASELINES["mean"](ramp), 19.5)
    blurred = BASELINES["blur"](ramp)
    np.testing.assert_allclose(blurred[..., 8:32], ramp[..., 8:32], atol=0.02)  # four deviations from the border
    spike = np.zeros((1, 1, 40, 40), np.float32)
    spike[0, 0, 20, 20] = 1
    assert BASELINES["blur"](spike)[0, 0, 20, 20] == pytest.approx(1 / (2 * np.pi * 2.0**2), rel=1e-3)
    np.testing.assert_allclose(BASELINES["blur"](np.ones((1, 1, 9, 5), np.float32)), 1, rtol=1e-6)


def step(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score Σ max(x - 0.7, 0): on the way to ones the gradient jumps at 0.7."""
    return (at > 0.7).astype(np.float32), np.maximum(at - 0.7, 0).sum(axis=(1, 2, 3))


def test_steps_are_doubled_until_the_tolerance_is_met(caplog: pytest.LogCaptureFixture) -> None:
    ones = np.ones((1, 1, 4, 4), np.float32)
    asked = 16 * 0.3
    off = [abs(float(find("ig")(ones, step, steps=steps).sum()) / asked - 1) for steps in (2, 4, 8, 16, 32, 64, 128)]
    met = next(i for i, gap in enumerate(off) if gap <= 0.02)
    assert met > 1
    found = find("ig")(ones, step, steps=2, tolerance=0.02)
    np.testing.assert_array_equal(found, find("ig")(ones, step, steps=2 * 2**met))
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "aerocam"):
        find("ig")(ones, lambda at: (0 * at, at.sum(axis=(1, 2, 3))), steps=800, tolerance=0.5)
    assert "with 1600 steps the map's sum is off by 100.0 %" in caplog.text


def test_smoothgrad_is_the_mean_before_or_after_the_magnitude() -> None:
    noise = [np.random.default_rng(5).standard_normal((2, *PICTURE.shape), np.float32)[i] for i in range(2)]
    pictures = [PICTURE + np.float32(0.2) * np.ptp(PICTURE) * each for each in noise]
    gradients = np.stack([squares(each)[0] for each in pictures])
    options = {"samples": 2, "noise": 0.2, "seed": 5}
    found = find("smoothgrad")(PICTURE, squares, **options)
    np.testing.assert_allclose(found, np.abs(gradients.mean(axis=0)).max(axis=1), rtol=1e-5)
    found = find("smoothgrad")(PICTURE, squares, absolute=True, **options)
    np.testing.assert_allclose(found, np.abs(gradients).mean(axis=0).max(axis=1), rtol=1e-5)


def test_channels_last_pictures_are_turned_on_the_way_in_and_out() -> None:
    rule = manifest.Preprocess("x", (4, 5), layout="NHWC")
    tensor = RNG.standard_normal(rule.shape).astype(np.float32)
    fed: list[Any] = []

    class Passes:
        def again(self, tensor: Any, targets: Any, outputs: Sequence[str]) -> dict[str, Any]:
            fed.append((tensor, targets.tolist()))
            return {}

    rerun = Rerun(Passes(), rule, tensor, np.int32([3]), np.ones(4, np.float32))  # type: ignore[arg-type]
    assert rerun.picture.shape == (1, 3, 4, 5)
    rerun(rerun.picture + 1, ("g",))
    ((given, targets),) = fed
    np.testing.assert_array_equal(given, tensor + 1)
    assert given.flags.c_contiguous
    assert targets == [3]


@pytest.mark.parametrize(
    ("name", "method", "options", "message"),
    [
        (SMALL, "smoothgrad", {"samples": 0}, "option samples is 0, expected a whole number from 1 on"),
        (SMALL, "smoothgrad", {"samples": 2.5}, "option samples is 2.5, expected a whole number"),
        (SMALL, "smoothgrad", {"noise": -0.1}, "option noise is -0.1, expected a number of 0 or more"),
        (SMALL, "smoothgrad", {"noise": "much"}, "option noise is 'much', expected a number"),
        (SMALL, "smoothgrad", {"seed": True}, "option seed is True, expected a whole number from 0 on"),
        (SMALL, "smoothgrad", {"sampels": 3}, "no option 'sampels'. Did you mean 'samples'"),
        (SMALL, "saliency", {"samples": 3}, "method saliency: it has no option 'samples'. There are none."),
        (SMALL, "ig", {"rule": "gauss"}, "option rule is 'gauss'. Did you mean 'gausslegendre'"),
        (SMALL, "ig", {"rule": "trapezoid", "steps": 1}, "option steps is 1, expected a whole number from 2 on"),
        (SMALL, "ig", {"baseline": "zeroes"}, "option baseline is 'zeroes'. Did you mean 'zeros'"),
        (SMALL, "ig", {"baseline": np.zeros((3, 9, 9))}, r"shape \(3, 9, 9\), expected .* \(1, 3, 24, 24\)"),
        (SMALL, "ig", {"tolerance": "1 %"}, "option tolerance is '1 %', expected a number"),
        (exported_models.TENSORS, "eigencam", {"sign": "max"}, "option sign: got 'max'. Did you mean 'max_abs'"),
        (exported_models.TENSORS, "cfcam", {"config": "x"}, "option config is 'x', expected a CfCamConfig"),
        (exported_models.FUSED, "gradcam", {"sign": "svd"}, "method 'gradcam': the file has no activations"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_the_first_frame(
    name: str, method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        explainer(name, method, **options)


def test_options_reach_a_cam_method() -> None:
    picture = RNG.integers(0, 256, (64, 96, 3), np.uint8)
    for sign in ("max_abs", "mean_act", "svd"):
        with Explainer(model("stretch"), method="eigencam", options={"sign": sign}) as explain:
            feeds = {"images": explain._predictor._prepare(picture)[0], manifest.TARGET: np.int32([0])}
            expected = get("eigencam")(explain.session.run(feeds)["A"], sign=sign)
            np.testing.assert_array_equal(explain(picture, 0).raw, expected)


@pytest.mark.parametrize(
    ("path", "method", "message"),
    [
        (
            lambda: model("stretch"),
            "smoothgrad",
            "'smoothgrad': it needs the true gradients of the input 'images', the file has gradients of layer 'A';"
            " export the model again with `layers='images'`$",
        ),
        (lambda: model("head"), "ig", "the file has no gradients of layer 'A'; .* with `layers='images'`$"),
        (
            lambda: exported_models.folder() / GUIDED,
            "saliency",
            "needs the true gradients .* the file has guided gradients of layer 'images', gradients of layer 'feat",
        ),
        (lambda: exported_models.folder() / SMALL, "guided_backprop", "guided .* `layers='images'`, `guided=True`$"),
        (lambda: exported_models.folder() / SMALL, "GuidedGradCAM", "needs the guided gradients .* `guided=True`$"),
        (lambda: model("stretch"), "smoothgard", "no CAM method 'smoothgard'. Did you mean 'smoothgrad'"),
    ],
)  # fmt: skip
def test_a_file_without_what_the_method_needs(path: Callable[[], Path], method: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(path(), method=method)


def test_cam_methods_leave_guided_gradients_alone(golden: Any) -> None:
    with explainer(GUIDED, "gradcam") as explain:
        found = explain(frame(golden))
        tensor, _ = explain._predictor._prepare(found.frame)
        outputs = explain.session.run({"images": tensor, manifest.TARGET: np.int32([2])})
    assert found.layers == ("features",)
    np.testing.assert_array_equal(found.raw, get("gradcam")(outputs["features"], outputs["aerocam_gradients_1"]))


def test_names() -> None:
    spellings = {
        "Smooth-Grad": "smoothgrad", "IntegratedGradients": "integrated_gradients", "IG": "integrated_gradients",
        "InputXGradient": "inputxgradient", "Saliency": "saliency", "VanillaGradients": "saliency",
        "GuidedBackprop": "guided_backprop", "guided-grad-cam": "guided_gradcam",
    }  # fmt: skip
    assert {spelling: find(spelling).name for spelling in spellings} == spellings
    with pytest.raises(UsageError, match="method saliency: it works on the input picture"):
        get("saliency")
