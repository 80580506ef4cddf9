"""Two maps of one frame: values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aerocam.benchmarks.evaluation.similarity import centre_of_mass, consistency, mass_inside

MAP = np.random.default_rng(0).random((9, 14), np.float32)
ZERO = np.zeros((9, 14), np.float32)


def square(left: int, top: int) -> np.ndarray:
    """2 x 2 px of a map (9, 14)."""
    found = ZERO.copy()
    found[top : top + 2, left : left + 2] = 0.5
    return found


def test_a_map_is_like_itself() -> None:
    found = consistency(MAP, MAP)
    assert found.correlation == pytest.approx(1, abs=1e-12)
    assert (found.overlap, found.shift) == (1, 0)


def test_correlation_is_pearsons() -> None:
    other = np.random.default_rng(1).random((9, 14), np.float32)
    assert consistency(MAP, other).correlation == pytest.approx(np.corrcoef(MAP.ravel(), other.ravel())[0, 1])
    assert consistency(MAP, 1 - MAP).correlation == pytest.approx(-1)


def test_a_square_that_moves() -> None:
    assert centre_of_mass(square(3, 4)) == (4, 5)
    found = consistency(square(3, 4), square(6, 0))
    assert (found.shift, found.overlap) == (5, 0)
    assert consistency(square(3, 4), square(4, 4)).overlap == pytest.approx(2 / 6)


def test_a_map_that_shows_nothing_has_no_centre() -> None:
    found = consistency(ZERO, MAP)
    assert math.isnan(found.correlation)
    assert math.isnan(found.shift)
    assert found.overlap == 0
    assert math.isnan(consistency(ZERO, ZERO).overlap)
    assert math.isnan(mass_inside(ZERO, (0, 0, 5, 5)))


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((3, 4, 5, 6), 1),
        ((4, 4, 99, 99), 0.5),
        ((-5, -5, 4, 5), 0.25),
        ((3.4, 4, 4.6, 6), 1),  # a px counts by its middle
        ((3.6, 4, 4.4, 6), 0),
        ((20, 20, 30, 30), 0),
    ],
)
def test_mass_inside_a_box(box: tuple[float, float, float, float], share: float) -> None:
    assert mass_inside(square(3, 4), box) == pytest.approx(share)
