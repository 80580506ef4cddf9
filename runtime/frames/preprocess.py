"""From a frame to the model's input tensor, as the manifest says, and back from tensor to frame coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.geometry import Geometry
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.opencv import INTERPOLATIONS, cv2


class Placement(Geometry):
    """Says where a frame lies in the input tensor, and moves maps from the one to the other; see `Geometry`."""

    def cut(self, tensor_map: NDArray[Any]) -> NDArray[Any]:
        """Return the part of a (H, W) map in tensor geometry that is frame; a view."""
        top, left, bottom, right = self.seen
        return tensor_map[top:bottom, left:right]

    def place(self, tensor_map: NDArray[Any]) -> NDArray[Any]:
        """Return a (H, W) map in tensor geometry as one over the frame, 0 where the model does not see the frame."""
        top, left, bottom, right = self.region
        inside = cv2.resize(self.cut(tensor_map), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        if inside.shape == self.frame_size:
            return inside
        whole = np.zeros(self.frame_size, tensor_map.dtype)
        whole[top:bottom, left:right] = inside
        return whole


class Preprocessor:
    """Turns frames into input tensors: one resize in uint8, one pass through a table to float32.

    The tensor that a call returns is reused by the next call.
    """

    def __init__(self, rule: Preprocess) -> None:
        """Prepare tables and buffers.

        Args:
            rule: The manifest's.
        """
        self.rule = rule
        height, width = rule.size
        levels = np.arange(256, dtype=np.float64)
        self._tables = [
            ((levels - mean) / std).astype(np.float32).reshape(1, 256)
            for mean, std in zip(rule.mean, rule.std, strict=True)
        ]
        self._last = rule.layout == "NHWC"
        self._tensor = np.zeros(rule.shape, np.float32)
        self._table = np.stack(self._tables, axis=-1)
        self._plane = np.zeros((height, width), np.uint8)
        self._order = {"RGB": (2, 1, 0), "BGR": (0, 1, 2), "GRAY": (0,)}[rule.color]
        self._interpolation = INTERPOLATIONS[rule.interpolation]
        self._placement: Placement | None = None

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Placement]:
        """Turn one frame into the input tensor.

        Args:
            frame: uint8, (H, W, 3) in BGR; for a model that takes GRAY also (H, W).

        Returns:
            The tensor, float32 (1, C, H, W) or (1, H, W, C), reused by the next call; and where in the frame it lies.

        Raises:
            UsageError: The frame has another type or number of channels, or is too narrow for the centre crop.
        """
        frame = self._checked(frame)
        place = self._placement
        if place is None or place.frame_size != frame.shape[:2]:
            place = self._placement = Placement.of(self.rule, (frame.shape[0], frame.shape[1]))
        picture = self._fitted(frame, place)
        if self._last:
            self._fill_channels_last(picture)
            return self._tensor, place
        for channel, (source, table) in enumerate(zip(self._order, self._tables, strict=True)):
            plane = picture if picture.ndim == 2 else cv2.extractChannel(picture, source, self._plane)
            cv2.LUT(plane, table, self._tensor[0, channel])
        return self._tensor, place

    def _fill_channels_last(self, picture: NDArray[np.uint8]) -> None:
        """Fill all channels in one pass: a table with as many channels, over a picture in the model's order."""
        if self.rule.color == "RGB":
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        cv2.LUT(picture, self._table, self._tensor[0])

    def _checked(self, frame: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the frame, in grey where the model takes grey, if it is one that the model can take."""
        gray = self.rule.color == "GRAY"
        channels = 1 if frame.ndim == 2 else frame.shape[2] if frame.ndim == 3 else 0
        if frame.dtype != np.uint8 or channels not in ((1, 3) if gray else (3,)) or 0 in frame.shape:
            raise UsageError(
                f"frame: got {frame.dtype} {frame.shape}, expected uint8 (H, W, 3) in BGR"
                f"{' or (H, W)' if gray else ''}; convert it with cv2.cvtColor"
            )
        if not gray:
            return frame
        return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if channels == 3 else frame.reshape(frame.shape[:2])

    def _fitted(self, frame: NDArray[np.uint8], place: Placement) -> NDArray[np.uint8]:
        """Return the frame resized, then cropped or padded to the size of the tensor."""
        height, width = place.resized
        if (height, width) != frame.shape[:2]:
            frame = cv2.resize(frame, (width, height), interpolation=self._interpolation)
        top, left = place.offset
        rows, columns = self.rule.size
        if self.rule.resize == "crop":
            return frame[-top : rows - top, -left : columns - left]
        if (height, width) == (rows, columns):
            return frame
        borders = (top, rows - height - top, left, columns - width - left)
        return cv2.copyMakeBorder(frame, *borders, cv2.BORDER_CONSTANT, value=(self.rule.fill,) * 3)
