"""Where a frame lies in the input tensor: the way back from tensor to frame coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.geometry import Box, Geometry, Size
from aerocam.runtime.frames.opencv import cv2

__all__ = ["Box", "Placement", "Size"]


class Placement(Geometry):
    """How one frame size meets the model's input size; see `Geometry`. Moves maps from the one to the other."""

    def cut(self, tensor_map: NDArray[Any]) -> NDArray[Any]:
        """The part of a (H, W) map in tensor geometry that is frame; a view."""
        top, left, bottom, right = self.seen
        return tensor_map[top:bottom, left:right]

    def place(self, tensor_map: NDArray[Any]) -> NDArray[Any]:
        """A (H, W) map in tensor geometry as one in frame geometry, 0 where the model does not see the frame."""
        top, left, bottom, right = self.region
        inside = cv2.resize(self.cut(tensor_map), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        if inside.shape == self.frame_size:
            return inside
        whole = np.zeros(self.frame_size, tensor_map.dtype)
        whole[top:bottom, left:right] = inside
        return whole
