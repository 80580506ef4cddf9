"""One picture, one model, several methods: every metric's value, or why there is none. What a process is given."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Floats, Truth
from aerocam.benchmarks.evaluation.metrics import Metric
from aerocam.benchmarks.evaluation.pictures import Sample
from aerocam.benchmarks.evaluation.records import plain
from aerocam.benchmarks.evaluation.settings import MethodSpec, Settings
from aerocam.benchmarks.evaluation.subject import Counts, FileSubject, ModelUnderTest
from aerocam.benchmarks.evaluation.truth import classes_of, placed
from aerocam.errors import AerocamError, MediaError, UsageError
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.pictures import read_picture
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.results.sheet import fitted

THUMBNAIL = (168, 168)
"""(H, W) of the overlays in the report, px."""

_open = threading.local()
"""The model that this thread has open, and what it was opened with."""


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        model: Path of the exported file.
        name: What the result calls it.
        sha256: Of the file.
        sample: The picture and its target.
        content: SHA-256 of the picture's content.
        keys: Of each method's record, by its label.
        methods: Which methods.
        settings: The run's.
        example: Whether overlays are kept for the report.
    """

    model: str
    name: str
    sha256: str
    sample: Sample
    content: str
    keys: Mapping[str, str]
    methods: tuple[MethodSpec, ...]
    settings: Settings
    example: bool


@dataclass(frozen=True)
class _Seen:
    """A picture as the model sees it."""

    tensor: Floats
    target: int
    second: int
    truth: Truth
    probability: float
    best: int


def evaluate(task: Task) -> list[dict[str, Any]]:
    """Make one record per method; if nothing can be measured on the picture, all of them have its fault.

    Raises:
        AerocamError: The model cannot be opened.
    """
    model = _model(task)
    model.forget()
    base = {"model": task.name, "picture": task.sample.name, "row": task.sample.row}
    try:
        if task.sample.fault:
            raise UsageError(task.sample.fault)
        seen = _see(task.sample, model, task.settings.max_pixels)
    except (MediaError, UsageError) as error:
        reason = " ".join(str(error).removeprefix(f"{task.sample.path}: ").split())
        return [{"key": task.keys[one.label], **base, "method": one.label, "fault": reason} for one in task.methods]
    labels = model.manifest.labels
    base |= {
        "target": seen.target,
        "label": labels[seen.target] if labels else "",
        "second": seen.second,
        "probability": seen.probability,
        "correct": seen.best == seen.target if task.sample.labels else None,
    }
    records, before = [], vars(Counts()).copy()
    for method in task.methods:
        record = _measured(FileSubject(model, method), seen, task)
        runs = {name: count - before[name] for name, count in vars(model.counts).items()}
        before = vars(model.counts).copy()
        records.append({"key": task.keys[method.label], **base, "method": method.label, **record, "runs": runs})
    return records


def _model(task: Task) -> ModelUnderTest:
    """Return the model, opened once in each thread until another one is asked for."""
    wanted = (task.model, task.sha256, task.settings.threads, task.settings.providers)
    if getattr(_open, "key", None) != wanted:
        close_model()
        _open.model, _open.key = ModelUnderTest(task.model, task.settings.threads, task.settings.providers), wanted
    model: ModelUnderTest = _open.model
    return model


def close_model() -> None:
    """Close the model that this thread has open."""
    if getattr(_open, "key", None) is not None:
        _open.model.close()
        _open.key = _open.model = None


def _see(sample: Sample, model: ModelUnderTest, max_pixels: int) -> _Seen:
    """Read a picture and preprocess it, and find its target as the model numbers it.

    Raises:
        MediaError: The picture or its mask cannot be read.
        UsageError: The model does not have the label, or its preprocessing does not take the picture.
    """
    frame = read_picture(sample.path, model.rule.color == "BANDS", max_pixels)
    tensor, place = Preprocessor(model.rule)(frame)
    if model.rule.layout == "NHWC":
        tensor = np.moveaxis(tensor, 3, 1)
    tensor = np.ascontiguousarray(tensor)
    shares = model.probabilities(tensor)[0]
    if not np.isfinite(shares).all():
        raise UsageError("the model's probabilities of it are not finite; look at the model")
    target, second = classes_of(sample, model.manifest, shares)
    return _Seen(tensor, target, second, placed(sample, place, max_pixels), float(shares[target]), int(shares.argmax()))


def _measured(subject: FileSubject, seen: _Seen, task: Task) -> dict[str, Any]:
    """Explain the picture by the method, and compute all metrics of its map."""
    try:
        explanation, maps = subject.explained(seen.tensor, seen.target)
    except AerocamError as error:
        return {"fault": f"no map: {_one_line(error)}"}
    except Exception as error:  # of one method on one picture: counted as those of metrics are, below
        return {"fault": f"no map: {type(error).__name__}: {_one_line(error)}"}
    if not np.isfinite(maps.raw).all():
        return {"fault": "the map has NaN or infinite values"}
    seed = int.from_bytes(hashlib.sha256(f"{task.settings.seed} {task.content}".encode()).digest()[:4], "big")
    case = Case(subject, seen.tensor, seen.target, maps, seen.truth, seen.second, seed)
    record: dict[str, Any] = {"values": {}, "left out": {}, "refused": {}, "failed": {}}
    if not maps.map.any():
        record["zero map"] = True
    for metric, parameters in task.settings.metrics:
        _measure(metric, parameters, case, subject, record)
    if task.example:
        picture = fitted(explanation.overlay(caption=False), THUMBNAIL)
        record["overlay"] = base64.b64encode(cv2.imencode(".jpg", picture)[1].tobytes()).decode()
    return record


def _measure(
    metric: Metric, parameters: Mapping[str, Any], case: Case, subject: FileSubject, record: dict[str, dict[str, Any]]
) -> None:
    """Put one metric's value into the record, or why there is none."""
    missing = lacking(metric, case.truth, case.second, subject.reads_gradients)
    if missing:
        record["left out"][metric.name] = "no " + ", no ".join(missing)
        return
    try:
        record["values"][metric.name] = plain(metric.compute(case, **parameters))
    except UsageError as error:
        record["refused"][metric.name] = _one_line(error)
    except Exception as error:  # of one metric on one picture: it is counted, the run goes on and ends with code 1
        record["failed"][metric.name] = f"{type(error).__name__}: {_one_line(error)}"


def lacking(metric: Metric, truth: Truth, second: int, gradients: bool) -> Sequence[str]:
    """List what the metric needs and the picture or file does not have."""
    there = {
        "box": bool(truth.boxes),
        "mask": truth.mask is not None,
        "mosaic": truth.cells > 0,
        "gradients": gradients,
        "second class": second >= 0,
    }
    return [need for need in there if need in metric.needs and not there[need]]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
