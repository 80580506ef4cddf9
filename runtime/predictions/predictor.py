"""What a model says of frames: preprocessing, the model, and the scores in what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Manifest
from aerocam.runtime.frames.inputs import as_frame, model_input, preparation, whole
from aerocam.runtime.frames.placement import Placement
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.sessions.passes import Passes
from aerocam.runtime.sessions.session import Run


class Predictor:
    """Lets a model see one frame after the other.

    Attributes:
        begun: Number of frames that the model was given.
        seen: Number of the frame whose prediction was made last.
    """

    def __init__(self, manifest: Manifest, model: Passes, top: int, again: bool) -> None:
        """Prepare for frames.

        Args:
            manifest: The model's; its input is a picture.
            model: Runs it.
            top: How many of its top classes to report.
            again: Whether the model is run on altered frames too, which may overwrite what it said of a frame.
        """
        assert manifest.preprocess is not None
        self._manifest, self._passes, self._top, self._again = manifest, model, top, again
        self._prepare = preparation(manifest.preprocess)
        self.begun = self.seen = 0

    def begin(self, frame: NDArray[np.uint8], targets: NDArray[np.int32]) -> Begun:
        """Give the model a frame.

        Args:
            frame: uint8 (H, W, 3) in BGR; for a model that takes GRAY also (H, W).
            targets: What will be explained first, as the model's run-time input.

        Raises:
            UsageError: A frame that the model cannot take.
            ModelError: The engine failed.
        """
        started = perf_counter()
        tensor, placement = self._prepare(frame)
        return self._begin(frame, tensor, placement, targets, 1e3 * (perf_counter() - started))

    def begin_tensor(self, tensor: NDArray[Any], targets: NDArray[np.int32], path: str) -> Begun:
        """Give the model an input tensor, float (1, C, H, W), in place of a frame; the frame is the picture it shows.

        Raises:
            UsageError: A tensor that the model cannot take; `path` is its file's.
            ModelError: The engine failed.
        """
        rule = self._manifest.preprocess
        assert rule is not None
        given = model_input(tensor, rule, path)
        return self._begin(as_frame(tensor, rule), given, whole(rule), targets, 0.0)

    def _begin(
        self,
        frame: NDArray[np.uint8],
        tensor: NDArray[Any],
        placement: Placement,
        targets: NDArray[np.int32],
        prepared: float,
    ) -> Begun:
        started = perf_counter()
        run = self._passes.submit(tensor, targets)
        self.begun += 1
        timings = {"preprocess": prepared, "infer": 1e3 * (perf_counter() - started)}
        return Begun(self, self.begun, frame, placement, tensor, run, timings)

    def finish(self, begun: Begun) -> Prediction:
        """What the model says of a frame, once it is through; for `Begun`."""
        started = perf_counter()
        outputs = begun.run.result()
        if self._again:
            outputs = {name: array.copy() for name, array in outputs.items()}
        inferred = perf_counter()
        self.seen = begun.number
        output = outputs[self._manifest.score.output]
        if self._manifest.task in scores.NUMBERS:
            values = np.array(output, np.float32).reshape(-1)
            classes = scores.numbers(values, self._manifest, self._top)
        else:
            values = scores.probabilities(output, self._manifest.score)
            classes = scores.top_classes(values, self._manifest.labels, self._top)
        begun.timings["infer"] += 1e3 * (inferred - started)
        begun.timings["scores"] = 1e3 * (perf_counter() - inferred)
        return Prediction(
            begun.frame, begun.placement, begun.tensor, classes, values, outputs, begun.number, begun.timings
        )


@dataclass(eq=False)
class Begun:
    """A frame that the model was given.

    Attributes:
        predictor: Gave it to the model.
        number: Of the frame, from 1 on.
        frame: As it was given, not copied.
        placement: Where it lies in the input tensor.
        tensor: The input tensor, which the next frame overwrites.
        run: The model's run.
        timings: Milliseconds by stage, so far.
    """

    predictor: Predictor
    number: int
    frame: NDArray[np.uint8]
    placement: Placement
    tensor: NDArray[Any]
    run: Run
    timings: dict[str, float]

    def finish(self) -> Prediction:
        """Wait for the model: what it says of the frame. Once only.

        Raises:
            ModelError: The engine failed.
        """
        return self.predictor.finish(self)
