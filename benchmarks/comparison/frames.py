"""The frames that are compared on: a video's, or the pictures of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.frames.pictures import read_picture
from aerocam.runtime.video.source import VideoSource


@dataclass(frozen=True, eq=False)
class Frame:
    """One of them.

    Attributes:
        number: Its place in the source, from 0.
        name: How it is shown: its time, or the picture's name.
        time: In the video, s; None for a picture.
        pixels: uint8 (H, W, 3), BGR.
    """

    number: int
    name: str
    time: float | None
    pixels: NDArray[np.uint8]


def of_video(source: VideoSource, every: int = 1, most: int | None = None) -> Iterator[Frame]:
    """Every so many frames of a video, at most so many."""
    for number, pixels in enumerate(source):
        if most is not None and number // every >= most:
            return
        if number % every == 0:
            time = number / source.fps
            yield Frame(number, f"{time:.2f} s", time, pixels)


def of_pictures(paths: Sequence[str], every: int = 1, most: int | None = None) -> Iterator[Frame]:
    """The same of pictures.

    Raises:
        MediaError: One of them is none.
    """
    for number, path in list(enumerate(paths))[::every][:most]:
        yield Frame(number, path, None, read_picture(path))
