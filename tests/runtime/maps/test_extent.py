"""Where a map is, against what is known of the map on paper."""

from __future__ import annotations

import numpy as np
import pytest

from aerocam.runtime import Explainer
from aerocam.runtime.maps.extent import extent
from runtime_fixtures import moving_square
from tiny_models import model

pytestmark = pytest.mark.runtime


def test_a_gaussian() -> None:
    """A map at half the frame's size, over a region of it: all numbers are in px of the frame."""
    x, y = np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5)
    map_ = np.exp(-((x - 40.5) ** 2) / (2 * 5**2) - (y - 30.5) ** 2 / (2 * 3**2)).astype(np.float32)
    found = extent(map_, (10, 20, 170, 220))
    assert found is not None
    assert found.peak == (20 + 81, 10 + 61)
    assert found.centre == pytest.approx((101, 71), abs=1e-3)
    assert found.spread == pytest.approx((10, 6), rel=1e-3)


def test_two_points_and_nothing() -> None:
    map_ = np.zeros((10, 10), np.float32)
    assert extent(map_, (0, 0, 10, 10)) is None
    map_[2, 1], map_[2, 7] = 1, 0.5
    found = extent(map_, (0, 0, 10, 10))
    assert found is not None
    assert (found.peak, found.centre) == ((1.5, 2.5), pytest.approx((3.5, 2.5)))
    assert found.spread == pytest.approx((np.sqrt(8), 0))


@pytest.mark.parametrize("name", ["stretch", "letterbox", "crop", "detect"])
def test_of_an_explanation_it_is_that_of_the_map_over_the_frame(name: str) -> None:
    with Explainer(model(name), threads=1) as explainer:
        explanation = explainer(moving_square(8, (96, 128))[7], "red")
    (found,), over_frame = explanation.extents(), explanation.map[0]
    whole = extent(over_frame, (0, 0, *over_frame.shape))
    assert found is not None
    assert whole is not None
    for ours, theirs in ((found.peak, whole.peak), (found.centre, whole.centre), (found.spread, whole.spread)):
        assert ours == pytest.approx(theirs, abs=2.5)
