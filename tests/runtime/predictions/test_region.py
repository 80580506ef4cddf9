"""Regions of interest: from frame px through the preprocessing to an output's positions, by hand; and what is none."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess, Score
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions.region import RegionOfInterest
from aerocam.runtime.predictions.scores import region_means

pytestmark = pytest.mark.runtime

LETTERBOX = Placement.of(Preprocess("x", (32, 32), resize="letterbox"), (20, 40))
"""0.8 tensor px per frame px, 8 rows of padding above: a cell of 8 x 8 is 5 frame px, the frame has rows 2 to 5."""

CROP = Placement.of(Preprocess("x", (32, 32), resize="crop", short_side=40), (40, 80))
"""Frame px as they are, from (24, 4) to (56, 36): a cell of 8 x 8 is 4 of them."""

STRETCH = Placement.of(Preprocess("x", (32, 32)), (16, 64))

CASES: dict[str, tuple[Placement, Any, dict[tuple[int, int], float]]] = {
    "letterbox, a box along cells": (LETTERBOX, (10, 5, 20, 10), {(3, 2): 1, (3, 3): 1}),
    "letterbox, half a cell": (LETTERBOX, (7.5, 0, 15, 5), {(2, 1): 0.5, (2, 2): 1}),
    "letterbox, more than the frame": (LETTERBOX, (-9, -9, 99, 99), {(i, j): 1 for i in range(2, 6) for j in range(8)}),
    "letterbox, a pixel": (LETTERBOX, (39, 19), {(5, 7): 1}),
    "crop, one cell and a half": (CROP, (24, 4, 30, 8), {(0, 0): 1, (0, 1): 0.5}),
    "crop, partly outside": (CROP, (0, 0, 28, 8), {(0, 0): 1}),
    "crop, a pixel anywhere in it": (CROP, (33.7, 10.2), {(1, 2): 1}),
    "stretch, a pixel on two rows of cells": (STRETCH, (8, 3), {(1, 1): 1}),
    "stretch, across": (STRETCH, (4, 1, 12, 4), {(0, 0): 0.25, (0, 1): 0.25, (1, 0): 0.5, (1, 1): 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_box_at_the_positions(name: str) -> None:
    placement, region, cells = CASES[name]
    expected = np.zeros((8, 8))
    for cell, share in cells.items():
        expected[cell] = share
    found = RegionOfInterest.of(region)
    assert found is not None
    weights = found.weights(placement, (8, 8))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights / weights.sum(), expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize("placement", [LETTERBOX, CROP, STRETCH], ids=["letterbox", "crop", "stretch"])
def test_a_mask_is_the_box_that_it_fills(placement: Placement) -> None:
    """Also where the output has other proportions than the tensor, and more positions than the frame has px."""
    mask = np.zeros(placement.frame_size, bool)
    mask[5:13, 26:39] = True
    of_mask, of_box = RegionOfInterest.of(mask), RegionOfInterest.of((26, 5, 39, 13))
    assert of_mask is not None
    assert of_box is not None
    for size in ((8, 8), (5, 3), (128, 64)):
        np.testing.assert_allclose(of_mask.weights(placement, size), of_box.weights(placement, size), atol=1e-6)


def test_a_mask_with_weights_is_averaged_by_area() -> None:
    soft = np.random.default_rng(0).integers(0, 256, (64, 96), np.uint8)
    region = RegionOfInterest.of(soft)
    assert region is not None
    expected = cv2.resize(soft.astype(np.float32), (12, 8), interpolation=cv2.INTER_AREA)
    weights = region.weights(Placement.of(Preprocess("x", (32, 32)), (64, 96)), (8, 12))
    np.testing.assert_allclose(weights, expected / expected.max(), rtol=1e-5)


def test_means_over_a_region() -> None:
    """Channels last, behind two tokens without a position."""
    values = np.random.default_rng(0).standard_normal((1, 2 + 6, 4)).astype(np.float32)
    weights = np.array([[0, 1, 0], [0, 0, 3]], np.float32)
    score = Score("y", "none", 4, anchors=6, class_axis=2, positions=(2, 3), position_offset=2)
    expected = (values[0, 2 + 1] + 3 * values[0, 2 + 5]) / 4
    np.testing.assert_allclose(region_means(values, score, weights), expected, rtol=1e-6)


NO_REGIONS: dict[str, tuple[Any, str]] = {
    "three numbers": ((1, 2, 3), r"`region`: got tuple of shape \(3,\), expected \(x0, y0, x1, y1\) or \(x, y\)"),
    "words": ("left", "got str"),
    "a colour picture": (np.zeros((8, 8, 3)), r"got ndarray of shape \(8, 8, 3\)"),
    "no width": ((5, 5, 5, 9), r"`region=\(5, 5, 5, 9\)`: it is empty, expected x0 < x1"),
    "upside down": ((5, 9, 8, 5), "it is empty"),
    "NaN": ((1, np.nan), "numbers that are not finite"),
    "negative weights": (np.array([[1.0, -1.0]]), "negative weights"),
    "a black mask": (np.zeros((4, 4), bool), "a mask of zeros"),
}


@pytest.mark.parametrize("name", NO_REGIONS)
def test_what_is_no_region(name: str) -> None:
    given, message = NO_REGIONS[name]
    with pytest.raises(UsageError, match=message):
        RegionOfInterest.of(given)


def test_what_is_no_region_of_this_frame() -> None:
    outside, other = RegionOfInterest.of((0, 0, 24, 40)), RegionOfInterest.of(np.ones((8, 8)))
    assert outside is not None
    assert other is not None
    with pytest.raises(UsageError, match=r"a frame of 80x40 px, x from 24 to 56 and y from 4 to 36; give another"):
        outside.weights(CROP, (8, 8))
    with pytest.raises(UsageError, match=r"a mask of shape \(8, 8\), the frame has \(40, 80\)"):
        other.weights(CROP, (8, 8))
    assert RegionOfInterest.of(None) is None
