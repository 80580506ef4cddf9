"""Maps of one frame's targets: the recipe by which they are made, what is made, and what makes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import CHOSEN, Manifest
from aerocam.runtime.maps import saliency
from aerocam.runtime.maps.contract import RawMaps, Rerun
from aerocam.runtime.maps.smoothing import MapSmoothing, altered
from aerocam.runtime.predictions.explained import explained_targets, predicted_masks
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Target
from aerocam.runtime.sessions.passes import Passes

LayerMaps = list[NDArray[np.float32]]
"""One raw map per layer, (targets, h, w) each."""


@dataclass(frozen=True)
class Recipe:
    """Says how maps are made of what the model gives, the same for all frames.

    Attributes:
        method: Name of the CAM method.
        layers: Names of the target layers.
        normalisation: The method's, see `saliency.normalise`.
        fusion: How the maps of several layers become one.
        gaussian: Standard deviation of the Gaussian over each map, in positions of its layer.
        form: What leaves the model: raw maps, or maps in [0, 1] at the layer's size, over the tensor or over the frame.
    """

    method: str
    layers: tuple[str, ...]
    normalisation: saliency.Normalisation = "minmax"
    fusion: saliency.Fusion = "mean"
    gaussian: float = 0.0
    form: saliency.Form = "raw"


@dataclass
class Maps:
    """Holds what was made of one frame.

    Attributes:
        targets: What was explained, one entry per map.
        raws: One map per layer, float32 (targets, h, w), as `Recipe.form` says.
        augmented: The maps of altered frames, turned back, each as `raws`: the map is the mean of all then.
        drawn: The overlay as the model gives it, uint8 (H, W, 3) in BGR, a copy; None where it gives none of them all.
        predicted: Per target where the model predicts it, see `predicted_masks`; empty where it has no masks.
        timings: Milliseconds in the model, `explain`, and in the method, `cam`.
    """

    targets: list[Target] = field(default_factory=list)
    raws: LayerMaps = field(default_factory=list)
    augmented: list[LayerMaps] = field(default_factory=list)
    drawn: NDArray[np.uint8] | None = None
    predicted: list[NDArray[np.bool_]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=lambda: {"explain": 0.0, "cam": 0.0})

    def problems(self, recipe: Recipe) -> list[str]:
        """Return what a reader of the maps has to know; empty if all is well."""
        finite = all(math.isfinite(target.logit) for target in self.targets)
        score = [] if finite else ["the explained score is not finite"]
        return score + saliency.problems(self.raws, recipe.layers, recipe.fusion, recipe.normalisation, recipe.form)


@dataclass(frozen=True)
class Mapper:
    """Makes the maps.

    Attributes:
        manifest: The model's.
        passes: Runs the model.
        raw_maps: Makes raw maps of its outputs.
        smoothing: How maps are smoothed.
        streaming: Whether frames follow each other, so that a method may keep something of one for the next.
    """

    manifest: Manifest
    passes: Passes
    raw_maps: RawMaps
    smoothing: MapSmoothing
    streaming: bool = True

    @property
    def again(self) -> bool:
        """Say whether the model may be run on altered frames too, which overwrites what it gave before."""
        return self.raw_maps.runs_again or self.smoothing.augmented

    def __call__(self, prediction: Prediction, slots: Sequence[NDArray[np.int32]], count: int) -> Maps:
        """Return the maps of `count` targets, which the model takes slot by slot; the last one may hold more."""
        maps, parts = Maps(), []
        for slot in slots:
            started = perf_counter()
            outputs: Mapping[str, NDArray[Any]] = self.passes.explain(slot)
            if self.again:
                outputs = {name: array.copy() for name, array in outputs.items()}
            done = perf_counter()
            left = count - len(maps.targets)
            # Altered frames overwrite what the model says of this one, so that it is read first.
            maps.targets += explained_targets(outputs, prediction, self.manifest)[:left]
            parts.append([[raw[:left] for raw in raws] for raws in self._raws(prediction, outputs)])
            if self.raw_maps.overlay is not None and len(slots) == 1:
                maps.drawn = outputs[self.raw_maps.overlay].copy()
            maps.timings["explain"] += 1e3 * (done - started)
            maps.timings["cam"] += 1e3 * (perf_counter() - done)
        maps.raws, *maps.augmented = (
            [np.concatenate(layer) for layer in zip(*same, strict=True)] for same in zip(*parts, strict=True)
        )
        maps.predicted = predicted_masks(prediction, self.manifest, maps.targets)
        return maps

    def _raws(self, prediction: Prediction, outputs: Mapping[str, NDArray[Any]]) -> list[LayerMaps]:
        """Return the raw maps of a run, and those of the altered frames."""
        assert self.manifest.preprocess is not None  # or there would be no explainer
        assert prediction.tensor is not None  # or `Explainer.explain` would have refused
        rerun = Rerun(
            self.passes,
            self.manifest.preprocess,
            prediction.tensor,
            outputs[CHOSEN].copy(),
            prediction.probabilities,
            prediction.number if self.streaming else 0,
        )
        raws = [self.raw_maps(outputs, rerun)]
        return [*raws, *self._of_altered_frames(rerun)] if self.smoothing.augmented else raws

    def _of_altered_frames(self, rerun: Rerun) -> list[LayerMaps]:
        """Return the raw maps of altered frames for the target that was chosen, turned back."""
        maps = []
        for tensor, mirrored in altered(rerun.tensor, 3 if rerun.rule.layout == "NCHW" else 2):
            raws = self.raw_maps(self.passes.again(tensor, rerun.target, self.raw_maps.outputs))
            maps.append([raw[:, :, ::-1] if mirrored else raw for raw in raws])
        return maps
