"""Metrics whose values are known by hand, for the tests of the run, which register them for as long as they need."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.benchmarks.evaluation.case import Case
from aerocam.benchmarks.evaluation.metrics import METRICS, metric

SAID = {"group": "toys", "definition": "as the name says", "source": "these tests"}


@metric("toy_mass", direction="higher", **SAID)
def mass(case: Case, scale: float = 1.0) -> float:
    """The mean of the map, and a pause or a note where the environment asks for them."""
    time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
    if note := os.environ.get("TOY_NOTE"):
        with Path(note).open("a") as file:
            file.write("x\n")
    return scale * float(case.map.mean(dtype=np.float64))


@metric("toy_masked", direction="lower", **SAID)
def masked(case: Case) -> float:
    """The target's probability under the map less that without: two passes, of which all metrics share the first."""
    return float(case.probability(case.tensor * case.map)[0] - case.probability(case.tensor)[0])


@metric("toy_drawn", direction="lower", **SAID)
def drawn(case: Case) -> float:
    """A random number of the picture's seed."""
    return float(np.random.default_rng(case.seed).random())


@metric("toy_boxed", direction="higher", needs=["box"], **SAID)
def boxed(case: Case) -> float:
    """The share of the map within the first box."""
    x0, y0, x1, y1 = (round(one) for one in case.truth.boxes[0])
    return float(case.map[y0:y1, x0:x1].sum() / case.map.sum())


@metric("toy_noise", direction="lower", needs=["gradients"], **SAID)
def noise(case: Case) -> float:
    """How far noise moves the map."""
    found = case.subject.explain_with_noise(case.tensor, case.target, 0.5, case.seed)
    return float(np.abs(found.map - case.map).mean(dtype=np.float64))


@metric("toy_second", direction="lower", needs=["second class"], **SAID)
@metric("toy_second_again", direction="lower", needs=["second class"], **SAID)
def second(case: Case) -> float:
    """The mean of a second class's map."""
    return float(case.subject.explain(case.tensor, case.second).map.mean(dtype=np.float64))


def peak(values: Sequence[Any]) -> float:
    """The highest point of the mean curve."""
    return float(np.mean([value["curve"] for value in values], axis=0).max())


@metric("toy_curve", direction="higher", gather=peak, **SAID)
def curve(case: Case) -> dict[str, Any]:
    """Five points; gathered by their mean curve."""
    return {"curve": np.linspace(0, 1, 5) * case.map.max(), "name": "a line"}


@metric("toy_line", direction="higher", gather=lambda values: float(values[0]["value"]), **SAID)
def line(case: Case) -> dict[str, Any]:
    """A line over fractions of its own, undefined where the class is 1; two further lists are no curves over them."""
    value = float("nan") if case.target == 1 else 1.0
    return {
        "value": value,
        "fraction": [0.0, 0.2, 1.0],
        "score": [0.0, 1.0, 2.0],
        "deltas": [1.0, 2.0],
        "four": [0] * 4,
    }


@metric("toy_faulty", direction="higher", needs=["second class"], **SAID)
def faulty(case: Case) -> float:
    """Fails on maps whose peak is in the upper half, is NaN elsewhere."""
    if case.map.argmax() < case.map.size // 2:
        raise ZeroDivisionError("the peak is in the upper half")
    return float("nan")


TOYS = {name: METRICS.pop(name) for name in list(METRICS) if name.startswith("toy_")}
"""The metrics by name; importing this leaves none of them in the table."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While it lasts there are no other metrics."""
    kept = dict(METRICS)
    METRICS.clear()
    METRICS.update(TOYS)
    try:
        yield
    finally:
        METRICS.clear()
        METRICS.update(kept)
