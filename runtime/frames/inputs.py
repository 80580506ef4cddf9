"""What a model is given: frames preprocessed or as they are, or input tensors without a frame."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.preprocess import Placement, Preprocessor


class Preparation(Protocol):
    """Makes of a frame what the model's input takes."""

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[NDArray[Any], Placement]:
        """Return the model's input, and where in the frame the tensor lies that it explains.

        Raises:
            UsageError: A frame that the model cannot take.
        """


def preparation(rule: Preprocess) -> Preparation:
    """Return the way from frames to a model's input, as its manifest says."""
    return Preprocessor(rule) if rule.frame is None else FrameInput(rule)


class FrameInput:
    """Hands frames on, once they are what the graph was made for."""

    def __init__(self, rule: Preprocess) -> None:
        """Take the size from the manifest's rule, which must have one."""
        assert rule.frame is not None
        self._shape = (*rule.frame, 3)
        self._gray = rule.color == "GRAY"
        self._place = Placement.of(rule, rule.frame)

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Placement]:
        """Return the frame, uint8 (H, W, 3) in BGR, not copied; a model that takes GRAY takes (H, W) too, a copy.

        Raises:
            UsageError: The frame has another type or size.
        """
        if self._gray and frame.dtype == np.uint8 and frame.shape == self._shape[:2]:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        if frame.dtype != np.uint8 or frame.shape != self._shape:
            height, width, _ = self._shape
            raise UsageError(
                f"frame: got {frame.dtype} {frame.shape}, the model takes uint8 {self._shape} in BGR alone; resize it"
                f" to {width}x{height} px, or export the model again with another `frame`, or without"
            )
        return frame, self._place


def require_array(value: object, name: str, expected: str) -> None:
    """Make sure that a caller has given a NumPy array.

    Args:
        value: What the caller has given.
        name: What it is called in the message.
        expected: Its type and shape, as the message says them.

    Raises:
        UsageError: It is something else, such as a path or a list.
    """
    if not isinstance(value, np.ndarray):
        raise UsageError(f"{name}: got a value of type {type(value).__name__}, expected a NumPy array, {expected}")


def model_input(tensor: NDArray[Any], rule: Preprocess, path: str) -> NDArray[np.float32]:
    """Return a tensor in the layout that the model takes.

    Args:
        tensor: Normalised pixels, float (1, C, H, W) whatever the model's layout.
        rule: The manifest's.
        path: The model's, for the message.

    Raises:
        UsageError: Another shape, or a model that takes frames only.
    """
    shape = (1, len(rule.mean), *rule.size)
    if rule.frame is not None:
        raise UsageError(f"{path}: it takes frames, a tensor cannot be given; export the model again without `frame`")
    if tensor.shape != shape:
        raise UsageError(f"tensor: got shape {tensor.shape}, {path} takes {shape}, normalised; resize it")
    ordered = tensor if rule.layout == "NCHW" else np.moveaxis(tensor, 1, 3)
    return np.ascontiguousarray(ordered, np.float32)


def whole(rule: Preprocess) -> Placement:
    """Return the placement of a frame that is the input tensor, pixel by pixel."""
    return Placement(rule.size, rule.size, rule.size, (0, 0))


def as_frame(tensor: NDArray[Any], rule: Preprocess) -> NDArray[np.uint8]:
    """Return the picture that a tensor (1, C, H, W) shows, uint8 (H, W, 3) in BGR, or (H, W).

    The normalisation is undone and values are rounded; what lies outside 0 to 255 is cut off, NaN is black.
    """
    scale = (len(rule.mean), 1, 1)
    pixels = tensor[0] * np.reshape(rule.std, scale) + np.reshape(rule.mean, scale)
    picture = np.rint(np.clip(np.nan_to_num(pixels, nan=0.0), 0, 255)).astype(np.uint8)
    if rule.color == "GRAY":
        return picture[0]
    return np.ascontiguousarray(np.moveaxis(picture[::-1] if rule.color == "RGB" else picture, 0, 2))
