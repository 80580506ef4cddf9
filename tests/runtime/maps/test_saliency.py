"""Normalising, resizing and fusing raw maps, against the definition written out one step at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.runtime.maps.saliency import combine, finite, normalise, problems, resize

pytestmark = pytest.mark.runtime

RNG = np.random.default_rng(3)


def raw(*size: int) -> np.ndarray:
    return RNG.normal(size=size).astype(np.float32)


def scale(image: np.ndarray) -> np.ndarray:
    """Minimum off, then divided by the maximum plus 1e-7, as pytorch-grad-cam scales a map."""
    image = image - image.min()
    return image / (1e-7 + image.max())


def reference(raws: list[np.ndarray], size: tuple[int, int], fuse: str) -> np.ndarray:
    """The definition for one target: ReLU, scale, resize, fuse, scale."""
    maps = [cv2.resize(scale(np.maximum(one.astype(np.float64), 0)), size[::-1]) for one in raws]
    return scale({"mean": np.mean, "max": np.max, "product": np.prod}[fuse](maps, axis=0))


@pytest.mark.parametrize("fuse", ["mean", "max", "product"])
@pytest.mark.parametrize("layers", [1, 3])
def test_equals_the_definition(fuse: str, layers: int) -> None:
    raws = [raw(2, 7 + 3 * number, 9) for number in range(layers)]
    maps = combine(raws, (50, 33), "minmax", fuse)  # type: ignore[arg-type]
    assert maps.shape == (2, 50, 33)
    assert maps.dtype == np.float32
    for target in range(2):
        expected = reference([one[target] for one in raws], (50, 33), fuse)
        np.testing.assert_allclose(maps[target], expected, atol=2e-6)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1, abs=1e-6)


def test_minmax_by_hand() -> None:
    one = np.array([[[1, 2], [3, 5]]], np.float32)
    np.testing.assert_allclose(normalise(one.copy()), [[[0, 0.25], [0.5, 1]]], atol=1e-6)
    np.testing.assert_allclose(normalise(one.copy(), "max"), [[[0.2, 0.4], [0.6, 1]]], atol=1e-6)


def test_max_keeps_the_zero_in_its_place() -> None:
    one = np.full((1, 4, 4), 3, np.float32)
    one[0, 0, 0] = 6
    assert combine([one], (4, 4), "max")[0, 3, 3] == 0.5
    assert combine([one], (4, 4), "minmax")[0, 3, 3] == 0


def test_each_target_is_scaled_by_itself() -> None:
    pair = np.stack([raw(6, 6), 1000 * raw(6, 6)])
    maps = combine([pair], (12, 12))
    assert maps.max(axis=(1, 2)) == pytest.approx(1, abs=1e-6)


def test_the_raw_maps_are_not_changed() -> None:
    one = raw(1, 5, 5)
    before = one.copy()
    for rule in ("minmax", "max"):
        combine([one], (5, 5), rule)  # type: ignore[arg-type]
    np.testing.assert_array_equal(one, before)


def test_resize_is_linear_with_half_pixel_centres() -> None:
    np.testing.assert_allclose(resize(np.array([[[0, 1]]], np.float32), (1, 4)), [[[0, 0.25, 0.75, 1]]], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_becomes_zero_and_is_reported(bad: float) -> None:
    pair = raw(2, 4, 4)
    pair[0, 1, 2] = bad
    cleaned = finite(pair)
    assert not cleaned[0].any()
    np.testing.assert_array_equal(cleaned[1], pair[1])
    maps = combine([pair], (8, 8))
    assert not maps[0].any()
    assert maps[1].max() > 0.99
    assert problems([pair], ["x"]) == ["layer 'x': the raw map has NaN or infinite values; it is shown as zero"]


@pytest.mark.parametrize("rule", ["minmax", "max"])
def test_a_map_without_anything_positive_is_zero_and_reported(rule: str) -> None:
    negative = -np.abs(raw(1, 4, 4)) - 1
    assert not combine([negative], (8, 8), rule).any()  # type: ignore[arg-type]
    assert "zero everywhere" in problems([negative], ["x"])[0]
    assert problems([-negative], ["x"]) == []
    assert problems([negative, -negative], ["x", "y"]) == []
    assert len(problems([negative, -negative], ["x", "y"], "product")) == 1


def test_unknown_fusion() -> None:
    with pytest.raises(UsageError, match="fusion 'avg'"):
        combine([raw(1, 2, 2)], (2, 2), "minmax", "avg")  # type: ignore[arg-type]


def test_magnitude_takes_both_signs_and_cuts_off_outliers() -> None:
    raw = np.zeros((2, 20, 20), np.float32)
    raw[0, 0, :8] = [-1, 2, -4, 4, 4, -4, -100, 50]  # 5 of 400 values above 99 %: the largest but five is 4
    raw[1, 3, 4] = -5  # alone: 99 % are 0
    found = combine([raw], (20, 20), "magnitude")
    np.testing.assert_allclose(found[0, 0, :8], [0.25, 0.5, 1, 1, 1, 1, 1, 1])
    assert found[0].sum() == pytest.approx(6.75)
    assert (found[1, 3, 4], found[1].sum()) == (1, 1)
    assert found.dtype == np.float32


def test_what_speaks_against_the_class_is_no_silence_for_magnitude() -> None:
    raw = np.full((1, 2, 2), -1, np.float32)
    assert problems([raw], ["x"], rule="magnitude") == []
    assert "zero everywhere" in problems([raw], ["x"])[0]
    assert "zero everywhere" in problems([0 * raw], ["x"], rule="magnitude")[0]
