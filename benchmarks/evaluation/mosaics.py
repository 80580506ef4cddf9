"""Mosaics: n x n pictures in one, of which each cell is known to show one class and no other cell does.

"Better Understanding Differences in Attribution Methods" (arXiv:2303.11884) measures methods on them: where a map of a
cell's class lies outside that cell, it is wrong, whatever the network has learnt.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Truth
from aerocam.errors import UsageError
from aerocam.files import make_folder, write_together
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.preprocess import Preprocessor

Frame = NDArray[np.uint8]
Asked = Literal["all", "corners"]
"""Which cells are explained: all, or the first and the last, which touch the fewest others."""

LABELS = "labels.json"


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture as the model sees it.

    Attributes:
        name: Of the picture.
        frame: uint8 (h, w, 3) in BGR, or (h, w), at the size of the model's input.
        target: Its class.
        probability: What the model gives that class, 0 to 1.
    """

    name: str
    frame: Frame
    target: int
    probability: float


class Question(NamedTuple):
    """What is asked of a method: a map of this class on this frame, and where it has to lie.

    Attributes:
        name: Of the frame: the same frame has the same.
        frame: uint8 (n h, n w, 3) in BGR, or (n h, n w).
        target: The class.
        truth: The cell.
    """

    name: str
    frame: Frame
    target: int
    truth: Truth


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Tiles side by side.

    Attributes:
        name: Its number among those drawn.
        tiles: By rows.
        cells: How many along each side.
    """

    name: str
    tiles: tuple[Tile, ...]
    cells: int

    @property
    def frame(self) -> Frame:
        """The mosaic as one frame: uint8 (n h, n w, 3) in BGR, or (n h, n w)."""
        frames, n = [tile.frame for tile in self.tiles], self.cells
        return np.concatenate([np.concatenate(frames[row * n : row * n + n], axis=1) for row in range(n)])

    def questions(self, asked: Asked = "all") -> Iterator[Question]:
        """Yield one question per cell that is asked about."""
        frame, last = self.frame, len(self.tiles) - 1
        for cell in range(last + 1) if asked == "all" else (0, last):
            yield Question(self.name, frame, self.tiles[cell].target, Truth(cells=self.cells, cell=cell))


def sure_tiles(pictures: Iterable[tuple[str, Frame, int]], model: Explainer, threshold: float = 0.5) -> list[Tile]:
    """Select the pictures whose label is the model's top class with more than this probability.

    Args:
        pictures: Name, frame and class of each.
        model: At the size of one tile; it takes tensors, not frames.
        threshold: 0 to 1. The paper takes 0.99, of thousands of pictures.

    Raises:
        UsageError: The model cannot take one of the frames.
    """
    rule, tiles = model.manifest.preprocess, []
    assert rule is not None
    assert rule.frame is None
    for name, frame, label in pictures:
        probabilities = model.predict(frame).probabilities
        if probabilities.argmax() == label and probabilities[label] > threshold:
            tiles.append(Tile(name, seen(frame, rule), label, float(probabilities[label])))
    return tiles


def seen(frame: Frame, rule: Preprocess) -> Frame:
    """Return the part of a frame that a model sees, at its input's size: uint8 (h, w, 3) in BGR, or (h, w)."""
    bare: dict[str, Any] = {"mean": (0.0,) * len(rule.mean), "std": (1.0,) * len(rule.std), "layout": "NHWC"}
    bare["color"] = "GRAY" if rule.color == "GRAY" else "BGR"
    levels, _ = Preprocessor(dataclasses.replace(rule, **bare))(frame)
    return np.ascontiguousarray(levels[0].squeeze(), np.uint8)


def mosaic_rule(rule: Preprocess, cells: int = 2) -> Preprocess:
    """Return the preprocessing of the model at n times the size, which takes a mosaic pixel for pixel."""
    height, width = rule.size
    return dataclasses.replace(rule, size=(height * cells, width * cells), resize="stretch", short_side=0)


def draw_mosaics(
    tiles: Sequence[Tile], count: int, *, cells: int = 2, seed: int = 0, repeat_corners: bool = False
) -> list[Mosaic]:
    """Draw mosaics of distinct classes: the classes at random without repetition, then a tile of each at random.

    Args:
        tiles: To draw from.
        count: How many mosaics.
        cells: Along each side.
        seed: Of all that is drawn.
        repeat_corners: Whether the last cell shows the first one's class, as DiFull has it: by another tile of that
            class if there is one, else by the same.

    Raises:
        UsageError: The tiles have fewer classes than a mosaic shows.
    """
    by_class: dict[int, list[Tile]] = {}
    for tile in tiles:
        by_class.setdefault(tile.target, []).append(tile)
    shown = cells * cells - repeat_corners
    if len(by_class) < shown:
        raise UsageError(
            f"mosaics: tiles of {len(by_class)} classes, {shown} are expected for {cells} x {cells} cells; give more"
            " pictures, or a lower threshold"
        )
    rng, classes = np.random.default_rng(seed), sorted(by_class)
    mosaics = []
    for number in range(count):
        drawn = [by_class[classes[i]] for i in rng.permutation(len(classes))[:shown]]
        picked = [of_class[rng.integers(len(of_class))] for of_class in drawn]
        if repeat_corners:
            others = [tile for tile in drawn[0] if tile is not picked[0]] or drawn[0]
            picked.append(others[rng.integers(len(others))])
        mosaics.append(Mosaic(f"mosaic-{number:03d}", tuple(picked), cells))
    return mosaics


def write_mosaics(folder: str | Path, questions: Iterable[Question], classes: int = 0) -> Path:
    """Write questions as a folder that `aerocam eval --data` reads: PNG files, which lose nothing, and `labels.json`.

    Args:
        folder: Where; it is made if it is absent.
        questions: What is asked. A frame has one file, and a row for each question.
        classes: Of a network by `disconnect`, how many classes one of its heads has: cell c's class k is number
            c * classes + k. 0: of a usual network.

    Returns:
        The path of `labels.json`: rows of `file`, `label`, `cells` and `cell`.

    Raises:
        WriteError: The folder or a file cannot be written; no file is written then.
    """
    folder = Path(folder)
    make_folder(folder)
    contents: dict[Path, bytes] = {}
    rows: list[dict[str, str | int]] = []
    for one in questions:
        path, cell = folder / f"{one.name}.png", one.truth.cell
        if path not in contents:
            contents[path] = cv2.imencode(".png", one.frame)[1].tobytes()
        rows.append({"file": path.name, "label": one.target + classes * cell, "cells": one.truth.cells, "cell": cell})
    contents[folder / LABELS] = json.dumps(rows, indent=1).encode()
    write_together(contents)
    return folder / LABELS
