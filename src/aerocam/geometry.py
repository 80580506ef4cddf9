"""Where a frame lies in the input tensor, in numbers: what preprocessing computes, in the graph or beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess

Size = tuple[int, int]
"""(height, width) in px."""

MOST_RESIZED = 100_000_000
"""Pixels of a frame once it is resized for a centre crop: that of a long and narrow one grows."""

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in px, edges, so that x1 - x0 is the width."""

Point = tuple[float, float]
"""x, y in px."""

Self = TypeVar("Self", bound="Geometry")


@dataclass(frozen=True)
class Geometry:
    """How one frame size meets the model's input size.

    Attributes:
        frame_size: Size of the frame.
        tensor_size: Size of the input tensor.
        resized: Size of the frame after the resize, before crop or padding.
        offset: (top, left) of the resized frame in the tensor, in px; negative where it was cropped.
    """

    frame_size: Size
    tensor_size: Size
    resized: Size
    offset: tuple[int, int]

    @classmethod
    def of(cls: type[Self], preprocess: Preprocess, frame_size: Size) -> Self:
        """Place a frame of this size in the tensor, by the manifest's preprocessing.

        Rounding is torchvision's for `crop` (`Resize`, then `CenterCrop`) and Ultralytics' for `letterbox`.

        Raises:
            UsageError: The frame, with its short side resized, does not cover the centre crop, or is huge.
        """
        (height, width), (rows, columns) = frame_size, preprocess.size
        if preprocess.resize == "stretch":
            return cls(frame_size, preprocess.size, preprocess.size, (0, 0))
        if preprocess.resize == "letterbox":
            scale = min(rows / height, columns / width)
            resized = max(round(height * scale), 1), max(round(width * scale), 1)
            offset = round((rows - resized[0]) / 2 - 0.1), round((columns - resized[1]) / 2 - 0.1)
            return cls(frame_size, preprocess.size, resized, offset)
        short = min(frame_size)
        resized = preprocess.short_side * height // short, preprocess.short_side * width // short
        if resized[0] * resized[1] > MOST_RESIZED:
            raise UsageError(
                f"frame of {width}x{height} px: with its short side at {preprocess.short_side} px it is"
                f" {resized[1]}x{resized[0]}, at most {MOST_RESIZED} px are made; cut the frame first"
            )
        if resized[0] < rows or resized[1] < columns:
            raise UsageError(
                f"frame of {width}x{height} px: with its short side at {preprocess.short_side} px it is"
                f" {resized[1]}x{resized[0]}, smaller than the centre crop of {columns}x{rows};"
                " export again with a larger short side or another resize rule"
            )
        offset = -round((resized[0] - rows) / 2), -round((resized[1] - columns) / 2)
        return cls(frame_size, preprocess.size, resized, offset)

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the tensor's part that is frame, not padding, in tensor px."""
        (top, left), (height, width), (rows, columns) = self.offset, self.resized, self.tensor_size
        return max(top, 0), max(left, 0), min(top + height, rows), min(left + width, columns)

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the frame's part that the tensor covers, in whole frame px."""
        top, left, bottom, right = self.seen
        x0, y0, x1, y1 = self.to_frame((left, top, right, bottom))
        return round(y0), round(x0), round(y1), round(x1)

    def to_frame(self, box: Box) -> Box:
        """Move a box from tensor px to frame px, cut to the frame."""
        (height, width), (top, left) = self.frame_size, self.offset
        x_scale, y_scale = width / self.resized[1], height / self.resized[0]
        x0, x1 = (min(max((x - left) * x_scale, 0.0), float(width)) for x in box[0::2])
        y0, y1 = (min(max((y - top) * y_scale, 0.0), float(height)) for y in box[1::2])
        return x0, y0, x1, y1

    def point_to_frame(self, x: float, y: float) -> Point:
        """Move a point from tensor px to frame px, also outside of the frame."""
        (height, width), (top, left) = self.frame_size, self.offset
        return (x - left) * (width / self.resized[1]), (y - top) * (height / self.resized[0])

    def to_tensor(self, box: Box) -> Box:
        """Move a box from frame px to tensor px, cut to the part of the tensor that is frame; it may be empty then."""
        (height, width), (top, left), (low, first, high, last) = self.frame_size, self.offset, self.seen
        x0, x1 = (min(max(x * self.resized[1] / width + left, float(first)), float(last)) for x in box[0::2])
        y0, y1 = (min(max(y * self.resized[0] / height + top, float(low)), float(high)) for y in box[1::2])
        return x0, y0, x1, y1
