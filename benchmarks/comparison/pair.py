"""Two networks that are compared frame by frame: the frames, the figures of each, and what they say together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.similarity import Consistency, consistency, mass_inside
from aerocam.errors import UsageError
from aerocam.geometry import Box
from aerocam.runtime import Explainer, Explanation
from aerocam.runtime.frames.pictures import MOST_PIXELS, read_picture
from aerocam.runtime.predictions.targets import Target, TargetLike
from aerocam.runtime.results.record import jsonable
from aerocam.runtime.video.source import VideoSource


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video, or a picture.

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
    """Yield every `every`-th frame of a video, `most` frames at most."""
    for count, frame in enumerate(source.frames()):
        if most is not None and count // every >= most:
            return
        if count % every == 0:
            yield Frame(frame.number, f"{frame.time:.2f} s", frame.time, frame.pixels)


def of_pictures(
    paths: Sequence[str], every: int = 1, most: int | None = None, max_pixels: int = MOST_PIXELS
) -> Iterator[Frame]:
    """Yield every `every`-th picture, `most` pictures at most, each of `max_pixels` at most.

    Raises:
        MediaError: A file cannot be read as a picture.
    """
    for number, path in list(enumerate(paths))[::every][:most]:
        yield Frame(number, path, None, read_picture(path, max_pixels=max_pixels))


@dataclass(frozen=True, eq=False)
class Compared:
    """A frame as both networks see it.

    Attributes:
        frame: The frame.
        first: Of the first network.
        second: Of the second, for the same target.
        maps: How like their maps are, where the frame is seen.
        box: (x0, y0, x1, y1) in px of the frame, or None.
        inside: The share of each map's mass in the box; None without one.
    """

    frame: Frame
    first: Explanation
    second: Explanation
    maps: Consistency
    box: Box | None
    inside: tuple[float, float] | None

    @property
    def agree(self) -> bool:
        """Whether both have the same top class."""
        return self.first.classes[0].index == self.second.classes[0].index

    def values(self) -> dict[str, float]:
        """Return the figures by name."""
        figures = asdict(self.maps)
        if self.inside is not None:
            a, b = self.inside
            figures |= {"inside_a": a, "inside_b": b, "inside_change": b - a}
        return figures

    def record(self) -> dict[str, Any]:
        """Return the frame's record, ready for JSON; numbers that are not finite are None."""
        target = self.first.target
        record: dict[str, Any] = jsonable(
            {
                "frame": self.frame.number,
                "name": self.frame.name,
                "time": self.frame.time,
                "target": {"index": target.index, "label": target.label, "anchor": target.anchor},
                "score_a": target.score,
                "score_b": self.second.target.score,
                "top_a": asdict(self.first.classes[0]),
                "top_b": asdict(self.second.classes[0]),
                "top_agrees": self.agree,
                **self.values(),
                "box": self.box,
                "warnings_a": self.first.warnings,
                "warnings_b": self.second.warnings,
            }
        )
        return record


class Pair:
    """Two networks that have the same task and the same classes."""

    def __init__(self, first: Explainer, second: Explainer, target: TargetLike = None, box: Box | None = None) -> None:
        """Check that two networks can be compared.

        Args:
            first: The network whose target is explained by both.
            second: The other.
            target: What to explain: by default the first network's top class, frame by frame.
            box: (x0, y0, x1, y1) in px of the frame, edges; None: of a detector, the first one's own box.

        Raises:
            UsageError: The networks cannot be compared, or have no such target.
        """
        _check_alike(first, second)
        first.check(target)
        self._first, self._second, self._target, self._box = first, second, target, box

    def __call__(self, frame: Frame) -> Compared:
        """Explain a frame by both.

        Raises:
            UsageError: One of the networks cannot take the frame.
            ModelError: An engine failed.
        """
        first = self._first(frame.pixels, self._target)
        second = self._second(frame.pixels, self._same(first.target))
        maps: list[Floats] = [first.map[0], second.map[0]]
        box = self._box or first.target.box
        inside = None if box is None else (mass_inside(maps[0], box), mass_inside(maps[1], box))
        return Compared(frame, first, second, consistency(*_seen(first, second, maps)), box, inside)

    def _same(self, target: Target) -> TargetLike:
        """Return the first network's target for the second: at the same anchor if both have as many, else the best."""
        alike = self._first.manifest.score.anchors == self._second.manifest.score.anchors
        return target.index if target.anchor is None or not alike else (target.index, target.anchor)


def _seen(first: Explanation, second: Explanation, maps: list[Floats]) -> list[Floats]:
    """Cut the maps to the part of the frame that at least one network sees; elsewhere both are always 0."""
    a, b = first.placement.region, second.placement.region
    (top, left), (bottom, right) = map(min, a[:2], b[:2]), map(max, a[2:], b[2:])
    return [one[top:bottom, left:right] for one in maps]


def _check_alike(first: Explainer, second: Explainer) -> None:
    """Check that a target of the one is a target of the other, and that one method explains both.

    Raises:
        UsageError: Tasks, classes, labels or methods differ.
    """
    a, b = (os.path.basename(one.session.path) for one in (first, second))
    ours, theirs = first.manifest, second.manifest
    if ours.task != theirs.task:
        raise UsageError(
            f"{b}: its task is {theirs.task}, that of {a} is {ours.task}; compare two versions of one network"
        )
    if ours.score.classes != theirs.score.classes:
        raise UsageError(
            f"{b}: it has {theirs.score.classes} classes, {a} has {ours.score.classes}; the same classes are expected,"
            " compare two versions of one network"
        )
    different = [i for i, pair in enumerate(zip(ours.labels, theirs.labels, strict=False)) if pair[0] != pair[1]]
    if different:
        i = different[0]
        raise UsageError(
            f"{b}: its class {i} is '{theirs.labels[i]}', in {a} '{ours.labels[i]}'; the same classes are expected,"
            " export both with the same labels"
        )
    if first.method != second.method:
        raise UsageError(
            f"{b}: it is explained by {second.method}, {a} by {first.method}, one method is expected for both; name"
            " it with --method, or export both with the same --head"
        )


WORST_IS_HIGHEST = frozenset({"shift"})
"""Figures whose highest value is the worst; of all others it is the lowest."""


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the figures of all records: mean, quartiles and worst of each, and how often the top classes agree.

    Returns:
        Ready for JSON. `frames` of a figure is the number of frames that have it: a map of zeros has no centre.
    """
    figures = ("correlation", "overlap", "shift", "inside_a", "inside_b", "inside_change")
    summaries: dict[str, Any] = {
        "frames": len(records),
        "top_class_agreement": sum(one["top_agrees"] for one in records) / len(records) if records else None,
    }
    for name in figures:
        values = [one[name] for one in records if one.get(name) is not None]
        if values:
            summaries[name] = _spread(name, values)
    return summaries


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return mean, worst and quartiles of one figure."""
    assert all(map(math.isfinite, values))
    low, middle, high = np.percentile(values, (25, 50, 75))
    worst = max(values) if name in WORST_IS_HIGHEST else min(values)
    return {
        "mean": float(np.mean(values)),
        "worst": float(worst),
        "quartile_1": float(low),
        "median": float(middle),
        "quartile_3": float(high),
        "frames": len(values),
    }
