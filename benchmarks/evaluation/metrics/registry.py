"""The table of metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

Direction = Literal["higher", "lower"]
Need = Literal["box", "mask", "mosaic", "gradients", "second class"]
"""What a picture or a file must have for a metric: a true box, a true mask, to be a mosaic, gradients that leave the
graph, a second plausible class."""

Value: TypeAlias = "float | Mapping[str, Any]"
"""A metric's value of one picture: a number, or several by name, of which `value` is the picture's number and others
are what `gather` or the report needs, such as a curve's points. NaN where there is none."""


def number(value: Any) -> float:
    """Return the number of one picture's value; NaN if it has none."""
    return float(value["value"] if isinstance(value, Mapping) else value)


def mean(values: Sequence[Any]) -> float:
    """Return the mean of the values that have a finite number; NaN if none has."""
    numbers = np.array([number(value) for value in values], float)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")


@dataclass(frozen=True)
class Metric:
    """A metric and its facts.

    Attributes:
        name: Its key in `METRICS`.
        group: What the command line calls it and those like it.
        compute: From a `Case`, and the parameters as keywords, to the picture's value.
        direction: Whether `higher` or `lower` is better.
        definition: The exact definition, in one sentence, as the result repeats it.
        source: Paper, and the equation or the implementation that it equals.
        needs: What pictures and files must have; others are skipped, and counted.
        gather: From all pictures' values to the table's number.
        variant: Which of the definitions in use it is, where libraries differ; empty where they do not.
    """

    name: str
    group: str
    compute: Callable[..., Value]
    direction: Direction
    definition: str
    source: str
    needs: frozenset[Need] = frozenset()
    gather: Callable[[Sequence[Any]], float] = mean
    variant: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters with their defaults; all are in the result."""
        parameters = list(inspect.signature(self.compute).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}


METRICS: dict[str, Metric] = {}
"""All metrics; `metric` adds to it."""


def metric(
    name: str,
    *,
    group: str,
    direction: Direction,
    definition: str,
    source: str,
    needs: Sequence[Need] = (),
    gather: Callable[[Sequence[Any]], float] = mean,
    variant: str = "",
) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Register a function as a metric; see `Metric`. It takes a `Case` first, then parameters with defaults."""

    def register(compute: Callable[..., Value]) -> Callable[..., Value]:
        assert name not in METRICS
        METRICS[name] = Metric(name, group, compute, direction, definition, source, frozenset(needs), gather, variant)
        return compute

    return register
