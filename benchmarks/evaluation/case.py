"""What a metric sees: one picture, one class, one method's map, and the model to ask more of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.geometry import Box

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Truth:
    """The true place of the target, over the model's input tensor.

    Attributes:
        boxes: (x0, y0, x1, y1) each, in px: edges, x1 - x0 is the width.
        mask: bool (H, W), True on the object; None where only boxes are known.
        cells: Of a mosaic: how many cells it has along each side; 0 for a picture that is none.
        cell: Of a mosaic: which cell shows the target, counted by rows from 0.
    """

    boxes: tuple[Box, ...] = ()
    mask: NDArray[np.bool_] | None = None
    cells: int = 0
    cell: int = -1


@dataclass(frozen=True)
class Map:
    """A method's map of one target.

    Attributes:
        raw: float32 (h, w), at the layer's size, before ReLU and normalisation; of several layers the first one's;
            empty where the file has normalised it.
        map: float32 (H, W) in [0, 1], over the input tensor, as the runtime shows it; NaN all over where `raw`
            is not finite somewhere.
    """

    raw: Floats
    map: Floats


class Subject(Protocol):
    """A model under test with one method. Forward passes on the same tensor are run once, whoever asks.

    Attributes:
        classes: How many classes the model has.
        fill: float32 (C,), the normalised value of a black pixel, channel by channel.
    """

    classes: int
    fill: Floats

    def logits(self, tensors: Floats) -> Floats:
        """Return the scores before softmax or sigmoid, float32 (n, classes), of input tensors (n, C, H, W).

        Raises:
            UsageError: The graph ends in softmax, which leaves the logits open.
        """

    def probabilities(self, tensors: Floats) -> Floats:
        """Return the model's probabilities, float32 (n, classes), of input tensors (n, C, H, W)."""

    def explain(self, tensor: Floats, target: int) -> Map:
        """Return the method's map of a class on any input tensor (1, C, H, W)."""

    def explain_with_noise(self, tensor: Floats, target: int, share: float, seed: int) -> Map:
        """Return the map under Gaussian noise on the gradients, of `share` times their standard deviation.

        Raises:
            UsageError: The method reads no gradients, or they do not leave the graph.
        """


@dataclass(frozen=True)
class Case:
    """One picture, one target, one method.

    Attributes:
        subject: The model.
        tensor: float32 (1, C, H, W), what the model is given.
        target: The class that is explained.
        second: Another plausible class, -1 where there is none.
        maps: The method's map of the target.
        truth: Where the target is, as far as that is known.
        seed: Of all that is drawn at random for this picture; the same whichever process runs it.
    """

    subject: Subject
    tensor: Floats
    target: int
    maps: Map
    truth: Truth = Truth()
    second: int = -1
    seed: int = 0

    @property
    def map(self) -> Floats:
        """The normalised map, float32 (H, W) in [0, 1]."""
        return self.maps.map

    def probability(self, tensors: Floats) -> Floats:
        """Return the target's probability, float32 (n,), of input tensors (n, C, H, W)."""
        return self.subject.probabilities(tensors)[:, self.target]

    def logit(self, tensors: Floats) -> Floats:
        """Return the target's score before softmax, float32 (n,), of input tensors (n, C, H, W)."""
        return self.subject.logits(tensors)[:, self.target]
