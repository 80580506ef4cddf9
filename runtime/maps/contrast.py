"""Raw maps by the methods that contrast classes: one pass per class that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Manifest
from aerocam.runtime.maps.contract import Outputs, RawMaps, Rerun
from aerocam.runtime.maps.layers import FromLayers
from aerocam.runtime.methods import ContrastMethod
from aerocam.runtime.predictions.scores import logits as logits_of
from aerocam.runtime.predictions.targets import slots


class FromContrast(RawMaps):
    """A contrasting method over a CAM method."""

    runs_again = True

    def __init__(
        self, manifest: Manifest, method: ContrastMethod, options: Mapping[str, Any], layers: FromLayers
    ) -> None:
        """Try the options, and find out whether the model has classes.

        Args:
            manifest: The model's.
            method: The method.
            options: Its keyword arguments.
            layers: `FromLayers` of the CAM method that makes maps of gradients.

        Raises:
            UsageError: The model is no classifier of several logits, or an option is wrong.
        """
        if manifest.task != "classify" or manifest.score.contrast != "none":
            raise UsageError(
                f"method '{method.name}': it compares the logits of classes; a file of a classifier, exported without"
                f" `contrast`, is expected, this one has task {manifest.task}, contrast {manifest.score.contrast};"
                " take gradcam"
            )
        self._contrast, self._options, self._layers = method, dict(options), layers
        self.method, self.normalisation = method.name, layers.normalisation
        self.layers: tuple[str, ...] = layers.layers
        self.outputs: tuple[str, ...] = layers.outputs
        self._count, self._sigmoid = manifest.score.targets, manifest.score.activation == "sigmoid"
        method(np.zeros(manifest.score.classes), 0, **self._options)

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        assert rerun is not None
        logits = logits_of(rerun.probabilities, self._sigmoid)
        parts = [self._layers(self._one(int(target), logits, rerun)) for target in rerun.target]
        return [np.concatenate(maps) for maps in zip(*parts, strict=True)]

    def _one(self, target: int, logits: NDArray[np.float64], rerun: Rerun) -> dict[str, NDArray[Any]]:
        """Return the layers' outputs with the gradients of one target's contrast in place of a logit's."""
        classes, slopes = self._contrast(logits, target, **self._options)
        found: dict[str, NDArray[Any]] = {}
        sums: dict[str, NDArray[Any]] = {}
        for i, slot in enumerate(slots(classes.astype(np.int32)[:, None], self._count)):
            found = dict(rerun.explain(slot))
            rows = slopes[i * self._count :][: self._count].astype(np.float32)
            for name in self._layers.gradients:
                weighted = np.tensordot(rows, found[name][: len(rows)].astype(np.float32), axes=1)[None]
                sums[name] = sums[name] + weighted if name in sums else weighted
        return {**found, **sums}
