"""What a model says of one frame, before anything is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.frames.placement import Placement
from aerocam.runtime.predictions.scores import ClassScore


@dataclass(eq=False)
class Prediction:
    """What the model says of a frame, and what `Explainer.explain` needs to say why.

    Attributes:
        frame: uint8 (H, W, 3) in BGR, or (H, W). Not a copy.
        placement: Where the frame lies in the input tensor.
        tensor: The model's input; it holds until the next frame. Where the model takes frames as they are, the frame.
        classes: The model's top classes, best first.
        probabilities: Each class's, float32 (classes,); of a detector or segmenter that at its best place.
        outputs: The model's own outputs by name; they hold until the model sees another frame.
        number: Of the frame, counted by the explainer.
        timings: ms by stage.
    """

    frame: NDArray[np.uint8]
    placement: Placement
    tensor: NDArray[Any]
    classes: list[ClassScore]
    probabilities: NDArray[np.float32]
    outputs: Mapping[str, NDArray[Any]]
    number: int
    timings: dict[str, float] = field(default_factory=dict)
