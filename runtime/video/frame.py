"""`Frame`: a picture of a video, and when it was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """Holds a frame of a stream.

    Attributes:
        number: Its number in the source, from 0 on; frames that were passed over or damaged count.
        time: Its time in the video, s: the container's stamp where there is one, else s since the first frame came.
        pixels: uint8 (H, W, 3), BGR.
        captured: When it came from the source, Unix time, s.
        arrived: The same by the monotonic clock, s: what its age is reckoned from.
        skipped: Number of frames passed over right before it.
        damaged: Number of frames since the one before it that could not be decoded.
        read: What it took to read, ms.
        due: Whether it is explained itself; else the last explanation stays.
    """

    number: int
    time: float
    pixels: NDArray[np.uint8]
    captured: float
    arrived: float
    skipped: int = 0
    damaged: int = 0
    read: float = 0.0
    due: bool = True
