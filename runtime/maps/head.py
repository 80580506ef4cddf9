"""Raw maps that come ready from a fused head."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Manifest
from aerocam.methods import MethodFacts
from aerocam.runtime.maps.contract import Outputs, RawMaps, Rerun, normalisation_of
from aerocam.runtime.maps.saliency import Form


class FromHead(RawMaps):
    """The map as the model's fused head gives it."""

    def __init__(self, manifest: Manifest, facts: MethodFacts) -> None:
        """Take the head from the manifest, which must have one.

        Args:
            manifest: The model's.
            facts: Those of the head's method.

        Raises:
            UsageError: The negative of the score is explained, of which this head has no map.
        """
        assert manifest.head is not None
        self.method, self.normalisation = manifest.head.method, normalisation_of(manifest, facts)
        self.form, self.overlay = _form(manifest), manifest.head.overlay
        self._sign = np.float32(math.copysign(1, manifest.seed_scale))
        if self._sign < 0 and (facts.parity != "odd" or self.form != "raw"):
            raise UsageError(
                f"method '{self.method}': its fused head has no map of the negative score; export the model with"
                " `tensors=True` as well"
            )
        if self._sign < 0:
            self.overlay = None  # of what speaks for the target
        self.layers: tuple[str, ...] = (", ".join(layer.name for layer in manifest.layers),)
        self.outputs: tuple[str, ...] = (manifest.head.output, *([self.overlay] if self.overlay else []))

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        return [outputs[self.outputs[0]].astype(np.float32) * self._sign]


def _form(manifest: Manifest) -> Form:
    """Return what a fused head's map is."""
    assert manifest.head is not None
    framed = manifest.preprocess is not None and manifest.preprocess.frame is not None
    return "tensor" if manifest.head.form == "frame" and not framed else manifest.head.form
