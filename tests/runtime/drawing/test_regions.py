"""Regions of a map: by hand, against SciPy's labels, and against Otsu's formula written down literally."""

from __future__ import annotations

import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.runtime import find_regions
from aerocam.runtime.drawing.regions import FLAT

pytestmark = pytest.mark.runtime

HAND = np.array(
    [
        [0.0, 0.9, 0.9, 0.0, 0.0, 0.0],
        [0.0, 0.9, 0.0, 0.0, 0.0, 0.5],
        [0.0, 0.0, 0.0, 0.0, 0.2, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 0.1, 0.1, 0.1, 0.1, 0.0],
    ],
    np.float32,
)


def smooth(seed: int, size: tuple[int, int] = (61, 83)) -> np.ndarray:
    """A blotchy map in [0, 1]."""
    raw = cv2.GaussianBlur(np.random.default_rng(seed).random(size, np.float32), (0, 0), 3)
    return (raw - raw.min()) / (raw.max() - raw.min())


def flood(mask: np.ndarray) -> Iterator[set[tuple[int, int]]]:
    """Connected parts, corners included, by the plainest of means."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    while left:
        part, edge = set(), {left.pop()}
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            edge |= {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= edge
        yield part


def otsu_variances(levels: np.ndarray) -> np.ndarray:
    """Otsu (1979), equation 18: the variance between the classes, with each level as the last of the lower."""
    share = np.array([(levels == level).mean() for level in range(256)])
    variances = np.zeros(256)
    for k in range(256):
        omega = share[: k + 1].sum()
        mu = (np.arange(k + 1) * share[: k + 1]).sum()
        total = (np.arange(256) * share).sum()
        if 1e-12 < omega < 1 - 1e-12:
            variances[k] = (total * omega - mu) ** 2 / (omega * (1 - omega))
    return variances


def test_a_share_of_the_maximum_by_hand() -> None:
    """0.2 of the maximum counts, 0.1 does not; 0.5 and 0.2 touch at a corner."""
    found = find_regions(HAND, 0.2, largest=False)
    assert [(one.box, one.area) for one in found] == [((1, 0, 3, 2), 3), ((0, 3, 1, 5), 2), ((4, 1, 6, 3), 2)]
    assert [one.peak for one in found] == pytest.approx([0.9, 1.0, 0.5])
    assert [one.mean for one in found] == pytest.approx([0.9, 1.0, 0.35])
    expected = np.zeros((5, 6), bool)
    expected[0, 1:3] = expected[1, 1] = True
    assert found[0].mask.dtype == bool
    np.testing.assert_array_equal(found[0].mask, expected)
    assert [one.box for one in find_regions(HAND, 0.2)] == [(1, 0, 3, 2)]
    assert [one.box for one in find_regions(HAND, 0.1)] == [(0, 3, 5, 5)]
    assert [one.box for one in find_regions(HAND, 1.0)] == [(0, 3, 1, 5)]


def test_the_threshold_follows_the_maps_maximum() -> None:
    for factor in (0.01, 0.3, 0.7):
        found = find_regions(HAND * np.float32(factor), 0.45, largest=False)
        assert [one.box for one in found] == [(1, 0, 3, 2), (0, 3, 1, 5), (5, 1, 6, 2)]
        assert found[1].peak == pytest.approx(factor)


def test_of_equal_parts_the_brighter_then_the_upper_then_the_left_one_comes_first() -> None:
    values = np.zeros((9, 9), np.float32)
    values[6, 6], values[0, 5], values[0, 2], values[4, 0] = 1, 0.8, 0.8, 0.8
    assert [one.box[:2] for one in find_regions(values, 0.5, largest=False)] == [(6, 6), (2, 0), (5, 0), (0, 4)]
    hook = np.zeros((4, 6), np.float32)  # two parts of 4 px whose boxes begin at one corner
    hook[[0, 1, 2, 3], [5, 4, 3, 3]] = 1
    hook[[0, 1, 2, 2], [0, 0, 0, 1]] = 1
    assert [one.box for one in find_regions(hook, 0.5, largest=False)] == [(0, 0, 2, 3), (3, 0, 6, 4)]


@pytest.mark.parametrize("seed", range(8))
def test_parts_against_a_flood_fill(seed: int) -> None:
    values = smooth(seed)
    found = find_regions(values, 0.6, largest=False)
    expected = {frozenset(part): len(part) for part in flood(values >= np.float32(0.6) * values.max())}
    assert len(found) == len(expected) > 3
    for one in found:
        part = frozenset(zip(*(axis.tolist() for axis in np.nonzero(one.mask)), strict=True))
        assert one.area == expected[part]
        rows, columns = [y for y, _ in part], [x for _, x in part]
        assert one.box == (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        assert one.mean == pytest.approx(values[one.mask].mean(), rel=1e-6)
        assert one.peak == values[one.mask].max()
    assert [one.area for one in found] == sorted(expected.values(), reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_parts_against_scipy(seed: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    values = smooth(seed, (40, 50))
    labels, count = ndimage.label(values >= np.float32(0.5) * values.max(), np.ones((3, 3)))
    found = find_regions(values, 0.5, largest=False)
    boxes = {(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)}
    assert len(found) == count
    assert {one.box for one in found} == boxes
    sizes = np.bincount(labels.ravel())[1:]
    np.testing.assert_array_equal(find_regions(values, 0.5)[0].mask, labels == 1 + sizes.argmax())


@pytest.mark.parametrize("seed", range(6))
def test_otsu_is_otsus(seed: int) -> None:
    """Also squashed into a small range: Otsu's classes do not depend on the scale."""
    values = smooth(seed) ** (1 + seed)
    levels = np.rint((values - values.min()) / (values.max() - values.min()) * 255).astype(int)
    variances = otsu_variances(levels)
    for squashed in (values, 0.5 + values / 64):
        upper = np.zeros(values.shape, bool)
        for one in find_regions(squashed.astype(np.float32), largest=False):
            upper |= one.mask
        last = levels[~upper].max()
        assert levels[upper].min() > last
        assert variances[last] >= variances.max() * (1 - 1e-9)


def test_otsu_by_hand() -> None:
    """Two plateaus on a dark ground: the threshold lies below both, the larger one is the answer."""
    values = np.full((20, 30), 0.1, np.float32)
    values[2:8, 3:9] = 0.9
    values[10:18, 12:28] = 0.8
    (found,) = find_regions(values)
    assert (found.box, found.area) == ((12, 10, 28, 18), 128)
    assert [one.area for one in find_regions(values, largest=False)] == [128, 36]


@pytest.mark.parametrize("rule", ["otsu", 0.2])
@pytest.mark.parametrize("value", [0, 0.4, 1])
def test_a_constant_map_has_no_region(value: float, rule: str | float) -> None:
    values = np.full((12, 12), value, np.float32)
    assert find_regions(values, rule) == []  # type: ignore[arg-type]
    values[5, 5] += value * FLAT / 2
    assert find_regions(values, rule, largest=False) == []  # type: ignore[arg-type]


def test_only_what_the_model_sees_counts() -> None:
    """The unseen part is 0 and would be a class of its own."""
    values = np.zeros((40, 60), np.float32)
    values[:, 20:40] = 0.4
    values[10:20, 25:35] = 1
    assert find_regions(values)[0].box == (20, 0, 40, 40)
    (found,) = find_regions(values, within=(0, 20, 40, 40))
    assert (found.box, found.mask.shape) == ((25, 10, 35, 20), (40, 60))
    assert found.mask[10:20, 25:35].all()
    assert found.mask.sum() == found.area == 100


@pytest.mark.parametrize("seed", range(4))
def test_polygons_filled_are_the_mask(seed: int) -> None:
    for one in find_regions(smooth(seed, (120, 160)), 0.4, largest=False):
        exact, rough = (np.zeros((120, 160), np.uint8) for _ in range(2))
        cv2.fillPoly(exact, one.contours, 1)
        np.testing.assert_array_equal(exact.astype(bool), one.mask)
        record = json.loads(json.dumps(one.record()))
        assert (record["box"], record["area"]) == (list(one.box), one.area)
        cv2.fillPoly(rough, [np.array(ring, np.int32) for ring in record["polygons"]], 1)
        edge = cv2.morphologyEx(one.mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))
        assert not (rough.astype(bool) != one.mask)[edge == 0].any()
        assert sum(map(len, record["polygons"])) <= sum(map(len, one.contours))


def test_a_hole_has_a_polygon_of_its_own() -> None:
    values = np.zeros((30, 30), np.float32)
    values[5:25, 5:25] = 1
    values[10:20, 10:20] = 0
    (found,) = find_regions(values)
    assert found.area == 300
    outline, hole = found.record()["polygons"]
    assert sorted(outline) == [[5, 5], [5, 24], [24, 5], [24, 24]]
    assert all(9 <= x <= 20 and 9 <= y <= 20 for x, y in hole)


@pytest.mark.parametrize(
    ("values", "rule", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), "otsu", r"map: found float32 \(2, 4, 4\), expected one map"),
        (np.zeros((4, 4), np.uint8), "otsu", "map: found uint8"),
        (np.zeros((0, 4), np.float32), "otsu", "map: found float32"),
        (np.full((4, 4), np.nan, np.float32), "otsu", "map: found NaN or infinite values"),
        (HAND, "ostu", "`regions='ostu'`: expected otsu or a share of the map's maximum"),
        (HAND, 0, "`regions=0`:"),
        (HAND, 1.5, "`regions=1.5`:"),
        (HAND, float("nan"), "`regions=nan`:"),
    ],
)
def test_what_it_does_not_take(values: np.ndarray, rule: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_regions(values, rule)  # type: ignore[arg-type]


def test_the_map_is_not_changed() -> None:
    values = smooth(3)
    before = values.copy()
    find_regions(values)
    find_regions(values, 0.3)
    np.testing.assert_array_equal(values, before)
