"""Reads frames that somebody else's object gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.video.sources.protocol import Picture


class FrameSource(Protocol):
    """Gives frames, such as a `VideoSource`.

    Attributes:
        fps: Frames per second.
        live: Whether its frames come as they happen.
    """

    fps: float
    live: bool

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames, uint8 (H, W, 3), BGR."""


class GivenFrames:
    """Reads the frames of an iterable; see `Reader`. Its end is a proper one, its errors are handed on."""

    count = 0

    def __init__(self, source: FrameSource) -> None:
        """Begin the iteration."""
        self.live, self.fps = source.live, source.fps
        self._frames = iter(source)

    def read(self) -> Picture | None:
        """Return the next frame."""
        pixels = next(self._frames, None)
        return None if pixels is None else Picture(pixels)

    def close(self) -> None:
        """Do nothing: the source is its owner's."""
