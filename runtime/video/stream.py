"""Streams: a video explained as it comes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from time import monotonic, perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.drawing.regions import RegionRule
from aerocam.runtime.explainer import Explainer
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.targets import Targets
from aerocam.runtime.results.record import jsonable, run_record
from aerocam.runtime.sessions.session import Run
from aerocam.runtime.video.background import WriteBehind
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.reading import Reading
from aerocam.runtime.video.sources.given import FrameSource


class FrameSink(Protocol):
    """Takes frames, such as a `VideoSink`."""

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Take a frame, uint8 (H, W, 3), BGR."""


@dataclass(frozen=True)
class Summary:
    """Says what `process` did.

    Attributes:
        frames: Number of frames explained and written.
        seconds: How long it took.
        warned: Number of frames whose explanation has a warning.
        stopped: Whether it was stopped before the source ended.
        skipped: Number of frames that were passed over, as newer ones were there.
        damaged: Number of frames that could not be decoded.
        lost: Why the source was lost and did not come back; empty where it was not.
    """

    frames: int
    seconds: float
    warned: int
    stopped: bool
    skipped: int = 0
    damaged: int = 0
    lost: str = ""


def process(
    source: FrameSource,
    explainer: Explainer,
    sink: FrameSink | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
    *,
    target: Targets | Objects = None,
    look: Look | None = None,
    every: int = 1,
    max_frames: int | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Explain the frames of a source.

    Frames are read and written in threads of their own, so that decoding and encoding go on while the model runs; order
    is kept and at most two frames wait on either side, one of a live source: its newest. Where the model runs beside
    the CPU it sees the next frame, if that is there, while this one's map and overlay are made. A source that is lost
    ends the stream, which `Summary.lost` says.

    Args:
        source: Where the frames come from.
        explainer: Explains them.
        sink: Where the overlays go; None makes none.
        record: Called with one JSON-able dict per frame, from the writing thread; see `frame_record`.
        target: What to explain; see `Explainer`.
        look: How the overlay looks.
        every: Explain every so many frames. On the others the model predicts only, which costs less where it is split
            into two files, and the last map and its targets stay.
        max_frames: Stop after so many.
        stop: Set it to stop after the frame in hand; all that was begun is written.
        progress: Called with the number of frames done, from the writing thread.

    Returns:
        What was done.

    Raises:
        AerocamError: A frame cannot be explained or written; frames that wait are then dropped.
    """
    stop = stop or threading.Event()
    look = look or Look()
    output = _Output(sink, record, progress, look.regions)
    started, last = perf_counter(), None
    with (
        WriteBehind(output.write) as writer,
        Reading(source, stop, every, max_frames) as frames,  # 1. read
        contextlib.closing(_predictions(frames, explainer, target)) as predictions,
    ):
        for frame, prediction in predictions:
            explanation = explainer.explain(prediction, target) if frame.due else _kept(prediction, last)  # 2. explain
            last = explanation
            explanation.timings = {"read": frame.read, **explanation.timings}
            _find_regions(explanation, look)
            picture = _overlay(explanation, look) if sink is not None else None
            writer.put((frame, explanation, picture))  # 3. write
    spent = perf_counter() - started
    return Summary(output.frames, spent, output.warned, stop.is_set(), frames.skipped, frames.damaged, frames.lost)


def _predictions(
    frames: Reading, explainer: Explainer, target: Targets | Objects
) -> Generator[tuple[Frame, Prediction], None, None]:
    """Yield what the model says of each frame. It is given the next one, if that waits, before this one is explained.

    A frame is never held back until the next one comes: on a live source that would delay every overlay.
    """

    def submit(frame: Frame) -> tuple[Frame, Run[Prediction]]:
        return frame, explainer.submit(frame.pixels, target if frame.due else None)

    ahead = explainer.looks_ahead(target)
    for first in frames:
        under_way: tuple[Frame, Run[Prediction]] | None = submit(first)
        while under_way is not None:
            frame, run = under_way
            prediction = run.result()
            following = frames.ready() if ahead else None
            under_way = submit(following) if following is not None else None
            yield frame, prediction


def _kept(prediction: Prediction, last: Explanation | None) -> Explanation:
    """Return the last explanation over a frame that the model only looks at; an overlay it drew is not of this one."""
    assert last is not None  # the first frame is explained
    return Explanation(prediction.detached(), replace(last.maps, drawn=None), last.recipe, prediction.timings)


def frame_record(frame: Frame, explanation: Explanation, regions: RegionRule | None = None) -> dict[str, Any]:
    """Return one frame's record, ready for JSON.

    Frame number, time in s, when it was captured (Unix time, s) and its age now in s, frames passed over and damaged
    before it, whether the frame was explained itself, targets, classes, ms by stage, warnings.

    Args:
        frame: The frame.
        explanation: The one that is shown with it.
        regions: The rule of the regions that targets have; None: none.
    """
    return jsonable(
        {
            "frame": frame.number,
            "time": round(frame.time, 6),
            "captured": round(frame.captured, 6),
            "age": round(monotonic() - frame.arrived, 6),
            "skipped": frame.skipped,
            "damaged": frame.damaged,
            "explained": frame.due,
            "targets": explanation.target_records(regions),
            "classes": [asdict(class_) for class_ in explanation.classes],
            **run_record(explanation.timings, explanation.warnings),
        }
    )


@dataclass
class _Output:
    """Writes overlays to the sink, and records, and counts."""

    sink: FrameSink | None
    record: Callable[[dict[str, Any]], None] | None
    progress: Callable[[int], None] | None
    regions: RegionRule | None
    frames: int = 0
    warned: int = 0

    def write(self, done: tuple[Frame, Explanation, NDArray[np.uint8] | None]) -> None:
        """Write one frame: its explanation, and the overlay if one is wanted."""
        frame, explanation, picture = done
        if self.sink is not None and picture is not None:
            started = perf_counter()
            self.sink.write(picture)
            explanation.timings["write"] = 1e3 * (perf_counter() - started)
        if self.record is not None:
            self.record(frame_record(frame, explanation, self.regions))
        self.frames += 1
        self.warned += bool(explanation.warnings)
        if self.progress is not None:
            self.progress(self.frames)


def _find_regions(explanation: Explanation, look: Look) -> None:
    """Find the regions that are wanted, their time noted."""
    if look.regions is not None:
        started = perf_counter()
        explanation.regions(look.regions)
        explanation.timings["regions"] = 1e3 * (perf_counter() - started)


def _overlay(explanation: Explanation, look: Look) -> NDArray[np.uint8]:
    """Return the overlay, its time noted."""
    started = perf_counter()
    picture = explanation.overlay(look.alpha, look.colormap, look.caption, regions=look.regions)
    explanation.timings["overlay"] = 1e3 * (perf_counter() - started)
    return picture
