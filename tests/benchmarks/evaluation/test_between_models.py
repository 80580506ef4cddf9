"""Consistency between models, and of a map in time: against what is known of tiny models."""

import dataclasses

import numpy as np
import pytest

import tiny_models
from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.between_models import Agreement, average, compare_models
from aerocam.benchmarks.evaluation.in_time import stability_in_time
from aerocam.errors import UsageError
from aerocam.export import export_model
from aerocam.runtime import Explainer


class Scripted:
    """An explainer whose maps are given; it says class 2 of the first frame and notes what it is asked."""

    def __init__(self, maps, rule):
        self.manifest = type("M", (), {"preprocess": rule})
        self._maps, self.asked = iter(maps), []

    def predict(self, frame):
        return type("P", (), {"probabilities": np.array([0.1, 0.2, 0.7], np.float32)})

    def explain(self, said, target):
        self.asked.append(target)
        return type("E", (), {"tensor_map": np.array(next(self._maps), np.float32)[None]})


RULE = dataclasses.replace(zoo.lite0.PREPROCESS, size=(2, 2), resize="stretch", short_side=0)


def gray(values):
    """A frame of these grey values."""
    return np.repeat(np.array(values, np.uint8)[..., None], 3, axis=2)


def test_stability_is_the_maps_correlation_over_the_frames():
    frames = [gray([[10, 20], [30, 40]]), gray([[20, 10], [40, 30]]), gray([[20, 10], [40, 30]])]
    maps = [[[0, 1], [2, 3]], [[0, 1], [3, 2]], [[0, 1], [3, 2]]]
    explainer = Scripted(maps, RULE)
    found = stability_in_time(explainer, frames)
    # deviations -3 -1 1 3 against -3 -1 3 1: 16 / 20; against -1 -3 3 1: 12 / 20; the second pairs are equal
    assert found.maps == pytest.approx((0.8 + 1) / 2)
    assert found.frames == pytest.approx((0.6 + 1) / 2)
    assert (found.pairs, found.constant, found.relative) == (2, 0, pytest.approx(9 / 8))
    assert explainer.asked == [2, 2, 2]
    still = stability_in_time(Scripted([maps[0]] * 2, RULE), [frames[0]] * 2, target=1)
    assert (still.maps, still.frames, still.relative) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))


def test_frames_without_likeness_have_no_relative_stability():
    one, other = [[0, 1], [2, 3]], [[1, 3], [0, 2]]  # deviations -3 -1 1 3 and -1 3 -3 1: 3 - 3 - 3 + 3 = 0
    found = stability_in_time(Scripted([one, one], RULE), [gray(one), gray(other)])
    assert (found.maps, found.frames) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    assert np.isnan(found.relative)


def test_pairs_with_an_empty_map_are_counted_not_averaged():
    frames = [gray([[10, 20], [30, 40]])] * 4
    maps = [[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[0, 0], [0, 0]], [[0, 1], [2, 3]]]
    found = stability_in_time(Scripted(maps, RULE), frames)
    assert (found.maps, found.pairs, found.constant) == (pytest.approx(1), 1, 2)
    with pytest.raises(UsageError, match="fewer than two frames"):
        stability_in_time(Scripted(maps, RULE), frames[:1])


def test_averages_leave_out_what_is_no_number():
    nan = float("nan")
    rows = [Agreement(1.0, 0.5, 3.0, 1.0, 0.1), Agreement(nan, 0.7, nan, 0.0, 0.3)]
    assert average(rows) == Agreement(1.0, pytest.approx(0.6), 3.0, 0.5, pytest.approx(0.2))


@pytest.mark.slow
def test_lite0_agrees_with_itself_with_float16_and_less_with_int8(tmp_path):
    given = {"preprocess": zoo.lite0.PREPROCESS, "check": False}
    plain = export_model(zoo.lite0.model(), tmp_path / "plain.cam.onnx", **given).path
    half = export_model(zoo.lite0.model(), tmp_path / "half.cam.onnx", precision="float16", **given).path
    steps = export_model(zoo.lite0.model(variant="int8"), tmp_path / "int8.cam.onnx", **given).path
    frames = [zoo.photograph(name) for name in ("chelsea", "coffee", "rocket")]
    same, near, far = (average(compare_models(plain, other, frames, "gradcam")) for other in (plain, half, steps))
    assert same == Agreement(pytest.approx(1), pytest.approx(1), pytest.approx(0), 1.0, 0.0)
    assert near.correlation > 0.999
    assert near.ssim > 0.99
    assert near.same_class == 1
    assert far.correlation < near.correlation
    assert far.probability > near.probability > 0
    assert far.shift > near.shift
    other_size = export_model(zoo.lite0.model(128), tmp_path / "small.cam.onnx", check=False).path
    with pytest.raises(UsageError, match=r"it has 4 classes, .* has 1000; give two models of the same classes"):
        compare_models(plain, tiny_models.model("stretch"), frames, "gradcam")
    with pytest.raises(UsageError, match=r"its input is \(128, 128\) px, that of .* \(224, 224\)"):
        compare_models(plain, other_size, frames, "gradcam")


@pytest.mark.slow
def test_a_still_video_is_as_stable_as_it_is(tmp_path):
    given = {"preprocess": zoo.lite0.PREPROCESS, "check": False}
    plain = export_model(zoo.lite0.model(), tmp_path / "plain.cam.onnx", **given).path
    with Explainer(plain, method="gradcam") as explainer:
        found = stability_in_time(explainer, [zoo.photograph("chelsea")] * 3)
    assert (found.maps, found.frames, found.pairs) == (pytest.approx(1), pytest.approx(1), 2)
