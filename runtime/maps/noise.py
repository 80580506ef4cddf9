"""Noise on a model's gradients before a method reads them: how much a map depends on their exact values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Manifest
from aerocam.runtime.maps.contract import Outputs, RawMaps, Rerun


@dataclass(frozen=True)
class GradientNoise:
    """Gaussian noise on gradients.

    Attributes:
        share: Its standard deviation as a share of the gradients' own, target by target and layer by layer: gradients
            of two networks, or layers, differ by orders of magnitude.
        seed: Of the noise.
    """

    share: float
    seed: int


class NoisyMaps(RawMaps):
    """Raw maps from gradients with noise. Every run has noise of its own."""

    def __init__(self, maps: RawMaps, manifest: Manifest, noise: GradientNoise, path: str) -> None:
        """Find the gradients that the method reads.

        Raises:
            UsageError: It reads none, or they do not leave the graph.
        """
        self._maps, self._noise = maps, noise
        self.method, self.normalisation, self.layers = maps.method, maps.normalisation, maps.layers
        self.outputs, self.form, self.overlay, self.runs_again = maps.outputs, maps.form, maps.overlay, maps.runs_again
        given = {layer.gradients for layer in manifest.layers if layer.gradients is not None}
        self._names = tuple(name for name in maps.outputs if name in given)
        if not self._names:
            raise UsageError(
                f"{path}: method '{maps.method}' reads no gradients that leave the graph, so none can have noise;"
                " take gradcam, of a file with `tensors=True`"
            )

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        random = np.random.default_rng(self._noise.seed)

        def noisy(found: Outputs) -> Outputs:
            altered = {name: self._added(found[name], random) for name in self._names if name in found}
            return {**found, **altered}

        if rerun is not None:
            rerun = _NoisyRerun(**vars(rerun), noisy=noisy)
        return self._maps(noisy(outputs), rerun)

    def _added(self, gradients: NDArray[Any], random: np.random.Generator) -> NDArray[np.float32]:
        wide = gradients.astype(np.float32)
        spread = wide.std(axis=tuple(range(1, wide.ndim)), keepdims=True)
        drawn = random.standard_normal(wide.shape, np.float32)
        return np.asarray(wide + np.float32(self._noise.share) * spread * drawn, np.float32)


@dataclass(frozen=True)
class _NoisyRerun(Rerun):
    """The model on other pictures, its gradients with noise."""

    noisy: Any = None

    def __call__(self, picture: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """Implement `Rerun`."""
        found: Outputs = self.noisy(super().__call__(picture, outputs))
        return found

    def explain(self, targets: NDArray[np.int32]) -> Outputs:
        """Implement `Rerun.explain`."""
        found: Outputs = self.noisy(super().explain(targets))
        return found
