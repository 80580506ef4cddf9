"""The maps of one frame's targets: as many targets at a time as the model takes, and smoothed if that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import CHOSEN, Manifest
from aerocam.runtime.maps.contract import RawMaps, Rerun
from aerocam.runtime.maps.smoothing import MapSmoothing, altered
from aerocam.runtime.predictions.explained import explained
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Target
from aerocam.runtime.sessions.passes import Passes

Maps = list[NDArray[np.float32]]


@dataclass
class Mapped:
    """What was made of a frame.

    Attributes:
        targets: What was explained.
        raws: One map per layer, float32 (targets, h, w).
        augmented: The maps of altered frames, turned back, each as `raws`.
        drawn: The overlay as the model gives it, uint8 (H, W, 3) in BGR, a copy; None where it gives none of them all.
        explain: Milliseconds in the model.
        cam: Milliseconds in the method.
    """

    targets: list[Target] = field(default_factory=list)
    raws: Maps = field(default_factory=list)
    augmented: list[Maps] = field(default_factory=list)
    drawn: NDArray[np.uint8] | None = None
    explain: float = 0.0
    cam: float = 0.0


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
        """Whether the model may be run on altered frames too, which overwrites what it gave before."""
        return self.raw_maps.runs_again or self.smoothing.augmented

    def __call__(self, prediction: Prediction, asked: Sequence[NDArray[np.int32]], count: int) -> Mapped:
        """The maps of the targets in `asked`, the model's run-time inputs; of the last only what makes up `count`."""
        found, parts = Mapped(), []
        for slot in asked:
            started = perf_counter()
            outputs: Mapping[str, NDArray[Any]] = self.passes.explain(slot)
            if self.again:
                outputs = {name: array.copy() for name, array in outputs.items()}
            done = perf_counter()
            left = count - len(found.targets)
            found.targets += explained(outputs, prediction, self.manifest)[:left]  # altered frames overwrite outputs
            maps = self._maps(prediction, outputs)
            parts.append([[raw[:left] for raw in raws] for raws in maps])
            if self.raw_maps.overlay is not None and len(asked) == 1:
                found.drawn = outputs[self.raw_maps.overlay].copy()
            found.explain += 1e3 * (done - started)
            found.cam += 1e3 * (perf_counter() - done)
        found.raws, *found.augmented = (
            [np.concatenate(layer) for layer in zip(*slots, strict=True)] for slots in zip(*parts, strict=True)
        )
        return found

    def _maps(self, prediction: Prediction, outputs: Mapping[str, NDArray[Any]]) -> list[Maps]:
        """The raw maps of a run, and of the altered frames."""
        assert self.manifest.preprocess is not None  # or there would be no explainer
        rerun = Rerun(
            self.passes,
            self.manifest.preprocess,
            prediction.tensor,
            outputs[CHOSEN].copy(),
            prediction.probabilities,
            prediction.number if self.streaming else 0,
        )
        maps = [self.raw_maps(outputs, rerun)]
        return [*maps, *self._of_altered_frames(rerun)] if self.smoothing.augmented else maps

    def _of_altered_frames(self, rerun: Rerun) -> list[Maps]:
        """The raw maps of altered frames for the target that was chosen, turned back."""
        found = []
        for tensor, mirrored in altered(rerun.tensor, 3 if rerun.rule.layout == "NCHW" else 2):
            raws = self.raw_maps(self.passes.again(tensor, rerun.target, self.raw_maps.outputs))
            found.append([raw[:, :, ::-1] if mirrored else raw for raw in raws])
        return found
