"""Smoothings that any map can have: over its channels, over altered frames, over its positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.maps.contract import RawMaps

FACTORS = (0.9, 1.0, 1.1)
"""Of the altered input tensors, pytorch-grad-cam's."""


@dataclass(frozen=True)
class MapSmoothing:
    """How maps are smoothed; as they come by default.

    Attributes:
        eigen: `eigen_smooth` of pytorch-grad-cam: the weighted activations are shown on their first principal component
            instead of being summed. Of methods with weights only.
        augmented: `aug_smooth` of pytorch-grad-cam: the mean of six maps, of the input times 0.9, 1 and 1.1, each
            also mirrored left to right. The model runs six times. The target is chosen on the frame as it is.
        gaussian: Standard deviation of a Gaussian over the positive part of the map, in positions of the layer; or 0.
    """

    eigen: bool = False
    augmented: bool = False
    gaussian: float = 0.0

    def __post_init__(self) -> None:
        """Check the deviation.

        Raises:
            UsageError: It is negative or not finite.
        """
        if not 0 <= self.gaussian < math.inf:
            raise UsageError(
                f"`gaussian={self.gaussian}`: a standard deviation of 0 or more, in positions of the layer, is expected"
            )


def check_smoothing(smoothing: MapSmoothing, maps: RawMaps, rule: Preprocess) -> None:
    """Make sure that maps can be smoothed so.

    Args:
        smoothing: What is asked for.
        maps: The way to the raw maps.
        rule: How frames become the model's input.

    Raises:
        UsageError: They cannot.
    """
    if maps.form != "raw" and (smoothing.augmented or smoothing.gaussian):
        raise UsageError("`gaussian`, `augmented`: the file's map is normalised already; export it without `map_form`")
    if smoothing.augmented and maps.runs_again:
        raise UsageError(f"`augmented`: method {maps.method} runs the model again itself; take it without, or gradcam")
    if smoothing.augmented and rule.frame is not None:
        raise UsageError("`augmented`: it alters the input tensor, and the file takes frames; export without `frame`")


def altered(tensor: NDArray[np.float32], width_axis: int) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Yield the input tensor in five other ways, as `aug_smooth` has it, and whether each is mirrored.

    Args:
        tensor: float32, the frame's.
        width_axis: Its axis that runs from left to right.
    """
    for mirrored in (False, True):
        turned = np.flip(tensor, width_axis) if mirrored else tensor
        for factor in FACTORS:
            if mirrored or factor != 1:
                yield np.ascontiguousarray(turned * np.float32(factor)), mirrored
