"""The frames that moved most, as pictures, kept while the others pass by."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.comparison.pair import Compared
from aerocam.runtime.drawing.overlay import WHITE, draw_box
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.results.sheet import fitted

SIDE, QUALITY = 480, 75
"""Longest side of a picture on the page, px; quality of its JPEG, 0 to 100."""


@dataclass(frozen=True)
class Moved:
    """A frame among those that moved most.

    Attributes:
        record: Its record.
        pictures: The overlays of both networks, JPEG in base64, with width and height in px.
    """

    record: dict[str, Any]
    pictures: tuple[tuple[str, int, int], tuple[str, int, int]]


class MovedMost:
    """Keeps the frames whose centre of mass moved furthest, no two of one stretch: a video's neighbours are alike."""

    def __init__(self, most: int, stretch: float) -> None:
        """Keep none yet.

        Args:
            most: How many.
            stretch: Of how many frame numbers at most one is kept.
        """
        self._most, self._stretch = most, stretch
        self._kept: dict[int, Moved] = {}

    def add(self, compared: Compared, record: dict[str, Any]) -> None:
        """Take a frame, if it moved further than one that is kept."""
        stretch, moved = int(compared.frame.number // self._stretch), distance(record)
        rival = self._kept.get(stretch)
        if rival is None and len(self._kept) == self._most:
            stretch_of_least = min(self._kept, key=lambda key: distance(self._kept[key].record))
            if moved > distance(self._kept[stretch_of_least].record):
                del self._kept[stretch_of_least]
            else:
                return
        if rival is None or moved > distance(rival.record):
            self._kept[stretch] = Moved(record, (_picture(compared, 0), _picture(compared, 1)))

    @property
    def frames(self) -> list[Moved]:
        """The frames kept, the one that moved furthest first."""
        return sorted(self._kept.values(), key=lambda one: -distance(one.record))


def distance(record: dict[str, Any]) -> float:
    """Return how far a frame's map moved, px; infinite if only one network has a map, 0 if neither has."""
    if record["shift"] is not None:
        return float(record["shift"])
    return 0.0 if record["overlap"] is None else math.inf


def _picture(compared: Compared, which: int) -> tuple[str, int, int]:
    explanation = (compared.first, compared.second)[which]
    overlay: NDArray[np.uint8] = explanation.overlay(caption=False)
    if compared.box is not None:
        draw_box(overlay, compared.box, WHITE)
    small = fitted(overlay, (SIDE, SIDE)) if max(overlay.shape[:2]) > SIDE else overlay
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return base64.b64encode(coded).decode(), small.shape[1], small.shape[0]
