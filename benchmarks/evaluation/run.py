"""The run: which tasks there are, which of them were done before, and the result of all."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aerocam.benchmarks.evaluation import backends
from aerocam.benchmarks.evaluation.pictures import Data, Sample
from aerocam.benchmarks.evaluation.records import Records, same_settings
from aerocam.benchmarks.evaluation.settings import MethodSpec, Settings
from aerocam.benchmarks.evaluation.subject import ModelUnderTest
from aerocam.benchmarks.evaluation.task import Task, close_model, evaluate
from aerocam.errors import AerocamError, UsageError
from aerocam.files import beside, make_folder, sha256
from aerocam.manifest import Preprocess
from aerocam.progress import Progress

LOGITS = {"sigmoid": "of its sigmoid", "softmax": "not known, it ends in softmax"}
"""What the result says of the scores of graphs that end in probabilities."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A model under test.

    Attributes:
        path: Of the file.
        name: What the result calls it.
        sha256: Of the file, and of those that belong to it.
        methods: Those that it gives.
        refused: Why it does not give the others, by label.
        facts: What the result says of it.
    """

    path: str
    name: str
    sha256: str
    methods: tuple[MethodSpec, ...]
    refused: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes:
        settings: What was measured.
        data: On which pictures.
        models: Of which files.
        records: By model and method, in the order of the samples.
        done_before: How many records an earlier run had left.
    """

    settings: Settings
    data: Data
    models: tuple[ModelFile, ...]
    records: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    done_before: int = 0


def open_models(paths: Sequence[str], settings: Settings) -> tuple[ModelFile, ...]:
    """Open every model once, to see which methods it gives.

    Raises:
        UsageError: No model gives any of the methods.
        ModelError: A model cannot be read.
    """
    from aerocam.runtime.frames.picture_files import distinct_stems

    names = distinct_stems([_plain(path) for path in paths])  # x.cam.onnx and x.onnx must not share their rows
    models = tuple(_looked_at(path, name, settings) for path, name in zip(paths, names, strict=True))
    for model in models:
        for reason in dict.fromkeys(model.refused.values()):
            labels = ", ".join(label for label, why in model.refused.items() if why == reason)
            logger.warning("refused: %s: %s: %s", model.name, labels, reason)
    if not any(model.methods for model in models):
        raise UsageError(f"nothing can be measured: {next(iter(models[0].refused.values()))}")
    return models


def _plain(path: str) -> str:
    """Return a model's path with one suffix only: x.onnx for x.cam.onnx."""
    plain = Path(path)
    return str(plain.with_name(f"{plain.stem.removesuffix('.cam') or plain.stem}{plain.suffix}"))


def _looked_at(path: str, name: str, settings: Settings) -> ModelFile:
    """Describe a model: its facts, the methods that it gives, and why it refuses others."""
    checksum = sha256(path)
    refused: dict[str, str] = {}
    try:
        model = ModelUnderTest(path, settings.threads, settings.providers)
    except UsageError as error:
        reason = str(error).removeprefix(f"{path}: ")
        facts: dict[str, Any] = {"file": Path(path).name, "sha256": checksum}
        return ModelFile(path, name, checksum, (), {one.label: reason for one in settings.methods}, facts)
    manifest = model.manifest
    for method in settings.methods:
        try:
            model.explainer(method)
        except UsageError as error:
            refused[method.label] = str(error)
    model.close()
    if manifest.split is not None:
        others = (manifest.split.explain, manifest.split.tail)
        checksum = _hash(checksum, *(sha256(beside(path, name)) for name in others if name))
    facts = {
        "file": Path(path).name,
        "sha256": checksum,
        "source": manifest.source.name,
        "layers": [layer.name for layer in manifest.layers],
        "precision": manifest.precision,
        "logits": LOGITS.get(manifest.score.activation, "the model's own"),
        "input": list(model.rule.shape),
        "preprocessing": _preprocessing(model.rule),
    }
    methods = tuple(one for one in settings.methods if one.label not in refused)
    return ModelFile(str(Path(path).resolve()), name, checksum, methods, refused, facts)


def _preprocessing(rule: Preprocess) -> str:
    """Describe how a picture becomes the input; every figure depends on it."""
    side = f" of a short side of {rule.short_side} px" if rule.resize == "crop" else ""
    return (
        f"{rule.resize}{side}, {rule.interpolation}, {rule.color}, mean {_numbers(rule.mean)}, std {_numbers(rule.std)}"
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def run(
    models: Sequence[str],
    data: Data,
    settings: Settings,
    out: Path,
    *,
    backend: str = "sequential",
    jobs: int = 1,
    cluster: str | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> Results:
    """Measure what has not been measured yet, and gather all.

    Args:
        models: Exported files.
        data: The pictures.
        settings: What is measured.
        out: Folder of the records; a run that was ended there goes on. Models, methods and pictures may be others than
            before, all else has to be the same.
        backend: See `backends`.
        jobs: See `backends.run_all`.
        cluster: See `backends.run_all`.
        progress: Makes a progress bar for so many tasks; None: there is none.

    Raises:
        UsageError: The folder holds another run, no model gives any of the methods, or the backend is unknown.
        ModelError: A model cannot be read.
        WriteError: A file cannot be written.
    """
    backends.check(backend, jobs)
    files = open_models(models, settings)
    make_folder(out)
    with Records(out) as records:  # which holds the folder before anything else is written there
        same_settings(out, settings.record())
        wanted = [task for model in files for task in _tasks(model, data.samples, settings)]
        left = [short for short in (_left(task, records.by_key) for task in wanted) if short is not None]
        before = sum(key in records.by_key for task in wanted for key in task.keys.values())
        if before:
            logger.info("%s: %d records are there already, the run goes on", out, before)
        _do(left, records, backends.run_all(evaluate, left, backend, jobs, cluster), progress)
        by_method: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for task in wanted:
            for label, key in task.keys.items():
                by_method.setdefault((task.name, label), []).append(records.by_key[key])
    return Results(settings, data, files, by_method, before)


def _do(
    tasks: Sequence[Task],
    records: Records,
    finished: Iterator[list[dict[str, Any]]],
    progress: Callable[[int], Progress] | None,
) -> None:
    """Keep the records of tasks as they finish."""
    bar, failed = progress(len(tasks)) if progress is not None else None, 0
    try:
        for number, done in enumerate(finished, 1):
            records.add(done)
            failed += any("fault" in one or one.get("failed") for one in done)
            if bar is not None:
                bar(number, failed)
    finally:
        close_model()
        if bar is not None:
            bar.close()


def _tasks(model: ModelFile, samples: Sequence[Sample], settings: Settings) -> list[Task]:
    """Make one task per picture and target."""
    tasks, config = [], json.dumps(settings.record(), sort_keys=True)
    for number, sample in enumerate(samples):
        content = _content(sample.path)
        truth = (sample.labels, sample.boxes, _content(sample.mask) if sample.mask else "", sample.cells, sample.cell)
        example = number < settings.examples
        identity = (config, model.sha256, model.name, content, sample.name, str(sample.row), repr(truth), sample.fault)
        keys = {one.label: _hash(*identity, str(example), one.label) for one in model.methods}
        if model.methods:
            tasks.append(
                Task(model.path, model.name, model.sha256, sample, content, keys, model.methods, settings, example)
            )
    return tasks


def _left(task: Task, records: dict[str, Any]) -> Task | None:
    """Return the task with the methods that have no record yet; None if all have one."""
    methods = tuple(one for one in task.methods if task.keys[one.label] not in records)
    return replace(task, methods=methods) if methods else None


def _content(path: str) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read, which its task will say."""
    try:
        return sha256(path)
    except AerocamError:
        return ""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
