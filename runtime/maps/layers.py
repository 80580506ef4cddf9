"""Raw maps by a CAM method in NumPy, on the activations and gradients of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Layer, Manifest
from aerocam.runtime.maps.contract import KINDS, Outputs, RawMaps, Rerun, normalisation_of
from aerocam.runtime.methods import CamMethod, get


class FromLayers(RawMaps):
    """A CAM method in NumPy on each layer's activations and gradients; guided gradients are left to other methods."""

    def __init__(self, manifest: Manifest, method: str, options: Mapping[str, Any] | None = None) -> None:
        """Find the outputs that the method needs, and try its options.

        Raises:
            UsageError: No such method or option, or the file does not have the outputs it needs.
        """
        self._compute, self._options = get(method), dict(options or {})
        self.method, self.normalisation = self._compute.name, normalisation_of(manifest, self._compute.facts)
        layers = [layer for layer in manifest.layers if layer.rule != "guided"]
        if not layers:
            raise UsageError(
                f"method '{self.method}': the file has guided gradients of the input only, activations and true"
                " gradients of a layer are expected; export the model again with one in `layers`"
            )
        reads_gradients = self._compute.facts.gradients is not None
        if reads_gradients:
            _check_rule(layers, self._compute)
        self.layers = tuple(layer.name for layer in layers)
        self._scale = np.float32(1 / manifest.seed_scale)
        self._targets = manifest.score.targets
        self._pairs: list[tuple[str, str | None]] = []
        for layer in layers:
            absent = "activations" if layer.activations is None else None
            if reads_gradients and layer.gradients is None:
                absent = absent or "gradients"
            if layer.activations is None or absent is not None:
                raise UsageError(_why_not(manifest, self.method, layer.name, absent))
            self._pairs.append((layer.activations, layer.gradients if reads_gradients else None))
        self.outputs = tuple(name for pair in self._pairs for name in pair if name is not None)
        self.gradients = tuple(name for _, name in self._pairs if name is not None)
        if self._options:
            self._compute(*np.zeros((2, 1, 2, 2, 2), np.float32), **self._options)
        make = self._compute.on_stream
        self._streams = [make(**self._options) for _ in self._pairs] if make is not None else []

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        arrays = [(outputs[first], outputs[second] if second else None) for first, second in self._pairs]
        return [self._raw(i, rerun, a, g) for i, (a, g) in enumerate(arrays)]

    def _raw(
        self, layer: int, rerun: Rerun | None, activations: NDArray[Any], gradients: NDArray[Any] | None
    ) -> NDArray[np.float32]:
        """Return one layer's raw map, NaN where its activations or gradients keep the method from having one."""
        g = gradients
        if g is not None and self._scale != 1:
            g = g.astype(np.float32) * self._scale
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                if g is None:
                    return np.repeat(self._compute(activations, **self._options), self._targets, axis=0)
                make = self._compute.on_stream
                if make is not None and rerun is not None:
                    a, g = (np.ascontiguousarray(x, np.float32) for x in (activations, g))
                    stream = self._streams[layer] if rerun.frame else make(**self._options)
                    return stream(a, g, rerun.frame)
                return self._compute(np.broadcast_to(activations, g.shape), g, **self._options)
        except (np.linalg.LinAlgError, ValueError):
            if np.isfinite(activations).all() and (g is None or np.isfinite(g).all()):
                raise
            return np.full((self._targets, *activations.shape[2:]), np.nan, np.float32)


def _check_rule(layers: Sequence[Layer], method: CamMethod) -> None:
    """Make sure that what layers have in place of gradients is what the method takes.

    Raises:
        UsageError: It is something else.
    """
    taken = method.facts.gradients
    assert taken is not None
    for layer in layers:
        if layer.rule != taken:
            way = "with `relevance=True`" if taken == "relevance" else "without `relevance`, or take relevance"
            raise UsageError(
                f"method '{method.name}': the file has {KINDS[layer.rule]} of layer '{layer.name}',"
                f" {KINDS[taken]} are expected; export the model again {way}"
            )


def _why_not(manifest: Manifest, method: str, layer: str, absent: str | None) -> str:
    """Return why a method cannot be had from this file, and how it can."""
    head = f", only the fused head for {manifest.head.method}" if manifest.head is not None else ""
    return (
        f"method '{method}': the file has no {absent} of layer '{layer}'{head};"
        " export the model again without a head, or with both: aerocam export MODEL `head='METHOD'` `tensors=True`"
    )
