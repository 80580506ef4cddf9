"""How the maps of each CAM method are brought to [0, 1]: what a graph that does so shares with the runtime."""

from __future__ import annotations

from typing import Literal

HeadNormalisation = Literal["minmax", "max"]

EPSILON = 1e-7
"""Added to the range under `minmax`, as pytorch-grad-cam does."""

_OTHERS: dict[str, HeadNormalisation] = {"cfcam": "max", "cfcam-published": "max"}


def normalisation_of(method: str) -> HeadNormalisation:
    """What follows the ReLU of a method: `minmax`, or `max` where the zero stays where it is."""
    return _OTHERS.get(method, "minmax")
