"""How far an engine may be from ONNX Runtime on the CPU, by the type that its products are computed in.

No device has run this yet. The bounds were chosen from what altered weights do on a CPU, with EfficientNet-Lite0 (last
layer and blocks.4/add) and SSDLite (all scales), on noise:

    weights altered by          outputs  gradients  correlation  raw maps  maps
    2e-6 of each                   4.4e-5     0.031      0.99992     0.005  0.006
    rounding to TF32              0.012       0.14       0.9960     0.042  0.045
    rounding to float16           0.012       0.14       0.9960     0.042  0.045

Gradients are judged loosely by size: behind ReLUs single entries jump where a pre-activation is near zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aerocam.manifest import Manifest

Precision = Literal["float32", "tf32", "float16"]


@dataclass(frozen=True)
class Tolerance:
    """Bounds.

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
    """The coarsest type that products may be in.

    Args:
        manifest: Of the model; one that came in float16 has scaled gradients.
        settings: How the engine was built, `BuildSettings` as a dictionary; empty for ONNX Runtime.
    """
    if "float16" in (settings.get("precision"), manifest.precision) or manifest.seed_scale != 1.0:
        return "float16"
    return "tf32" if settings.get("tf32") else "float32"
