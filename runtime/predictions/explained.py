"""What a prediction says of the targets that are explained: label, probability, place and mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.errors import ModelError
from aerocam.manifest import Manifest, Score
from aerocam.methods import EPSILON
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.detections import Detection
from aerocam.runtime.predictions.objects import masks_at, places_at
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Target


def explained_targets(outputs: Mapping[str, NDArray[Any]], prediction: Prediction, manifest: Manifest) -> list[Target]:
    """Return what the model says it explained, target by target.

    Args:
        outputs: What explains, with `manifest.CHOSEN` and `manifest.SCORE` among it.
        prediction: What the model says of the frame.
        manifest: The model's.

    Raises:
        ModelError: The model has no such class or anchor.
    """
    logits = outputs[contract.SCORE]
    chosen = outputs[contract.CHOSEN].reshape(len(logits), -1)
    limits = (manifest.score.classes, max(manifest.score.anchors, 1))
    least = -1 if manifest.task in scores.NUMBERS else 0
    if ((chosen < least) | (chosen >= limits[: chosen.shape[1]])).any():
        raise ModelError(
            f"output '{contract.CHOSEN}': it says {chosen.tolist()}, 0 to {limits[0] - 1} is expected of classes, 0 to"
            f" {limits[1] - 1} of anchors; export the model again"
        )
    pairs = zip(chosen.tolist(), logits, strict=True)
    return [_target(row, float(logit), prediction, manifest) for row, logit in pairs]


def seen_targets(
    prediction: Prediction,
    manifest: Manifest,
    rows: NDArray[np.int32],
    reference: NDArray[np.float32] | None = None,
) -> list[Target]:
    """Return what a prediction says of targets that were not explained; `logit` is NaN, unless it is the score itself.

    Args:
        prediction: What the model says of the frame, its outputs with it.
        manifest: The model's.
        rows: int32 (n, 1) with classes, or (n, 2) with classes and anchors; -1: the best one.
        reference: What an embedding is compared with, float32 (numbers,).
    """
    values, targets = prediction.probabilities, []
    for row in rows.tolist():
        logit = math.nan
        if reference is not None:
            logit = float(values @ reference / max(np.linalg.norm(values) * np.linalg.norm(reference), EPSILON))
        elif manifest.task in scores.NUMBERS:
            logit = float(values[max(row[0], 0)])
        elif manifest.has_anchors:
            row = scores.choice(prediction.outputs[manifest.score.output], manifest.score, *row)
        elif row[0] < 0:
            row = [int(values.argmax())]
        targets.append(_target(row, logit, prediction, manifest))
    return targets


def found_targets(objects: Sequence[Detection]) -> list[Target]:
    """Return a detector's objects as targets that were not explained: their `logit` is NaN."""
    return [
        Target(one.index, one.label, one.score, math.nan, one.anchor, one.box, one.polygon, one.keypoints)
        for one in objects
    ]


def _target(chosen: Sequence[int], logit: float, prediction: Prediction, manifest: Manifest) -> Target:
    if manifest.task in scores.NUMBERS:
        index = max(chosen[0], 0)
        return Target(index, scores.number_label(index, manifest), logit, logit)
    score, index = manifest.score, chosen[0]
    label, output = scores.label_of(index, manifest.labels), prediction.outputs[score.output]
    if not manifest.has_anchors:
        return Target(index, label, float(prediction.probabilities[index]), logit)
    anchor, shares = chosen[1], scores.at_anchor(output, score, index, chosen[1])
    if manifest.boxes is None:
        return Target(index, label, shares, logit, anchor)
    (place,) = places_at(prediction.outputs, manifest.boxes, np.array([anchor]), prediction.placement)
    return Target(index, label, shares, logit, anchor, place.box, place.polygon, place.keypoints)


def predicted_masks(prediction: Prediction, manifest: Manifest, targets: Sequence[Target]) -> list[NDArray[np.bool_]]:
    """Return where the model predicts each target, bool (h, w) over the tensor in whatever size; empty without masks.

    A segmenter's is that of the class, see `predicted_mask`: its score is the mean logit over it. A detector's is that
    of the object.
    """
    if manifest.boxes is not None and manifest.boxes.masks is not None:
        anchors = np.array([target.anchor for target in targets])
        return masks_at(prediction.outputs, manifest.boxes, anchors, prediction.placement.tensor_size)
    if manifest.task != "segment":
        return []
    output = prediction.outputs[manifest.score.output]
    masks = [predicted_mask(output, manifest.score, target.index) for target in targets]
    return [mask for mask in masks if mask is not None]


def predicted_mask(output: NDArray[Any], score: Score, index: int) -> NDArray[np.bool_] | None:
    """Return where a segmenter predicts a class, bool (h, w) over its output; None where that is no picture.

    Of several classes the greatest wins, the first of equal ones; of one class it is the probability above a half.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.
        index: Index of the class.
    """
    maps = np.moveaxis(output[0], score.class_axis - 1, 0)
    if maps.ndim != 3:
        return None
    if score.classes > 1:
        return np.asarray(maps.argmax(axis=0) == index)
    return np.asarray(maps[0] > (0 if score.link == "sigmoid" else 0.5))


def mask_in_frame(mask: NDArray[np.bool_], placement: Placement) -> NDArray[np.bool_]:
    """Return a mask over the input tensor, of whatever size, as one over the frame, bool (H, W)."""
    height, width = placement.tensor_size
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(placement.place(resized.astype(np.float32)) > 0.5)
