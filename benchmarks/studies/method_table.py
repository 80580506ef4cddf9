"""All methods by all metrics: EfficientNet-Lite0 on 20 labelled photographs, and on mosaics of them.

Methods that run the model many times for one map are shown fewer pictures, fewest by the metrics that ask for further
maps; every cell says of how many pictures it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.metrics import METRICS
from aerocam.benchmarks.evaluation.mosaics import Question, draw_mosaics, mosaic_rule, write_mosaics
from aerocam.benchmarks.evaluation.pictures import Data, find_data
from aerocam.benchmarks.evaluation.report import write_results
from aerocam.benchmarks.evaluation.run import run
from aerocam.benchmarks.evaluation.settings import Settings, methods_of, metrics_of
from aerocam.benchmarks.evaluation.table import failures
from aerocam.benchmarks.studies.grid import CELLS, SEED, tiles
from aerocam.export import export_model
from aerocam.files import make_folder, write_together
from aerocam.methods import METHODS
from aerocam.progress import Progress

EXPORTS: dict[str, dict[str, Any]] = {
    "tensors": {},
    "tail": {"packaging": "split", "batch": 32},
    "input": {"packaging": "split", "layers": "images"},
    "guided": {"packaging": "split", "layers": ("images", "auto"), "guided": True},
    "relevance": {"packaging": "split", "relevance": True},
}
"""The files that all methods together need, and how each is exported: split, where gradients reach far back, so that
scores alone cost no more than the model."""


def _by_file(specs: Sequence[str]) -> dict[str, str]:
    """Return methods with their options by the file of `EXPORTS` that they need, comma-separated."""
    files: dict[str, list[str]] = {}
    for spec in specs:
        facts = METHODS[spec.partition(":")[0]]
        own = "tail" if facts.kind == "tail" else str(facts.gradients)
        files.setdefault(own if own in EXPORTS else "input" if facts.at_input else "tensors", []).append(spec)
    return {file: ",".join(names) for file, names in files.items()}


_SLOW = ("occlusion", "smoothgrad", "integrated_gradients")
_SLOWEST = ("scorecam", "rise:masks=300")

SLOW = _by_file(_SLOW)
"""Methods of some dozen runs of the model, by the file they need."""

SLOWEST = _by_file(_SLOWEST)
"""Methods of hundreds of runs."""

QUICK = _by_file([name for name in METHODS if name not in {spec.partition(":")[0] for spec in (*_SLOW, *_SLOWEST)}])
"""All others: methods of one or a few runs."""

GRID = ("gridpg", *(name for name, one in METRICS.items() if one.group == "localisation"))
ALL = tuple(name for name in METRICS if name != "gridpg")
FURTHER = (
    *("coherency", "adcc", "adcc_per_picture", "class_sensitivity"),
    *(name for name in ALL if METRICS[name].group == "robustness"),
)
"""Metrics that ask for further maps, one or several."""

ONCE = tuple(name for name in ALL if name not in FURTHER)

PARAMETERS: dict[str, Any] = {
    **{f"road_{name}.percentiles": (20, 50) for name in ("morf", "lerf", "combined")},
    "max_sensitivity.samples": 2,
    "input_noise.shares": (0.1,),
    "input_noise.samples": 1,
}
"""Metrics' parameters that differ from the defaults: fewer, so that all of it takes a quarter of an hour."""

MOSAICS = 5


@dataclass(frozen=True)
class Part:
    """A run: some methods by some metrics.

    Attributes:
        name: Of its folder.
        data: `photographs` or `mosaics`.
        methods: By file, comma-separated.
        metrics: Their names.
        first: How many pictures; None: all.
    """

    name: str
    data: str
    methods: Mapping[str, str]
    metrics: Sequence[str]
    first: int | None = None


PARTS = (
    Part("photographs", "photographs", QUICK, ALL),
    Part("photographs-slow", "photographs", SLOW, ONCE, 10),
    Part("photographs-slow-further", "photographs", SLOW, FURTHER, 2),
    Part("photographs-slowest", "photographs", SLOWEST, ONCE, 3),
    Part("photographs-slowest-further", "photographs", SLOWEST, FURTHER, 1),
    Part("mosaics", "mosaics", QUICK, GRID),
    Part("mosaics-slow", "mosaics", SLOW, GRID, 1),
    Part("mosaics-slowest", "mosaics", SLOWEST, GRID, 1),
)


def write_photographs(folder: str | Path) -> Path:
    """Write the labelled photographs as a folder for `aerocam eval --data`; return the folder."""
    folder = Path(folder)
    make_folder(folder)
    rows, contents = [], {}
    for name, one in zoo.LABELLED.items():
        contents[folder / f"{name}.jpg"] = zoo.labelled_file(name).read_bytes()
        rows.append({"file": f"{name}.jpg", "label": one.label, "boxes": one.boxes})
    write_together({**contents, folder / "labels.json": json.dumps(rows, indent=1).encode()})
    return folder


def write_grid(folder: Path) -> Path:
    """Write mosaics of the photographs that Lite0 is sure of, every cell asked about; return the folder."""
    questions: Iterator[Question] = (
        one for mosaic in draw_mosaics(tiles(folder), MOSAICS, cells=CELLS, seed=SEED) for one in mosaic.questions()
    )
    return write_mosaics(folder / "pictures", questions).parent


def write_models(folder: Path, data: str) -> dict[str, Path]:
    """Export the files that the parts read for photographs or for mosaics; return them by name."""
    make_folder(folder)
    needed = {name for part in PARTS if part.data == data for name in part.methods}
    size, rule = (
        (224, zoo.lite0.PREPROCESS)
        if data == "photographs"
        else (224 * CELLS, mosaic_rule(zoo.lite0.PREPROCESS, CELLS))
    )
    return {
        name: export_model(
            zoo.lite0.model(size), folder / f"lite0-{size}-{name}.cam.onnx", preprocess=rule, check=False, **how
        ).path
        for name, how in EXPORTS.items()
        if name in needed
    }


def measure(folder: Path, jobs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything; what an earlier call has left in the folder is not done again.

    Args:
        folder: Of pictures, models, records and reports.
        jobs: How many processes.
        say: Is told what comes next.

    Returns:
        The record: of `photographs` and `mosaics` the cells by method and metric, the metrics' definitions, faults.
    """
    make_folder(folder)
    make_folder(folder / "grid")
    pictures = {"photographs": write_photographs(folder / "data"), "mosaics": write_grid(folder / "grid")}
    facts: dict[str, Any] = {"parts": [], "definitions": {}, "done before": 0, "faults": {}, "failed": 0}
    for data, where in pictures.items():
        models, samples = write_models(folder / "models", data), find_data(where)
        rows = facts.setdefault(data, {})
        for part in PARTS:
            if part.data == data:
                say(part.name)
                _measure_part(part, folder / part.name, models, samples, jobs, rows, facts)
    return facts


def _measure_part(
    part: Part,
    folder: Path,
    models: Mapping[str, Path],
    data: Data,
    jobs: int,
    rows: dict[str, dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Put one part's cells into `rows`, and its faults and facts into `facts`."""
    shown = replace(data, samples=_first(data, part.first))
    parameters = {key: value for key, value in PARAMETERS.items() if key.partition(".")[0] in part.metrics}
    metrics = metrics_of(part.metrics, parameters)
    for file, names in part.methods.items():
        settings = Settings(methods_of(names.split(",")), metrics, SEED, examples=0)
        backend = "loky" if jobs > 1 else "sequential"
        results = run([str(models[file])], shown, settings, folder, backend=backend, jobs=jobs, progress=Progress)
        make_folder(folder / file)
        record = write_results(results, folder / file)
        for row in record["rows"]:
            cells = rows.setdefault(row["method"], {})
            cells |= {name: {"value": cell["value"], "n": cell["n"]} for name, cell in row["metrics"].items()}
        facts["definitions"] |= record["settings"]["metrics"]
        facts["done before"] += results.done_before
        for one in record["faults"]:
            said = f"{one['model']}: {', '.join(one['methods'])}: {one['reason']}"
            facts["faults"][said] = facts["faults"].get(said, 0) + 1
        facts["failed"] += failures(record)
    facts["parts"].append({"name": part.name, "targets": len(shown.samples), "methods": dict(part.methods)})


def _first(data: Data, count: int | None) -> tuple[Any, ...]:
    """Return the targets of the first pictures."""
    names = list(dict.fromkeys(sample.name for sample in data.samples))[:count]
    return tuple(sample for sample in data.samples if sample.name in names)
