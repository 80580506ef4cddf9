"""How far an engine may be from ONNX Runtime on the CPU, by the type that its products are computed in.

These bounds were chosen, not measured: no device has run this yet. Gradients and maps are judged by their form, and
loosely by size: behind ReLUs single entries of a gradient jump where a pre-activation is near zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aerocam.manifest import Manifest

Precision = Literal["float32", "tf32", "float16"]


@dataclass(frozen=True)
class Tolerance:
    """Bounds.

    Attributes:
        output: Of the model's own outputs, activations and scores: the largest difference over the largest magnitude.
        gradient: The same of gradients and raw maps.
        correlation: The least correlation of gradients and raw maps with the reference.
        map: The largest difference of maps in [0, 1].
    """

    output: float
    gradient: float
    correlation: float
    map: float


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(output=1e-3, gradient=0.05, correlation=0.999, map=0.05),
    "tf32": Tolerance(output=1e-2, gradient=0.1, correlation=0.995, map=0.1),
    "float16": Tolerance(output=5e-2, gradient=0.2, correlation=0.98, map=0.2),
}


def precision_of(manifest: Manifest, settings: dict[str, object]) -> Precision:
    """The coarsest type that products may be in.

    Args:
        manifest: Of the model; one in float16 has scaled gradients.
        settings: How the engine was built, `BuildSettings` as a dictionary; empty for ONNX Runtime.
    """
    if settings.get("precision") == "float16" or manifest.seed_scale != 1.0:
        return "float16"
    return "tf32" if settings.get("tf32") else "float32"
