"""Stability in time: whether a map moves more from frame to frame than the picture does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.metrics.registry import mean
from aerocam.benchmarks.evaluation.mosaics import seen
from aerocam.benchmarks.evaluation.similarity import pearson
from aerocam.errors import UsageError
from aerocam.runtime import Explainer
from aerocam.runtime.frames.opencv import cv2


@dataclass(frozen=True)
class Stability:
    """Consecutive frames compared.

    Attributes:
        maps: Mean Pearson correlation of consecutive maps over the model's input.
        frames: The same of what the model sees of the frames, in grey.
        pairs: How many pairs are in both means: in the others a map or a frame is constant.
        constant: How many pairs were left out for that.
    """

    maps: float
    frames: float
    pairs: int
    constant: int

    @property
    def relative(self) -> float:
        """Maps / frames: 1 where maps change as the picture does, below 1 where they change more.

        NaN of frames without any likeness: there is nothing that a map could keep.
        """
        return self.maps / self.frames if self.frames > 0 else math.nan


def stability_in_time(
    explainer: Explainer, frames: Iterable[NDArray[np.uint8]], target: int | None = None
) -> Stability:
    """Explain one class on every frame of a sequence.

    Args:
        explainer: Of a classifier that takes tensors.
        frames: Consecutive frames, uint8 (H, W, 3) in BGR.
        target: The class; None: the top class of the first frame, throughout. A class that changes would change the
            map for another reason.

    Raises:
        UsageError: There are fewer than two frames.
    """
    rule = explainer.manifest.preprocess
    assert rule is not None
    before: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    pairs: list[tuple[float, float]] = []
    for frame in frames:
        said = explainer.predict(frame)
        target = int(said.probabilities.argmax()) if target is None else target
        now = explainer.explain(said, target).tensor_map[0], _gray(seen(frame, rule))
        if before is not None:
            pairs.append((pearson(before[0], now[0]), pearson(before[1], now[1])))
        before = now
    if not pairs:
        raise UsageError("stability in time: found fewer than two frames, two or more are expected")
    good = [pair for pair in pairs if np.isfinite(pair).all()]
    maps, pictures = ([pair[place] for pair in good] for place in (0, 1))
    return Stability(mean(maps), mean(pictures), len(good), len(pairs) - len(good))


def _gray(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    gray = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return np.asarray(gray, np.float32)
