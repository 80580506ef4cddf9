"""Raw maps by the methods on the input picture, which may run the model again on pictures of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import SCORE, Layer, Manifest, Preprocess, Rule
from aerocam.runtime.maps.saliency import Form, finite, resize
from aerocam.runtime.methods import InputMethod
from aerocam.runtime.sessions.passes import Passes

Outputs = Mapping[str, NDArray[Any]]

KINDS: dict[Rule, str] = {
    "gradient": "gradients",
    "guided": "guided gradients",
    "relevance": "multipliers of relevance",
}
"""What a layer has in place of gradients, by its rule."""


@dataclass(frozen=True)
class Rerun:
    """The model on other pictures than the frame, with the target that it resolved on the frame: it must not change.

    Attributes:
        passes: Runs the model.
        rule: How its input tensor is laid out.
        tensor: The frame's input tensor, float32, in that layout.
        target: What the model said it explained, int32, no -1 among it.
        probabilities: Of the classes on the frame, float32 (classes,).
        frame: Number of the frame in the stream, from 1 on; 0 for a picture that is in none.
    """

    passes: Passes
    rule: Preprocess
    tensor: NDArray[np.float32]
    target: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    frame: int = 0

    @property
    def picture(self) -> NDArray[np.float32]:
        """The frame's input tensor as (1, C, H, W); a view."""
        return self.tensor if self.rule.layout == "NCHW" else np.moveaxis(self.tensor, 3, 1)

    def __call__(self, picture: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """These outputs of the model for a picture, float32 (1, C, H, W); the next run may overwrite them."""
        tensor = picture if self.rule.layout == "NCHW" else np.moveaxis(picture, 1, 3)
        return self.passes.again(np.ascontiguousarray(tensor), self.target, outputs)

    def explain(self, targets: NDArray[np.int32]) -> Outputs:
        """What explains other targets of the frame; the next run may overwrite the arrays."""
        return self.passes.explain(targets)

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """The targets' scores at pictures, float32 (n, C, H, W), one run each: (n, targets), new."""
        found = [self(picture[None], (SCORE,))[SCORE].astype(np.float32) for picture in pictures]
        return np.stack(found)

    def tail_scores(self, activations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The targets' scores at activations of the layer, float32 (n, C, h, w): (n, targets), new."""
        return self.passes.tail_scores(activations, self.target)


class FromInput:
    """A method on the input picture; a `RawMaps`."""

    form: Form = "raw"
    overlay: str | None = None
    runs_again = True

    def __init__(self, manifest: Manifest, method: InputMethod, options: Mapping[str, Any], cams: Any = None) -> None:
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
        self.method, self.normalisation = method.name, method.normalisation
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
        """See `RawMaps`."""
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
    """The layer that is the model's input and has the gradients that the method needs.

    Raises:
        UsageError: There is none.
    """
    for layer in manifest.layers:
        if layer.name == name and layer.gradients is not None and layer.rule == method.rule:
            return layer
    found = [
        f"{KINDS[layer.rule] if layer.gradients is not None else 'no gradients'} of layer '{layer.name}'"
        for layer in manifest.layers
    ]
    wanted = "true gradients" if method.rule == "gradient" else KINDS[method.rule]
    raise UsageError(
        f"method '{method.name}': it needs the {wanted} of the input '{name}', the file has {', '.join(found)};"
        f" export the model again: aerocam export MODEL {_flags(name, method)}"
    )


def _flags(name: str, method: InputMethod) -> str:
    """What to tell `aerocam export`."""
    if method.over_layers:
        return "--guided"
    return f"--layer {name} --guided" if method.rule == "guided" else f"--layer {name}"
