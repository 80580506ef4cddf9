"""Raw maps by the methods on the input picture, which may run the model again on pictures of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import SCORE, Layer, Manifest
from aerocam.runtime.maps.contract import KINDS, Outputs, RawMaps, Rerun
from aerocam.runtime.maps.saliency import finite, resize
from aerocam.runtime.methods import InputMethod


class FromInput(RawMaps):
    """A method on the input picture."""

    runs_again = True

    def __init__(
        self, manifest: Manifest, method: InputMethod, options: Mapping[str, Any], cams: RawMaps | None = None
    ) -> None:
        """Find the outputs that the method needs, and try its options.

        Args:
            manifest: The model's.
            method: The method.
            options: Its keyword arguments.
            cams: For a method over layers: the `RawMaps` of Grad-CAM at the other layers; else None.

        Raises:
            UsageError: The file does not have the gradients that the method needs, or an option is wrong.
        """
        assert manifest.preprocess is not None
        self._compute, self._options, self._cams = method, dict(options), cams
        self.method, self.normalisation = method.name, method.facts.normalisation
        layer = _input_layer(manifest, manifest.preprocess.input, method)
        assert layer.gradients is not None
        self._gradients = layer.gradients
        self._scale = np.float32(1 / manifest.seed_scale)
        self.layers: tuple[str, ...] = cams.layers if cams is not None else (layer.name,)
        self.outputs: tuple[str, ...] = (self._gradients, *(cams.outputs if cams is not None else ()))
        if options:
            nothing = np.zeros(layer.shape, np.float32)
            cam = () if cams is None else (nothing[:, 0],)
            method(nothing, lambda at: (np.zeros_like(at), np.zeros(1, np.float32)), *cam, **self._options)

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        assert rerun is not None
        picture = rerun.picture

        def gradient(at: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            found = outputs if at is picture else rerun(at, (self._gradients, SCORE))
            return found[self._gradients].astype(np.float32) * self._scale, found[SCORE].astype(np.float32)

        with np.errstate(invalid="ignore", over="ignore"):
            if self._cams is None:
                return [self._compute(picture, gradient, **self._options)]
            size = (picture.shape[2], picture.shape[3])
            cams = [resize(np.maximum(finite(raw), 0), size) for raw in self._cams(outputs)]
            return [self._compute(picture, gradient, cam, **self._options) for cam in cams]


def _input_layer(manifest: Manifest, name: str, method: InputMethod) -> Layer:
    """Return the layer that is the model's input and has the gradients that the method needs.

    Raises:
        UsageError: There is none.
    """
    for layer in manifest.layers:
        if layer.name == name and layer.gradients is not None and layer.rule == method.facts.gradients:
            return layer
    found = [
        f"{KINDS[layer.rule] if layer.gradients is not None else 'no gradients'} of layer '{layer.name}'"
        for layer in manifest.layers
    ]
    taken = method.facts.gradients
    wanted = "true gradients" if taken in (None, "gradient") else KINDS[taken]
    raise UsageError(
        f"method '{method.name}': it needs the {wanted} of the input '{name}', the file has {', '.join(found)};"
        f" {method.facts.export_again(name)}"
    )
