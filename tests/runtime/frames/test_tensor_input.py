"""Explaining tensors in place of frames, and noise on gradients."""

from __future__ import annotations

import numpy as np
import pytest

import exported_models
import tiny_models
from aerocam.errors import UsageError
from aerocam.geometry import Geometry
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.maps.noise import GradientNoise
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize("name", ["stretch", "bgr", "gray", "crop", "two_layers", "head"])
def test_a_tensor_has_the_map_of_the_frame_that_it_is_made_of(name: str) -> None:
    frame = noise((50, 70), 3)
    with Explainer(tiny_models.model(name)) as explainer:
        expected = explainer(frame, 1)
        assert explainer.manifest.preprocess is not None
        tensor, _ = Preprocessor(explainer.manifest.preprocess)(frame)
        found = explainer.on_tensor(tensor.copy(), 1)
    np.testing.assert_array_equal(found.tensor_map, expected.tensor_map)
    assert found.target == expected.target
    assert found.classes == expected.classes


@pytest.mark.parametrize("name", ["stretch", "bgr", "gray"])
def test_the_frame_of_a_tensor_is_the_picture_that_it_shows(name: str) -> None:
    with Explainer(tiny_models.model(name)) as explainer:
        rule = explainer.manifest.preprocess
        assert rule is not None
        frame = noise(rule.size, 4)
        if name == "gray":
            frame = frame[..., 0]
        tensor, _ = Preprocessor(rule)(frame)
        np.testing.assert_array_equal(explainer.on_tensor(tensor).frame, frame)


def test_a_tensor_of_another_shape_is_refused() -> None:
    with (
        Explainer(tiny_models.model("stretch")) as explainer,
        pytest.raises(UsageError, match=r"takes \(1, 3, 32, 48\)"),
    ):
        explainer.on_tensor(np.zeros((1, 3, 48, 32), np.float32))


def test_noise_has_its_share_of_the_gradients_spread_and_repeats_by_its_seed() -> None:
    tensor = np.random.default_rng(0).random((1, 3, 32, 48)).astype(np.float32)
    with Explainer(tiny_models.model("stretch"), method="gradcamelementwise") as explainer:
        plain = explainer.on_tensor(tensor, 0).raw
        still = explainer.on_tensor(tensor, 0, GradientNoise(0.0, 1)).raw
        ones, again, others = (explainer.on_tensor(tensor, 0, GradientNoise(2.0, seed)).raw for seed in (1, 1, 2))
        after = explainer.on_tensor(tensor, 0).raw
    np.testing.assert_array_equal(still, plain)
    np.testing.assert_array_equal(after, plain)
    np.testing.assert_array_equal(ones, again)
    assert not np.array_equal(ones, others)
    # Class 0 has gradients of 1/96 for red, 0 for the others: their standard deviation is √2 / 3 / 96.
    pooled = tensor.reshape(3, 8, 4, 12, 4).mean(axis=(2, 4))
    drawn = np.random.default_rng(1).standard_normal((1, 3, 8, 12), np.float32)[0]
    spread = np.sqrt(2) / 3 / 96
    gradients = np.array([1, 0, 0]).reshape(3, 1, 1) / 96 + 2.0 * spread * drawn
    np.testing.assert_allclose(ones[0], np.maximum(pooled * gradients, 0).sum(axis=0), rtol=1e-4, atol=1e-7)


def test_noise_is_on_the_gradients_of_further_runs_too() -> None:
    """By finercam, which has a run for each class that it compares."""
    tensor = np.random.default_rng(0).random((1, 3, 32, 48)).astype(np.float32)
    with Explainer(tiny_models.model("stretch"), method="finercam") as explainer:
        plain = explainer.on_tensor(tensor, 0).raw
        still, noisy = (explainer.on_tensor(tensor, 0, GradientNoise(share, 1)).raw for share in (0.0, 0.5))
    np.testing.assert_array_equal(still, plain)
    assert np.abs(noisy - plain).max() > 0.01 * np.abs(plain).max()


def test_noise_is_a_share_of_each_targets_own_spread() -> None:
    """Of two targets at once the first has the noise that it has alone."""
    rng = np.random.default_rng(0)
    with Explainer(exported_models.folder() / exported_models.TAIL, method="gradcam", threads=1) as explainer:
        rule = explainer.manifest.preprocess
        assert rule is not None
        tensor = rng.standard_normal((1, 3, *rule.size)).astype(np.float32)
        alone, both = (explainer.on_tensor(tensor, target, GradientNoise(1.0, 3)).raw for target in (0, [0, 1]))
    np.testing.assert_allclose(both[0], alone[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "method"), [("stretch", "eigencam"), ("head", "gradcam"), ("stretch", "rise")])
def test_noise_is_refused_where_no_gradients_are_read(name: str, method: str) -> None:
    tensor = np.zeros((1, 3, 32, 48), np.float32)
    with (
        Explainer(tiny_models.model(name), method=method) as explainer,
        pytest.raises(UsageError, match="no gradients"),
    ):
        explainer.on_tensor(tensor, 0, GradientNoise(0.1, 0))


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_a_box_goes_to_the_tensor_and_back(resize: str) -> None:
    rule = Preprocess("images", (32, 48), resize=resize, short_side=40)  # type: ignore[arg-type]
    place = Geometry.of(rule, (100, 200))
    box = (90.0, 40.0, 120.0, 70.0)  # in the centre, which every rule keeps
    np.testing.assert_allclose(place.to_frame(place.to_tensor(box)), box, rtol=1e-12)
    top, left, bottom, right = place.seen
    assert place.to_tensor((-50.0, -50.0, 500.0, 500.0)) == (left, top, right, bottom)


def test_a_box_in_a_crop_lies_where_the_crop_says() -> None:
    place = Geometry.of(Preprocess("images", (32, 48), resize="crop", short_side=40), (80, 160))
    # 80x160 becomes 40x80, of which 4 rows above and 16 columns on the left are cut off.
    assert place.to_tensor((40.0, 20.0, 60.0, 30.0)) == (4.0, 6.0, 14.0, 11.0)
    assert place.to_tensor((0.0, 0.0, 20.0, 30.0)) == (0.0, 0.0, 0.0, 11.0)
