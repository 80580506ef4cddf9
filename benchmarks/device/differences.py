"""How far two runs of one model are apart, array by array, and how far they may be by the type of their products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.manifest import Manifest

Precision = Literal["float32", "tf32", "float16"]


@dataclass(frozen=True)
class Tolerance:
    """Bounds of the differences between two runs.

    Each but the correlation is of the largest difference over the largest magnitude of the reference.

    Attributes:
        output: Of the model's own outputs, activations and scores.
        gradient: Of gradients.
        correlation: The least correlation of gradients and raw maps with the reference.
        raw: Of raw maps.
        map: Of maps in [0, 1], the largest difference as such.
    """

    output: float
    gradient: float
    correlation: float
    raw: float
    map: float


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(output=1e-3, gradient=0.15, correlation=0.998, raw=0.03, map=0.03),
    "tf32": Tolerance(output=0.03, gradient=0.3, correlation=0.99, raw=0.1, map=0.12),
    "float16": Tolerance(output=0.05, gradient=0.4, correlation=0.98, raw=0.15, map=0.2),
}


def precision_of(manifest: Manifest, settings: dict[str, object]) -> Precision:
    """Return the coarsest type that products may be computed in.

    Args:
        manifest: Of the model; one that came in float16 has scaled gradients.
        settings: How the engine was built, `BuildSettings` as a dictionary; empty for ONNX Runtime.
    """
    if "float16" in (settings.get("precision"), manifest.precision) or manifest.seed_scale != 1.0:
        return "float16"
    return "tf32" if settings.get("tf32") else "float32"


Kind = Literal["output", "gradient", "raw", "choice", "map", "overlay"]

FAINT = 0.1
"""Share of a raw map's largest magnitude below which its positive part is noise that normalising makes large."""


GREY_LEVELS, STEEPEST = 255, 2
"""Levels of an overlay, and the slope of its colours: a channel of jet changes four times as fast as the map, and is
laid over at a weight of a half."""


@dataclass(frozen=True)
class Difference:
    """The difference between two arrays.

    Attributes:
        name: What they are.
        kind: How they are judged; see `Tolerance`. A `choice` must be equal.
        absolute: Largest difference; None where one of them has other numbers than finite ones.
        relative: That over the reference's largest magnitude.
        correlation: Pearson's; None where one of them is constant.
        good: Whether it is within its bounds.
    """

    name: str
    kind: Kind
    absolute: float | None
    relative: float | None
    correlation: float | None
    good: bool


def compare_outputs(
    reference: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], manifest: Manifest, bounds: Tolerance
) -> list[Difference]:
    """Compare every output of a model by name."""
    kinds: dict[str | None, Kind] = {layer.gradients: "gradient" for layer in manifest.layers}
    kinds[contract.CHOSEN] = "choice"
    if manifest.head is not None:
        kinds[manifest.head.output] = "raw"
        kinds[manifest.head.overlay] = "overlay"
    return [compare(name, kinds.get(name, "output"), array, outputs[name], bounds) for name, array in reference.items()]


def compare(name: str, kind: Kind, reference: NDArray[Any], outcome: NDArray[Any], bounds: Tolerance) -> Difference:
    """Compare two arrays of one shape."""
    first, second = (np.asarray(array, np.float64).ravel() for array in (reference, outcome))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Difference(name, kind, None, None, None, bool(np.array_equal(first, second, equal_nan=True)))
    absolute = float(np.abs(first - second).max(initial=0))
    largest = float(np.abs(first).max(initial=0))
    relative = absolute / largest if largest else (0.0 if absolute == 0 else float("inf"))
    correlation = _correlation(first, second)
    good = _good(kind, absolute, relative, correlation, bounds)
    return Difference(name, kind, absolute, relative if np.isfinite(relative) else None, correlation, good)


def _good(kind: Kind, absolute: float, relative: float, correlation: float | None, bounds: Tolerance) -> bool:
    """Tell whether a difference is within its bounds."""
    if kind == "choice":
        return absolute == 0
    if kind == "map":
        return absolute <= bounds.map
    if kind == "overlay":
        return absolute <= bounds.map * GREY_LEVELS * STEEPEST
    if kind == "output":
        return relative <= bounds.output
    return relative <= (bounds.raw if kind == "raw" else bounds.gradient) and (
        correlation is None or correlation >= bounds.correlation
    )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Return Pearson's correlation; None if an array is constant."""
    if one.size < 2 or one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def clear_enough(raw: NDArray[np.float32]) -> bool:
    """Tell whether the positive part of a raw map stands out, so that normalising it does not enlarge noise."""
    largest = float(np.abs(raw).max(initial=0))
    return largest > 0 and float(raw.max(initial=0)) >= FAINT * largest
