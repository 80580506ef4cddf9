"""Files with fused ends on the device, with a real network and photographs: a frame in, an overlay out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

import exported_models
from aerocam.errors import UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer, read_picture
from aerocam.runtime.frames.inputs import FrameInput, preparation
from aerocam.runtime.frames.preprocess import Preprocessor
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime

LEVEL, STEEPEST = 2, 3
"""Grey levels that the overlay differs by where the map differs by one level: half of 4 in a colour, at one place 5."""


def photograph(name: str, size: tuple[int, int]) -> np.ndarray:
    frame = read_picture(exported_models.folder() / f"{name}.png")
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("name", exported_models.PHOTOGRAPHS)
def test_one_graph_draws_what_the_runtime_draws(name: str) -> None:
    """Lite0's own rule: the short side to 256 px by a cubic resize, which OpenCV does not do alike on all machines."""
    frame = photograph(name, (224, 224))
    folder = exported_models.folder()
    with Explainer(folder / exported_models.FUSED, threads=1) as one:
        expected = one(frame)
    with Explainer(folder / exported_models.ENDS, threads=1) as other:
        found = other(frame)
    assert found.target.index == expected.target.index
    assert found.target.score == pytest.approx(expected.target.score, abs=2e-3)
    np.testing.assert_allclose(found.raw, expected.raw, atol=0.01 * np.abs(expected.raw).max())
    np.testing.assert_allclose(found.map, expected.map, atol=0.01)
    difference = np.abs(found.overlay(caption=False).astype(int) - expected.overlay(caption=False))
    assert difference.max() <= STEEPEST
    assert (difference > LEVEL).mean() < 1e-4


@pytest.mark.parametrize("name", exported_models.PHOTOGRAPHS)
def test_a_frame_of_another_size_and_two_targets(name: str) -> None:
    """By a linear resize, the only one that OpenCV does alike everywhere, and a centre crop."""
    frame, folder = photograph(name, (300, 451)), exported_models.folder()
    with Explainer(folder / exported_models.FUSED, threads=1) as one:
        rule = replace(one.manifest.preprocess, interpolation="linear")  # type: ignore[type-var]
        one._predictor._prepare = Preprocessor(rule)  # type: ignore[arg-type]
        expected = one(frame, [None, 812])
    with Explainer(folder / exported_models.WIDE_ENDS, threads=1) as other:
        found = other(frame, [None, 812])
    assert [target.index for target in found.targets] == [target.index for target in expected.targets]
    np.testing.assert_allclose(found.map, expected.map, atol=1e-3)
    difference = np.abs(found.overlay(caption=False).astype(int) - expected.overlay(caption=False))
    assert difference.max() <= LEVEL
    outside = np.ones(frame.shape[:2], bool)
    top, left, bottom, right = found.placement.region
    outside[top:bottom, left:right] = False
    assert outside.any()
    np.testing.assert_array_equal(found.overlay(caption=False)[outside], frame[outside])
    captioned = np.abs(found.overlay().astype(int) - expected.overlay())
    assert (captioned > LEVEL).mean() < 0.02  # a score that is rounded the other way


def test_frames_go_in_uncopied_and_checked() -> None:
    rule = Preprocess("x", (8, 8), frame=(20, 30))
    take = preparation(rule)
    assert isinstance(take, FrameInput)
    frame = noise((20, 30))
    found, place = take(frame)
    assert found is frame
    assert place.frame_size == (20, 30)
    assert isinstance(preparation(replace(rule, frame=None)), Preprocessor)
    for bad in (noise((30, 20)), frame[..., 0], frame.astype(np.int16), noise((20, 30))[None]):
        with pytest.raises(UsageError, match=r"frame: got .*, the model takes uint8 \(20, 30, 3\) in BGR alone"):
            take(bad)
    gray = FrameInput(Preprocess("x", (8, 8), "GRAY", mean=(0.0,), std=(1.0,), frame=(20, 30)))
    spread, _ = gray(frame[..., 0])
    np.testing.assert_array_equal(spread, np.repeat(frame[..., :1], 3, axis=2))
