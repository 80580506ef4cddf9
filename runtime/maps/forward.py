"""Raw maps by the methods that only run the model forward: on other pictures, or from a layer on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Layer, Manifest
from aerocam.runtime.maps.contract import Outputs, RawMaps, Rerun
from aerocam.runtime.methods import ForwardMethod, Scorer


class FromForward(RawMaps):
    """A method that only runs the model forward."""

    runs_again = True

    def __init__(self, manifest: Manifest, method: ForwardMethod, options: Mapping[str, Any]) -> None:
        """Find what the method needs, and try its options.

        Raises:
            UsageError: The file does not have what the method needs, or an option is wrong.
        """
        assert manifest.preprocess is not None
        if method.facts.kind == "model" and manifest.preprocess.frame is not None:
            raise UsageError(
                f"method '{method.name}': it changes the input tensor, and the file takes frames; export it again"
                " without `frame`"
            )
        self._compute, self._options = method, dict(options)
        self.method, self.normalisation = method.name, method.facts.normalisation
        self._sign = np.float32(math.copysign(1, manifest.seed_scale))
        layers = [layer for layer in manifest.layers if layer.rule != "guided"] if method.facts.activations else []
        self._activations = tuple(_activations(manifest, layer, method) for layer in layers)
        self._batch = _tail_batch(manifest, method) if method.facts.kind == "tail" else 1
        self.layers: tuple[str, ...] = tuple(layer.name for layer in layers) or (manifest.preprocess.input,)
        self.outputs: tuple[str, ...] = self._activations
        rule = manifest.preprocess
        picture = np.zeros((1, len(rule.mean), *rule.size), np.float32)
        shapes = [layer.shape for layer in layers] or [picture.shape]
        self._try(picture, np.zeros(shapes[0], np.float32))

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """Implement `RawMaps`."""
        assert rerun is not None
        picture = rerun.picture
        scorer = Scorer(rerun.tail_scores if self._compute.facts.kind == "tail" else rerun.scores, self._batch)
        if self._sign < 0:
            scorer = Scorer(lambda arrays, run=scorer.run: -run(arrays), self._batch)  # type: ignore[misc]
        with np.errstate(invalid="ignore", over="ignore"):
            return [
                self._compute(scorer, *self._arrays(picture, outputs[name].astype(np.float32)), **self._options)
                for name in self._activations
            ] or [self._compute(scorer, picture, **self._options)]

    def _arrays(self, picture: NDArray[np.float32], activations: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Return what the method takes beside the scorer."""
        if not self._compute.facts.activations:
            return (picture,)
        return (activations,) if self._compute.facts.kind == "tail" else (picture, activations)

    def _try(self, picture: NDArray[np.float32], activations: NDArray[np.float32]) -> None:
        """Let the method see its options; the model is not run."""

        def stop(arrays: NDArray[np.float32]) -> NDArray[np.float32]:
            raise _AcceptedError

        try:
            self._compute(Scorer(stop), *self._arrays(picture, activations), **self._options)
        except _AcceptedError:
            return


class _AcceptedError(Exception):
    """A method has run the model, so its options are good."""


def _activations(manifest: Manifest, layer: Layer, method: ForwardMethod) -> str:
    """Return the output with the activations of a layer.

    Raises:
        UsageError: There is none.
    """
    if layer.activations is None:
        head = f", only the fused head for {manifest.head.method}" if manifest.head is not None else ""
        raise UsageError(
            f"method '{method.name}': the file has no activations of layer '{layer.name}'{head};"
            f" {method.facts.export_again(layer.name)}"
        )
    return layer.activations


def _tail_batch(manifest: Manifest, method: ForwardMethod) -> int:
    """Return how many activations the tail takes at once.

    Raises:
        UsageError: The export has no tail.
    """
    split = manifest.split
    if split is None or split.tail is None:
        found = "a single file" if split is None else "no file with that part alone"
        raise UsageError(
            f"method '{method.name}': it runs the part behind the layer many times, and the export has {found};"
            f" {method.facts.export_again('')}, or with `head={method.name!r}`"
        )
    return split.batch
