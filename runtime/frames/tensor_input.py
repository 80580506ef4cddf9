"""Input tensors that are explained as they are, without a frame: what a metric masks, blurs or adds noise to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.placement import Placement


def model_input(tensor: NDArray[Any], rule: Preprocess, path: str) -> NDArray[np.float32]:
    """A tensor in the layout that the model takes.

    Args:
        tensor: Normalised pixels, float (1, C, H, W) whatever the model's layout.
        rule: The manifest's.
        path: The model's, for the message.

    Raises:
        UsageError: Another shape, or a model that takes frames only.
    """
    shape = (1, len(rule.mean), *rule.size)
    if rule.frame is not None:
        raise UsageError(f"{path}: it takes frames, a tensor cannot be given; export the model again without --frame")
    if tensor.shape != shape:
        raise UsageError(f"tensor: got shape {tensor.shape}, {path} takes {shape}, normalised; resize it")
    ordered = tensor if rule.layout == "NCHW" else np.moveaxis(tensor, 1, 3)
    return np.ascontiguousarray(ordered, np.float32)


def whole(rule: Preprocess) -> Placement:
    """The placement of a frame that is the input tensor, pixel by pixel."""
    return Placement(rule.size, rule.size, rule.size, (0, 0))


def as_frame(tensor: NDArray[Any], rule: Preprocess) -> NDArray[np.uint8]:
    """The picture that a tensor (1, C, H, W) shows, uint8 (H, W, 3) in BGR, or (H, W): normalisation undone, rounded.

    What lies outside 0 to 255 is cut off, NaN is black.
    """
    scale = (len(rule.mean), 1, 1)
    pixels = tensor[0] * np.reshape(rule.std, scale) + np.reshape(rule.mean, scale)
    picture = np.rint(np.clip(np.nan_to_num(pixels, nan=0.0), 0, 255)).astype(np.uint8)
    if rule.color == "GRAY":
        return picture[0]
    return np.ascontiguousarray(np.moveaxis(picture[::-1] if rule.color == "RGB" else picture, 0, 2))
