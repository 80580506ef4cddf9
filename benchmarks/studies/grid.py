"""Localisation on mosaics of labelled photographs, by EfficientNet-Lite0: GridPG, DiFull and DiPart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.aggatt import aggregate, picture, to_first_cell
from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.disconnected import Setting, disconnect
from aerocam.benchmarks.evaluation.metrics.grid import cell_share, positive
from aerocam.benchmarks.evaluation.mosaics import Asked, Mosaic, Tile, draw_mosaics, mosaic_rule, sure_tiles
from aerocam.export import export_model
from aerocam.runtime import Explainer
from aerocam.runtime.frames.opencv import cv2

CELLS, SEED, THRESHOLD = 2, 0, 0.5
METHODS = ("gradcam", "layercam", "hirescam", "eigencam", "scorecam", "cfcam-published", "cfcam", "randomcam")
SHOWN = ("gradcam", "layercam", "eigencam", "cfcam-published", "cfcam", "randomcam")
"""Methods in AggAtt's picture."""

SLOW = frozenset({"scorecam"})
"""Methods that run the model once per channel: 1280 times a mosaic."""

SMALL = (112, 112)
"""(H, W) at which maps are kept for AggAtt; the mass of each cell stays what it is."""


@dataclass(frozen=True)
class Network:
    """A network that mosaics are shown to.

    Attributes:
        path: The exported file.
        classes: How far apart the numbers of the same class are from cell to cell; 0: there is one head for all.
        asked: Which cells are asked about.
        mosaics: What is shown.
    """

    path: Path
    classes: int
    asked: Asked
    mosaics: Sequence[Mosaic]


def tiles(folder: Path) -> list[Tile]:
    """Return the photographs that Lite0 is sure of, at its size."""
    rule = zoo.lite0.PREPROCESS
    exported = export_model(zoo.lite0.model(), folder / "one.cam.onnx", preprocess=rule, check=False)
    pictures = [(name, zoo.labelled_photograph(name), one.label) for name, one in zoo.LABELLED.items()]
    with Explainer(exported.path) as explainer:
        return sure_tiles(pictures, explainer, THRESHOLD)


def networks(folder: Path, shown: Sequence[Tile], count: int) -> dict[str, Network]:
    """Make Lite0 for mosaics, and its two forms whose cells do not depend on each other."""
    whole, rule = zoo.lite0.model(224 * CELLS), mosaic_rule(zoo.lite0.PREPROCESS, CELLS)
    arguments: dict[str, Any] = {"preprocess": rule, "check": False}
    plain = export_model(whole, folder / "grid.cam.onnx", targets=CELLS**2, **arguments)
    mosaics = draw_mosaics(shown, count, cells=CELLS, seed=SEED)
    by_setting = {"GridPG": Network(plain.path, 0, "all", mosaics)}
    settings: dict[str, tuple[Setting, Path]] = {"DiFull": ("difull", zoo.lite0.model()), "DiPart": ("dipart", whole)}
    for name, (setting, model) in settings.items():
        net = disconnect(model, folder / f"{setting}.onnx", setting, CELLS)
        exported = export_model(net.path, folder / f"{setting}.cam.onnx", layers=net.layer, targets=2, **arguments)
        drawn = draw_mosaics(shown, count, cells=CELLS, seed=SEED, repeat_corners=setting == "difull")
        by_setting[name] = Network(exported.path, net.classes, "corners", drawn)
    return by_setting


def measure_method(network: Network, method: str, count: int) -> tuple[dict[str, Any], list[Floats]]:
    """Return a method's GridPG shares on the first `count` mosaics, and its maps for AggAtt, target at the top left."""
    shares: list[float] = []
    maps: list[Floats] = []
    spent = 0.0
    with Explainer(network.path, method=method) as explainer:
        explainer.predict(network.mosaics[0].frame)  # the first run is slower than those after it
        for mosaic in network.mosaics[:count]:
            questions = list(mosaic.questions(network.asked))
            targets: Any = [one.target + network.classes * one.truth.cell for one in questions]
            started = perf_counter()
            raws = explainer(questions[0].frame, targets).raw
            spent += perf_counter() - started
            for one, raw in zip(questions, raws, strict=True):
                attribution = positive(raw, one.frame.shape[:2])
                shares.append(cell_share(attribution, CELLS, one.truth.cell))
                small = cv2.resize(attribution, SMALL[::-1], interpolation=cv2.INTER_AREA)
                maps.append(to_first_cell(small, CELLS, one.truth.cell))
    return {"shares": shares, "mosaics": count, "seconds per mosaic": spent / count}, maps


def measure(folder: Path, count: int, slow: int) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Measure all methods in all settings.

    Args:
        folder: For the exported files.
        count: How many mosaics.
        slow: How many of them the methods of `SLOW` are shown.

    Returns:
        The record, and AggAtt's picture of GridPG; None where there are too few maps for one.
    """
    shown = tiles(folder)
    rows: dict[str, dict[str, Any]] = {}
    means = {}
    for name, network in networks(folder, shown, count).items():
        rows[name] = {}
        for method in METHODS:
            print(f"{name}: {method} ...", flush=True)
            rows[name][method], maps = measure_method(network, method, slow if method in SLOW else count)
            if name == "GridPG" and method in SHOWN and len(maps) >= 50:
                means[method] = aggregate(maps, CELLS)
    return {"settings": settings(shown, count, slow), "rows": rows}, picture(means, CELLS) if means else None


def settings(shown: Sequence[Tile], count: int, slow: int) -> Mapping[str, Any]:
    """Return the settings that the figures depend on."""
    return {
        "cells": CELLS,
        "seed": SEED,
        "threshold": THRESHOLD,
        "mosaics": count,
        "mosaics for the slow": slow,
        "tiles": [{"name": one.name, "class": one.target, "probability": one.probability} for one in shown],
    }
