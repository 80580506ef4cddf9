"""From a frame to the model's input tensor, as the manifest says, and back from tensor to frame coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.antialiasing import REACH
from aerocam.errors import UsageError
from aerocam.geometry import Geometry
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.antialiased import AntialiasedResize
from aerocam.runtime.frames.opencv import INTERPOLATIONS, MOST_CHANNELS, cv2


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
    """Turns frames into input tensors: one resize, and of uint8, which stays so until then, one pass through a table.

    The tensor that a call returns is reused by the next call.
    """

    def __init__(self, rule: Preprocess) -> None:
        """Prepare tables and buffers.

        Args:
            rule: The manifest's.
        """
        self.rule = rule
        levels = np.arange(256, dtype=np.float64)
        self._tables = [
            ((levels - mean) / std).astype(np.float32).reshape(1, 256)
            for mean, std in zip(rule.mean, rule.std, strict=True)
        ]
        self._last = rule.layout == "NHWC"
        self._tensor = np.zeros(rule.shape, np.float32)
        self._table = np.stack(self._tables, axis=-1)
        self._plane = np.zeros(rule.size, np.uint8)
        self._order = {"RGB": (2, 1, 0), "BGR": (0, 1, 2)}.get(rule.color, tuple(range(len(rule.mean))))
        self._placement: Placement | None = None

    def __call__(self, frame: NDArray[Any]) -> tuple[NDArray[np.float32], Placement]:
        """Turn one frame into the input tensor.

        Args:
            frame: uint8, uint16 or float32 (see `Preprocess.units`), (H, W, 3) in BGR; for a model that takes GRAY also
                (H, W), for one that takes BANDS (H, W, C).

        Returns:
            The tensor, float32 (1, C, H, W) or (1, H, W, C), reused by the next call; and where in the frame it lies.

        Raises:
            UsageError: The frame has another type or number of channels, or is too narrow for the centre crop.
        """
        frame = self._checked(frame)
        place = self._placement
        if place is None or place.frame_size != frame.shape[:2]:
            place = self._placement = Placement.of(self.rule, (frame.shape[0], frame.shape[1]))
            self._resize = self._resize_to(place)
        picture = self._fitted(frame, place)
        if picture.dtype != np.uint8:
            self._fill_by_arithmetic(picture)
        elif self._last:
            self._fill_channels_last(picture)
        else:
            for channel, (source, table) in enumerate(zip(self._order, self._tables, strict=True)):
                plane = picture if picture.ndim == 2 else cv2.extractChannel(picture, source, self._plane)
                cv2.LUT(plane, table, self._tensor[0, channel])
        return self._tensor, place

    def _fill_channels_last(self, picture: NDArray[np.uint8]) -> None:
        """Fill all channels in one pass: a table with as many channels, over a picture in the model's order."""
        if self.rule.color == "RGB":
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        cv2.LUT(picture, self._table, self._tensor[0])

    def _fill_by_arithmetic(self, picture: NDArray[np.float32]) -> None:
        """Fill the tensor with (x - mean) / std of a picture of floats."""
        ordered = np.atleast_3d(picture)[..., self._order]
        tensor = self._tensor[0] if self._last else self._tensor[0].transpose(1, 2, 0)
        np.subtract(ordered, np.array(self.rule.mean, np.float32), out=tensor)
        tensor /= np.array(self.rule.std, np.float32)

    def _checked(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the frame, if it is one that the model can take: in uint8 or float32, in grey where it takes grey."""
        rule = self.rule
        gray, bands = rule.color == "GRAY", len(rule.mean)
        channels = 1 if frame.ndim == 2 else frame.shape[2] if frame.ndim == 3 else 0
        takes = frame.dtype in ("uint8", "uint16") if rule.units == "levels" else frame.dtype.kind in "uif"
        if not takes or channels not in ((1, 3) if gray else (bands,)) or 0 in frame.shape:
            types = "uint8 or uint16" if rule.units == "levels" else "numbers"
            shape = f"(H, W, {bands})" if rule.color == "BANDS" else "(H, W, 3) in BGR"
            floats = frame.dtype.kind == "f" and "; floats have no highest level: export with `units='own'`"
            raise UsageError(
                f"frame: got {frame.dtype} {frame.shape}, expected {types} {shape}"
                f"{' or (H, W)' if gray else ''}{floats or '; convert it'}"
            )
        if frame.dtype != np.uint8:
            scale = 255 / 65535 if rule.units == "levels" else 1.0
            frame = np.multiply(frame, np.float32(scale), dtype=np.float32)
        if not gray:
            return frame
        return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if channels == 3 else frame.reshape(frame.shape[:2])

    def _resize_to(self, place: Placement) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Return what resizes frames and gives the part that is in the tensor."""
        (above, before), (top, left, bottom, right) = place.offset, place.seen
        part = (top - above, left - before, bottom - above, right - before)
        if place.resized != place.frame_size and self.rule.interpolation in REACH:
            return AntialiasedResize(place.frame_size, place.resized, self.rule.interpolation, part)
        rows, columns = slice(*part[0::2]), slice(*part[1::2])
        if place.resized == place.frame_size:
            return lambda frame: frame[rows, columns]
        return lambda frame: _resized(frame, place.resized, self.rule.interpolation)[rows, columns]

    def _fitted(self, frame: NDArray[Any], place: Placement) -> NDArray[Any]:
        """Return the frame resized, then cropped or padded to the size of the tensor."""
        picture = self._resize(frame)
        (top, left, bottom, right), (rows, columns) = place.seen, self.rule.size
        if picture.shape[:2] == (rows, columns):
            return picture
        borders = (top, rows - bottom, left, columns - right)
        if picture.ndim == 2 or picture.shape[2] <= MOST_CHANNELS:
            return cv2.copyMakeBorder(picture, *borders, cv2.BORDER_CONSTANT, value=(self.rule.fill,) * 4)
        canvas = np.full((rows, columns, *picture.shape[2:]), self.rule.fill, picture.dtype)
        canvas[top:bottom, left:right] = picture
        return canvas


def _resized(frame: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[Any]:
    """Resize by OpenCV, of whose rules some take `MOST_CHANNELS` at most."""
    how = {"dsize": size[::-1], "interpolation": INTERPOLATIONS[interpolation]}
    if frame.ndim == 2 or frame.shape[2] <= MOST_CHANNELS:
        return cv2.resize(frame, **how)
    return np.dstack([cv2.resize(np.ascontiguousarray(frame[..., i]), **how) for i in range(frame.shape[2])])
