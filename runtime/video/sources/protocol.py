"""What a reader is: it gives the pictures of one kind of source as they come, and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
from aerocam.runtime.frames.pictures import MOST_PIXELS

DEFAULT_FPS = 25.0
"""Taken where a source does not say its own."""


@dataclass(frozen=True)
class Picture:
    """Holds what one read gave.

    Attributes:
        pixels: uint8 (H, W, 3), BGR, a new array each time; None where the picture could not be decoded.
        stamp: The container's time stamp from its begin on, s; None where it has none.
    """

    pixels: NDArray[np.uint8] | None
    stamp: float | None = None


DAMAGED = Picture(None)


def require_size(name: str, width: int, height: int) -> None:
    """Refuse frames of more px than a picture may have; what a source announces of itself is asked, before any is read.

    Raises:
        MediaError: They have more than `MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise MediaError(f"{name}: found frames of {width}x{height} px, at most {MOST_PIXELS} px are read")


class Reader(Protocol):
    """Reads an open source; making one opens it. It is used and closed by one thread, which it may block.

    Attributes:
        live: Whether its pictures come as they happen: what is not read in time is late.
        fps: Frames per second, as far as the source says.
        count: Number of frames as the source announces it; 0 where it has no end or does not say.
    """

    live: bool
    fps: float
    count: int

    def read(self) -> Picture | None:
        """Return the next picture, or None where the source ends as it announced.

        Raises:
            SourceLostError: The source ended or failed without having announced that.
        """

    def close(self) -> None:
        """Let the source go."""
