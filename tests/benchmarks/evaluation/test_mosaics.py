"""Mosaics and the grid pointing game: toy cases by hand, then the zoo's photographs."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation import mosaics
from aerocam.benchmarks.evaluation.case import Case, Map, Truth
from aerocam.benchmarks.evaluation.metrics.grid import cell_share, cell_window, gridpg, positive
from aerocam.benchmarks.evaluation.metrics.registry import METRICS
from aerocam.benchmarks.evaluation.mosaics import Mosaic, Tile, draw_mosaics, mosaic_rule, seen, write_mosaics
from aerocam.benchmarks.evaluation.pictures import find_data
from aerocam.errors import MediaError, UsageError
from aerocam.manifest import Preprocess

SIZE = (8, 8)


def case(raw, cell=1, cells=2, size=SIZE):
    """A case of a raw map; the metric asks nothing else."""
    raw = np.array(raw, np.float32)
    return Case(
        None, np.zeros((1, 3, *size), np.float32), 0, Map(raw, np.zeros(size, np.float32)), Truth((), None, cells, cell)
    )


def full(value=0.0):
    return np.full(SIZE, value, np.float32)


# --- the metric


def test_a_perfect_a_constant_an_inverted_and_a_random_map():
    perfect = full()
    perfect[:4, 4:] = 2
    assert gridpg(case(perfect)) == 1
    assert gridpg(case(full(0.3))) == pytest.approx(0.25, abs=1e-7)
    assert gridpg(case(2 - perfect)) == 0
    noise = np.random.default_rng(0).uniform(size=(200, *SIZE))
    assert np.mean([gridpg(case(one)) for one in noise]) == pytest.approx(0.25, abs=0.01)
    assert gridpg(case(full(1), cells=4, cell=7)) == pytest.approx(1 / 16)


def test_negative_values_count_as_nothing_only_after_the_resize():
    mixed = full(-5)
    mixed[0, 0], mixed[0, 7] = 1, 3  # 1 in cell 0, 3 in cell 1
    assert gridpg(case(mixed)) == pytest.approx(0.75)
    # by hand: 2 values to 4 px with half-pixel centres is (1, 0.25, -1.25, -2): ReLU first would give (1, .75, .25, 0)
    row = positive(np.array([[1, -2]], np.float32), (1, 4))
    np.testing.assert_allclose(row, [[1, 0.25, 0, 0]], atol=1e-6)


def test_a_silent_map_is_no_success():
    for silent in (full(), full(-1), full(1e-9), full(np.nan)):
        assert gridpg(case(silent)) == 0
    assert gridpg(case(full(1e-8))) == pytest.approx(0.25)  # 64 px, 6.4e-7 in all


def test_cells_are_counted_by_rows():
    shares = np.zeros((6, 6), np.float32)
    shares[2, 5] = 1
    assert [cell_share(shares, 3, cell) for cell in range(9)] == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert cell_window((10, 12), 3, 4) == (slice(3, 6), slice(4, 8))


def test_the_table_says_what_it_is():
    metric = METRICS["gridpg"]
    assert (metric.direction, metric.needs, metric.parameters) == ("higher", frozenset({"mosaic"}), {})


# --- drawing


def tile(name, target, value=0, probability=0.9):
    return Tile(name, np.full((2, 3, 3), value, np.uint8), target, probability)


TILES = [tile("a", 5, 10), tile("b", 6, 20), tile("c", 6, 30), tile("d", 7, 40), tile("e", 8, 50), tile("f", 9, 60)]


def names(drawn):
    return [[one.name for one in mosaic.tiles] for mosaic in drawn]


def test_a_mosaic_shows_each_class_once_and_a_seed_draws_the_same_again():
    drawn = draw_mosaics(TILES, 50, seed=3)
    assert all(len({one.target for one in mosaic.tiles}) == 4 for mosaic in drawn)
    assert {name for row in names(drawn) for name in row} == set("abcdef")
    assert names(drawn) == names(draw_mosaics(TILES, 50, seed=3)) != names(draw_mosaics(TILES, 50, seed=4))
    assert names(drawn)[:7] == names(draw_mosaics(TILES, 7, seed=3))
    assert [mosaic.name for mosaic in drawn[:2]] == ["mosaic-000", "mosaic-001"]


def test_the_corners_repeat_a_class_by_another_picture_where_there_is_one():
    drawn = draw_mosaics(TILES, 60, repeat_corners=True)
    for mosaic in drawn:
        first, *between, last = mosaic.tiles
        assert first.target == last.target
        assert len({one.target for one in (first, *between)}) == 3
        assert (first is last) == (first.target != 6)
    assert any(mosaic.tiles[0].target == 6 for mosaic in drawn)


def test_too_few_classes_are_refused():
    with pytest.raises(UsageError, match=r"tiles of 5 classes, 9 are expected for 3 x 3 cells"):
        draw_mosaics(TILES, 1, cells=3)
    draw_mosaics(TILES[:4], 1, repeat_corners=True)  # three classes are enough then
    with pytest.raises(UsageError, match="tiles of 3 classes, 4 are expected"):
        draw_mosaics(TILES[:4], 1)


def test_a_mosaic_asks_for_each_cell_where_its_tile_lies():
    mosaic = Mosaic("mosaic-007", tuple(TILES[i] for i in (0, 1, 3, 4)), 2)
    np.testing.assert_array_equal(mosaic.frame[::2, ::3, 0], [[10, 20], [40, 50]])
    asked = list(mosaic.questions())
    assert [(one.target, one.truth.cell) for one in asked] == [(5, 0), (6, 1), (7, 2), (8, 3)]
    for one in asked:
        assert (
            one.frame[cell_window(one.frame.shape[:2], 2, one.truth.cell)] == TILES[(0, 1, 3, 4)[one.truth.cell]].frame
        ).all()
    assert [one.truth.cell for one in mosaic.questions("corners")] == [0, 3]


def test_what_a_model_sees_of_a_frame_is_cropped_not_normalised():
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    rule = Preprocess("x", (4, 6), resize="crop", short_side=8, mean=(9.0, 5.0, 1.0), std=(2.0, 3.0, 4.0))
    np.testing.assert_array_equal(seen(frame, rule), frame[2:6, 3:9])
    gray = replace(rule, color="GRAY", mean=(9.0,), std=(2.0,))
    np.testing.assert_array_equal(seen(frame[..., 0], gray), frame[2:6, 3:9, 0])
    assert mosaic_rule(rule) == replace(rule, size=(8, 12), resize="stretch", short_side=0)


def test_a_folder_of_mosaics_loses_nothing(tmp_path):
    rng = np.random.default_rng(1)
    tiles = [Tile(str(i), rng.integers(0, 256, (5, 7, 3), np.uint8), 100 + i, 0.9) for i in range(4)]
    mosaic = draw_mosaics(tiles, 1)[0]
    path = write_mosaics(tmp_path / "set", mosaic.questions("corners"), classes=1000)
    assert json.loads(path.read_text()) == [
        {"file": "mosaic-000.png", "label": mosaic.tiles[0].target, "cells": 2, "cell": 0},
        {"file": "mosaic-000.png", "label": 3000 + mosaic.tiles[3].target, "cells": 2, "cell": 3},
    ]
    assert {one.name for one in path.parent.iterdir()} == {"mosaic-000.png", "labels.json"}
    np.testing.assert_array_equal(cv2.imread(str(path.parent / "mosaic-000.png")), mosaic.frame)
    first, second = find_data(path.parent).samples  # as `aerocam eval` reads it
    assert (first.labels, first.cells, first.cell) == ((mosaic.tiles[0].target,), 2, 0)
    assert (second.labels, second.cells, second.cell) == ((3000 + mosaic.tiles[3].target,), 2, 3)


# --- the zoo's photographs


def test_labelled_photographs():
    assert len(zoo.LABELLED) == 20
    assert zoo.LABELLED["imagenet-15"].label == 99
    assert "never copied" in zoo.LABELLED["imagenet-15"].licence
    frame = zoo.labelled_photograph("imagenet-10")
    assert (frame.shape, frame.dtype) == ((683, 1024, 3), np.uint8)
    with pytest.raises(MediaError, match="no labelled photograph 'imagenet-20' in the zoo; Did you mean"):
        zoo.labelled_file("imagenet-20")


def test_tiles_are_those_of_which_the_model_is_sure():
    class Model:
        """Says what is asked of each frame in turn."""

        def __init__(self, *rows):
            self.manifest = type("M", (), {"preprocess": Preprocess("x", (2, 2))})
            self._rows = iter(rows)

        def predict(self, frame):
            return type("P", (), {"probabilities": np.array(next(self._rows), np.float32)})

    frame = np.zeros((2, 2, 3), np.uint8)
    pictures = [("sure", frame, 1), ("unsure", frame, 1), ("wrong", frame, 0)]
    model = Model([0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1])
    (found,) = mosaics.sure_tiles(pictures, model, 0.5)
    assert (found.name, found.target, found.probability) == ("sure", 1, pytest.approx(0.8))
