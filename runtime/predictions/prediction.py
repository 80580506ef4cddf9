"""Predictions: what a model says of one frame, before anything is explained, and what lets it see frame after frame."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.manifest import Manifest
from aerocam.runtime.frames.inputs import as_frame, displayed, model_input, preparation, require_array, whole
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.region import RegionOfInterest
from aerocam.runtime.predictions.scores import ClassScore
from aerocam.runtime.sessions.passes import Passes
from aerocam.runtime.sessions.session import Run


@dataclass(eq=False)
class Prediction:
    """Holds what the model says of a frame, and what `Explainer.explain` needs to say why.

    Attributes:
        frame: (H, W, 3) in BGR, or (H, W), or of bands (H, W, C). Not a copy.
        placement: Where the frame lies in the input tensor.
        classes: The model's top classes, best first.
        probabilities: Each class's, float32 (classes,); of a detector or segmenter that at its best place. Of a
            regression or an embedding its numbers; where its output is dense, the channels' means over the region.
        number: Number of the frame, counted by the explainer from 1 on.
        timings: Milliseconds by stage.
        tensor: The model's input, which the next frame overwrites; where the model takes frames as they are, the frame.
            None in a prediction that is detached.
        outputs: The model's own outputs by name, which the next frame overwrites; empty in one that is detached.
        shown: Which bands of the frame are shown as red, green and blue; None: they are no bands.
        region: The region of interest that the means of a dense output are taken over; None: everything.
    """

    frame: NDArray[Any]
    placement: Placement
    classes: list[ClassScore]
    probabilities: NDArray[np.float32]
    number: int
    timings: dict[str, float] = field(default_factory=dict)
    tensor: NDArray[Any] | None = None
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    shown: tuple[int, ...] | None = None
    region: RegionOfInterest | None = None

    @functools.cached_property
    def picture(self) -> NDArray[np.uint8]:
        """Return the frame as it is drawn, uint8 (H, W, 3) in BGR."""
        return displayed(self.frame, self.shown)

    def detached(self) -> Prediction:
        """Return the prediction without what the next frame overwrites, as explanations keep it."""
        return replace(self, tensor=None, outputs={})


class Predictor:
    """Lets a model see one frame after the other.

    Attributes:
        submitted: Number of frames that the model was given.
        seen: Number of the frame whose prediction was made last.
        region: The region of interest of the frames that are submitted from now on; None: everything.
    """

    def __init__(self, manifest: Manifest, passes: Passes, top: int, again: bool) -> None:
        """Prepare for frames.

        Args:
            manifest: The model's; its input is a picture.
            passes: Runs the model.
            top: How many of its top classes to report.
            again: Whether the model is run on altered frames too, which may overwrite what it said of a frame.
        """
        assert manifest.preprocess is not None
        self._manifest, self._passes, self._top, self._again = manifest, passes, top, again
        self._rule = manifest.preprocess
        self._prepare = preparation(manifest.preprocess)
        self.submitted = self.seen = 0
        self.region: RegionOfInterest | None = None
        self._regional: tuple[RegionOfInterest | None, Placement, NDArray[np.float32]] | None = None

    def submit(self, frame: NDArray[Any], targets: NDArray[np.int32]) -> Run[Prediction]:
        """Give the model a frame.

        Args:
            frame: As `Preprocessor` takes it.
            targets: What will be explained first, as the model's run-time input.

        Raises:
            UsageError: A frame that the model cannot take.
            ModelError: The engine failed.
        """
        require_array(frame, "frame", "uint8 (H, W, 3) in BGR; aerocam.runtime.read_picture reads one from a file")
        started = perf_counter()
        tensor, placement = self._prepare(frame)
        return self._submit(frame, tensor, placement, targets, 1e3 * (perf_counter() - started))

    def submit_tensor(self, tensor: NDArray[Any], targets: NDArray[np.int32], path: str) -> Run[Prediction]:
        """Give the model an input tensor, float (1, C, H, W), in place of a frame; the frame is the picture it shows.

        Raises:
            UsageError: A tensor that the model cannot take; `path` is its file's.
            ModelError: The engine failed.
        """
        require_array(tensor, "tensor", "float32 (1, C, H, W), normalised")
        model_tensor = model_input(tensor, self._rule, path)
        return self._submit(as_frame(tensor, self._rule), model_tensor, whole(self._rule), targets, 0.0)

    def _submit(
        self,
        frame: NDArray[Any],
        tensor: NDArray[Any],
        placement: Placement,
        targets: NDArray[np.int32],
        prepared: float,
    ) -> Run[Prediction]:
        started, region = perf_counter(), self.region
        weights = self._weights(placement)
        run = self._passes.submit(tensor, targets)
        self.submitted += 1
        number, submitted = self.submitted, perf_counter() - started

        def predict() -> Prediction:
            waiting = perf_counter()
            outputs: Mapping[str, NDArray[Any]] = run.result()
            if self._again:
                outputs = {name: array.copy() for name, array in outputs.items()}
            inferred = perf_counter()
            self.seen = number
            classes, values = self._read(outputs[self._manifest.score.output], weights)
            infer, scored = submitted + inferred - waiting, perf_counter() - inferred
            timings = {"preprocess": prepared, "infer": 1e3 * infer, "scores": 1e3 * scored}
            shown = self._rule.shown if self._rule.color == "BANDS" else None
            return Prediction(frame, placement, classes, values, number, timings, tensor, outputs, shown, region)

        return Run(predict)

    def _weights(self, placement: Placement) -> NDArray[np.float32] | None:
        """Return the region as weights of a dense output's positions, which the model is given where they change."""
        score, region = self._manifest.score, self.region
        if score.positions is None:
            return None
        if self._regional is None or self._regional[0] is not region or self._regional[1] != placement:
            weights = np.ones(score.positions, np.float32)
            if region is not None:
                weights = region.weights(placement, score.positions)
            self._passes.fix(contract.REGION, np.repeat(weights[None], score.targets, axis=0))
            self._regional = region, placement, weights
        return self._regional[2]

    def _read(
        self, output: NDArray[Any], weights: NDArray[np.float32] | None
    ) -> tuple[list[ClassScore], NDArray[np.float32]]:
        """Return the top classes in the model's output, and each class's probability."""
        manifest = self._manifest
        if manifest.task in scores.NUMBERS:
            if weights is not None:
                values = scores.region_means(output, manifest.score, weights)
            else:
                values = np.array(output, np.float32).reshape(-1)
            return scores.numbers(values, manifest, self._top), values
        values = scores.probabilities(output, manifest.score)
        return scores.top_classes(values, manifest.labels, self._top), values
