"""AggAtt: which map goes into which bin, by hand."""

import numpy as np
import pytest

from aerocam.benchmarks.evaluation.aggatt import LINE, MARGIN, SIDE, aggregate, picture, to_first_cell
from aerocam.errors import UsageError


def test_the_targets_cell_goes_to_the_top_left():
    cells = np.kron(np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(to_first_cell(cells, 2, 3)[::2, ::2], [[4, 2], [3, 1]])
    np.testing.assert_array_equal(to_first_cell(cells, 2, 0), cells)
    assert cells[0, 0] == 1  # the map itself stays
    with pytest.raises(UsageError, match=r"a map of \(112, 112\) px, sides that 3 divides are expected"):
        to_first_cell(np.zeros((112, 112), np.float32), 3, 8)


def test_maps_are_sorted_by_share_and_then_by_mass():
    """Four maps of 2 x 2 px: shares 0.5 (mass inside 1), 1, 0.5 (mass inside 3), 0."""
    maps = [
        np.array(one, np.float32) for one in ([[1, 1], [0, 0]], [[5, 0], [0, 0]], [[3, 0], [3, 0]], [[0, 0], [0, 7]])
    ]
    found = aggregate(maps, 2, (0, 0.25, 0.5, 1))
    assert found.counts == (1, 1, 2)
    assert found.shares == pytest.approx((1, 0.5, 0.25))
    np.testing.assert_allclose(found.means, [[[5, 0], [0, 0]], [[3, 0], [3, 0]], [[0.5, 0.5], [0, 3.5]]])
    assert found.scale == pytest.approx(np.percentile([5, 0, 0, 0, 3, 0, 3, 0, 0.5, 0.5, 0, 3.5], 99.5))


def test_the_usual_bins_of_a_hundred_maps():
    maps = [np.array([[k, 100 - k], [0, 0]], np.float32) for k in range(100)]
    found = aggregate(maps, 2)
    assert found.counts == (2, 3, 45, 45, 3, 2)
    assert found.shares == pytest.approx((0.985, 0.96, 0.72, 0.27, 0.03, 0.005), abs=1e-6)


def test_too_few_maps_are_refused():
    with pytest.raises(UsageError, match="found 20 maps, about 50 are expected, or a bin is empty"):
        aggregate([np.ones((2, 2), np.float32)] * 20, 2)


def test_a_silent_map_is_the_worst():
    maps = [np.zeros((2, 2), np.float32), np.array([[1, 9], [0, 0]], np.float32)]
    assert aggregate(maps, 2, (0, 0.5, 1)).shares == pytest.approx((0.1, 0))


def test_the_picture_has_a_row_per_method_and_a_panel_per_bin():
    maps = [np.kron(np.array([[1, 0], [0, 0]], np.float32), np.ones((8, 8), np.float32))] * 2
    one = aggregate(maps, 2, (0, 0.5, 1))
    found = picture({"a": one, "b": one}, 2)
    height = SIDE + 2 * LINE + MARGIN
    assert found.shape == (2 * height, 2 * (SIDE + MARGIN) + MARGIN, 3)
    np.testing.assert_array_equal(found[LINE : LINE + SIDE], found[height + LINE : height + LINE + SIDE])
    inside, outside = found[LINE + 20, MARGIN + 20], found[LINE + 80, MARGIN + 80]
    assert inside.min() > 100 > 10 > outside.max()  # inferno's two ends
    assert (found[LINE + SIDE // 2, MARGIN : MARGIN + SIDE] == 255).all()  # the cells' border
