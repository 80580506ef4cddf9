"""How the maps of each CAM method are brought to [0, 1]: what a graph that does so shares with the runtime."""

from __future__ import annotations

from typing import Literal

HeadNormalisation = Literal["minmax", "max", "span"]

EPSILON = 1e-7
"""Added to the range under `minmax`, as pytorch-grad-cam does."""

_OTHERS: dict[str, HeadNormalisation] = {
    "cfcam": "max",
    "cfcam-published": "max",
    "reciprocam": "span",
}


def normalisation_of(method: str) -> HeadNormalisation:
    """What follows the ReLU of a method: `minmax`, or `max` where the zero stays where it is.

    `span`: there is no ReLU, the zero having no meaning; from the minimum to the maximum.
    """
    return _OTHERS.get(method, "minmax")
