"""What makes raw maps of a model's outputs: the protocol, and the model on other pictures that it may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import SCORE, Manifest, Preprocess, Rule
from aerocam.methods import MethodFacts, Normalisation
from aerocam.runtime.maps.saliency import Form
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
        """Return the frame's input tensor as (1, C, H, W); a view."""
        return self.tensor if self.rule.layout == "NCHW" else np.moveaxis(self.tensor, 3, 1)

    def __call__(self, picture: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of the model for a picture, float32 (1, C, H, W); the next run may overwrite them."""
        tensor = picture if self.rule.layout == "NCHW" else np.moveaxis(picture, 1, 3)
        return self.passes.again(np.ascontiguousarray(tensor), self.target, outputs)

    def explain(self, targets: NDArray[np.int32]) -> Outputs:
        """Return what explains other targets of the frame; the next run may overwrite the arrays."""
        return self.passes.explain(targets)

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the targets' scores at pictures, float32 (n, C, H, W), one run each: (n, targets), new."""
        found = [self(picture[None], (SCORE,))[SCORE].astype(np.float32) for picture in pictures]
        return np.stack(found)

    def tail_scores(self, activations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the targets' scores at activations of the layer, float32 (n, C, h, w): (n, targets), new."""
        return self.passes.tail_scores(activations, self.target)


class RawMaps(Protocol):
    """Makes one raw map per layer from a model's outputs.

    Attributes:
        method: Name of the CAM method.
        normalisation: The method's.
        layers: Names of the target layers.
        outputs: Names of the model's outputs that it needs; no other has to leave the accelerator.
        form: What the maps are; other than `raw`, the default, only from a fused head, which has normalised them.
        overlay: Name of the output with the overlay of these maps, or None, the default.
        runs_again: Whether it may run the model again, which overwrites the outputs of the run before; no by default.
    """

    method: str
    normalisation: Normalisation
    layers: tuple[str, ...]
    outputs: tuple[str, ...]
    form: Form = "raw"
    overlay: str | None = None
    runs_again: bool = False

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """One float32 (targets, h, w) per layer, before ReLU and normalisation unless `form` says else; new arrays.

        Args:
            outputs: The model's, for the frame.
            rerun: The model on other pictures; for a method that `runs_again`.
        """


def normalisation_of(manifest: Manifest, facts: MethodFacts) -> Normalisation:
    """Return the normalisation of a method's maps at the layers of a model."""
    rule = manifest.preprocess
    return facts.normalisation_at(rule is not None and all(layer.name == rule.input for layer in manifest.layers))
