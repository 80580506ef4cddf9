"""Where a segmenter predicts a class: its own mask, which its score is the mean logit over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Manifest, Score
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.placement import Placement
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Target


def predicted_masks(prediction: Prediction, manifest: Manifest, targets: Sequence[Target]) -> list[NDArray[np.bool_]]:
    """Per target of a segmenter where it predicts the class, see `predicted`; empty for any other model."""
    if manifest.task != "segment":
        return []
    output = prediction.outputs[manifest.score.output]
    found = [predicted(output, manifest.score, target.index) for target in targets]
    return [mask for mask in found if mask is not None]


def predicted(output: NDArray[Any], score: Score, index: int) -> NDArray[np.bool_] | None:
    """The positions of a segmenter's output where it predicts a class, bool (h, w); None where they are no picture.

    Of several classes the greatest wins, the first of equal ones; of one class it is the probability above a half.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.
        index: Of the class.
    """
    maps = np.moveaxis(output[0], score.class_axis - 1, 0)
    if maps.ndim != 3:
        return None
    if score.classes > 1:
        return np.asarray(maps.argmax(axis=0) == index)
    return np.asarray(maps[0] > (0 if score.activation == "none" else 0.5))


def in_frame(mask: NDArray[np.bool_], placement: Placement) -> NDArray[np.bool_]:
    """A mask over the input tensor, at whatever size, as one over the frame, bool (H, W)."""
    height, width = placement.tensor_size
    whole = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(placement.place(whole.astype(np.float32)) > 0.5)
