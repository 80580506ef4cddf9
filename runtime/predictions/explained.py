"""What a model says it explained: its chosen targets with labels, probabilities and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.manifest import Manifest
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.detections import box_at
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Target


def explained(outputs: Mapping[str, NDArray[Any]], prediction: Prediction, manifest: Manifest) -> list[Target]:
    """What the model says it explained, target by target.

    Args:
        outputs: What explains, with `manifest.CHOSEN` and `manifest.SCORE` among it.
        prediction: What the model says of the frame.
        manifest: The model's.
    """
    logits = outputs[contract.SCORE]
    chosen = outputs[contract.CHOSEN].reshape(len(logits), -1)
    pairs = zip(chosen.tolist(), logits, strict=True)
    return [_explained(row, float(logit), prediction, manifest) for row, logit in pairs]


def _explained(chosen: list[int], logit: float, prediction: Prediction, manifest: Manifest) -> Target:
    if manifest.task in scores.NUMBERS:
        index = max(chosen[0], 0)
        return Target(index, scores.number_label(index, manifest), logit, logit)
    score, index = manifest.score, chosen[0]
    label, output = scores.label_of(index, manifest.labels), prediction.outputs[score.output]
    if manifest.task != "detect":
        return Target(index, label, float(prediction.probabilities[index]), logit)
    anchor = chosen[1]
    box = box_at(prediction.outputs, manifest, anchor, prediction.placement.tensor_size)
    in_frame = prediction.placement.to_frame(box) if box is not None else None
    return Target(index, label, scores.at_anchor(output, score, index, anchor), logit, anchor, in_frame)
