"""Streams: a video explained as it comes."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from time import monotonic, perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError
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
from aerocam.runtime.video.events import Events
from aerocam.runtime.video.frame import Frame
from aerocam.runtime.video.reading import Reading
from aerocam.runtime.video.sources.given import FrameSource

logger = logging.getLogger(__name__)


class FrameSink(Protocol):
    """Takes frames, such as a `VideoSink`."""

    def write(self, frame: NDArray[np.uint8], time: float) -> None:
        """Take a frame, uint8 (H, W, 3), BGR, and its time in the video, s."""


@dataclass(frozen=True)
class Summary:
    """Says what `process` did.

    Attributes:
        frames: Number of frames explained.
        seconds: How long it took.
        warned: Number of frames whose explanation has a warning.
        stopped: Whether it was stopped before the source ended.
        skipped: Number of frames that were passed over, as newer ones were there.
        damaged: Number of frames that could not be decoded.
        lost: Why the source was lost and did not come back; empty where it was not.
        missed: Number of frames that the video or the records lack: they could not be written.
        events: How many of each kind there were, and how long they took together, s.
    """

    frames: int
    seconds: float
    warned: int
    stopped: bool
    skipped: int = 0
    damaged: int = 0
    lost: str = ""
    missed: int = 0
    events: Mapping[str, tuple[int, float]] = field(default_factory=dict)


def process(
    source: FrameSource,
    explainer: Explainer,
    sink: FrameSink | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
    *,
    target: Targets | Objects = None,
    look: Look | None = None,
    every: int = 1,
    least: float = 0.0,
    max_frames: int | None = None,
    events: Events | None = None,
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
        record: Called with one JSON-able dict per frame, see `frame_record`, and for each event when it begins and
            ends; from several threads, never from two at once.
        target: What to explain; see `Explainer`.
        look: How the overlay looks.
        every: Explain every so many frames. On the others the model predicts only, which costs less where it is split
            into two files: their targets and boxes are their own, the map is the last one.
        least: How sure a detector must be of its own choice, 0 to 1; of one less sure nothing is explained or drawn.
        max_frames: Stop after so many.
        events: Keeps the events; None: they are kept for the summary only.
        stop: Set it to stop after the frame in hand; all that was begun is written.
        progress: Called with the number of frames done, from the writing thread.

    Returns:
        What was done.

    Raises:
        AerocamError: A frame cannot be explained, or neither of sink and record can be written; what was explained
            before is written. Where one of the two can be, it goes on alone: an event, and `Summary.missed`.
    """
    stop = stop or threading.Event()
    look = look or Look()
    events = events or Events()
    output = _Output(sink, record, progress, look.regions, events)
    started, last = perf_counter(), None
    with (
        WriteBehind(output.write) as writer,
        Reading(source, stop, every, max_frames) as frames,  # 1. read
        contextlib.closing(_predictions(frames, explainer, target)) as predictions,
    ):
        for frame, prediction in predictions:
            due = frame.due or last is None
            if target is None and prediction.classes[0].score < least:
                explanation = explainer.nothing(prediction)
            elif last is None or frame.due:
                explanation = explainer.explain(prediction, target)  # 2. explain
            else:
                explanation = explainer.hold(prediction, last[1], target)
            if due:
                last = frame.number, explanation
            explanation.timings = {"read": frame.read, **explanation.timings}
            _find_regions(explanation, look)
            picture = _overlay(explanation, look) if sink is not None else None
            map_of = last[0] if last is not None and explanation.targets and last[1].targets else None
            writer.put((frame, explanation, picture, map_of))  # 3. write
    output.close()
    return Summary(
        output.frames,
        perf_counter() - started,
        output.warned,
        stop.is_set(),
        frames.skipped,
        frames.damaged,
        frames.lost,
        output.missed,
        events.summary(),
    )


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


def frame_record(
    frame: Frame, explanation: Explanation, regions: RegionRule | None = None, map_of: int | None = None
) -> dict[str, Any]:
    """Return one frame's record, ready for JSON; `recording/records.schema.json` says what is in it.

    Args:
        frame: The frame.
        explanation: What is shown with it.
        regions: The rule of the regions that targets have; None: none.
        map_of: Number of the frame that the map is of; None: there is none.
    """
    targets = explanation.target_records(regions)
    if explanation.held is None:
        extents = [None if one is None else asdict(one) for one in explanation.extents()]
        targets = [target | {"extent": one} for target, one in zip(targets, extents, strict=True)]
    return jsonable(
        {
            "type": "frame",
            "frame": frame.number,
            "time": round(frame.time, 6),
            "captured": round(frame.captured, 6),
            "age": round(monotonic() - frame.arrived, 6),
            "skipped": frame.skipped,
            "damaged": frame.damaged,
            "explained": explanation.held is None and bool(targets),
            "map_of": map_of,
            "targets": targets,
            "classes": [asdict(class_) for class_ in explanation.classes],
            **run_record(explanation.timings, explanation.warnings),
        }
    )


class _Output:
    """Writes overlays to the sink, and records, and counts. One of the two may fail while the other goes on."""

    def __init__(
        self,
        sink: FrameSink | None,
        record: Callable[[dict[str, Any]], None] | None,
        progress: Callable[[int], None] | None,
        regions: RegionRule | None,
        events: Events,
    ) -> None:
        self._sink, self._record, self._progress, self._regions = sink, record, progress, regions
        self._events, self._lock = events, threading.Lock()
        events.record = None if record is None else self._record_event
        self.frames = self.warned = self.missed = 0
        self._failing = False

    def write(self, done: tuple[Frame, Explanation, NDArray[np.uint8] | None, int | None]) -> None:
        """Write one frame: its explanation, and the overlay if one is wanted."""
        frame, explanation, picture, map_of = done
        problems: list[Exception] = []
        if self._sink is not None and picture is not None:
            started = perf_counter()
            with _noted(problems):
                self._sink.write(picture, frame.time)
            explanation.timings["write"] = 1e3 * (perf_counter() - started)
        if self._record is not None:
            with _noted(problems), self._lock:
                self._record(frame_record(frame, explanation, self._regions, map_of))
        if len(problems) == (self._sink is not None) + (self._record is not None) > 0:
            raise problems[0]
        if problems and not self._failing:
            logger.warning("%s", problems[0])
        self._failing = bool(problems)
        self._events("disk", self._failing, str(problems[0]) if problems else "")
        self._events.frame(frame.number)
        self.missed += bool(problems)
        self.frames += 1
        self.warned += bool(explanation.warnings)
        if self._progress is not None:
            self._progress(self.frames)

    def close(self) -> None:
        """End the events that are over."""
        self._events.close()

    def _record_event(self, record: dict[str, Any]) -> None:
        """Write an event; that it cannot be written shows with the next frame."""
        assert self._record is not None
        with _noted([]), self._lock:
            self._record(record)


@contextlib.contextmanager
def _noted(problems: list[Exception]) -> Iterator[None]:
    """Put what keeps something from being written into a list."""
    try:
        yield
    except (MediaError, OSError) as error:
        problems.append(error)


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
