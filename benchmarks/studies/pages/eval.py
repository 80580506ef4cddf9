"""`python -m aerocam.benchmarks.studies.pages.eval`: all methods by all metrics, on photographs and mosaics.

The record is kept as JSON, the tables as a page beside it. Pictures, models, records and reports stay in a folder: a
run that was ended goes on there.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from aerocam.benchmarks.evaluation.metrics import METRICS
from aerocam.benchmarks.evaluation.table import ARROWS, definition_line
from aerocam.benchmarks.latency.timing import machine
from aerocam.benchmarks.studies import method_table
from aerocam.benchmarks.studies.grid import CELLS, SEED, THRESHOLD
from aerocam.benchmarks.studies.pages.publishing import publish

RECORD, PAGE = "eval.json", "eval.md"
OURS = "cfcam"

TABLES = {
    "Photographs: what the score does when the map says what is shown": ("photographs", ("faithfulness",)),
    "Photographs: what the score does when pixels go": ("photographs", ("curves", "road", "infidelity")),
    "Photographs: what moves the map": ("photographs", ("robustness", "sensitivity")),
    "Photographs: where the object is": ("photographs", ("localisation",)),
    "Mosaics: which cell is meant": ("mosaics", ("grid", "localisation")),
}
"""Pictures of each table, and groups of its metrics."""

FORMATS = {"gradient_noise": ".5f"}
"""Formats of metrics whose values three digits do not tell apart."""


def measure_all(folder: Path, jobs: int) -> dict[str, Any]:
    """Measure everything, and return the record."""
    logging.getLogger("aerocam").setLevel(logging.WARNING)
    started = perf_counter()
    facts = method_table.measure(folder, jobs, lambda part: print(part, "...", file=sys.stderr, flush=True))
    return {"machine": machine(), "jobs": jobs, "seconds": perf_counter() - started, **facts}


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    host = record["machine"]
    whole = "" if record["done before"] else f", in {record['seconds'] / 60:.1f} minutes"
    lines = [
        "# All methods by all metrics",
        "",
        f"`make eval` wrote this page and `{RECORD}` with {record['jobs']} processes{whole}, on this machine:",
        f"{host['processor']}, {host['cores']} cores, ONNX Runtime {host['onnxruntime']} on the CPU.",
        "",
        "EfficientNet-Lite0, last layer. Photographs: 20 of ImageNet, the label is explained; their boxes are drawn by"
        " hand.",
        f"Mosaics: {method_table.MOSAICS} of {CELLS} x {CELLS} photographs at 448 px, seed"
        f" {SEED}, of those whose label is the model's top class with more than",
        f"{THRESHOLD:g}; every cell is asked about, and is box and mask. So few pictures tell methods"
        " apart that differ much;",
        "they are no benchmark on ImageNet.",
        "",
        "(n ...): of so many targets, where these are not all. –: what the metric needs is not there. Bold: the best of"
        " a",
        "column among methods with all targets. The best of a method that ignores the class is no merit: see",
        "class_sensitivity. What the faults call zero everywhere is an empty map: its complexity is no merit either.",
        "At this layer, behind which all is averaged and one linear layer follows, gradcam, xgradcam, hirescam, cam"
        " and",
        "relevance are one method. gridpg reads the raw map, energy_pointing_game the one in [0, 1], from which"
        " gradcam's",
        "minimum is taken. [grid.md](grid.md) has gridpg on 40 mosaics.",
    ]
    for title, (data, groups) in TABLES.items():
        lines += ["", f"## {title}", "", *_table(record[data], groups)]
    lines += ["", f"## Where {OURS} stands", "", *_standing(record)]
    lines += ["", "## Runs", ""]
    lines += [f"- {one['name']}: {one['targets']} targets; {_methods(one)}" for one in record["parts"]]
    lines += ["", "## Metrics", ""]
    lines += [definition_line(name, record["definitions"][name]) for name in METRICS if name in record["definitions"]]
    if record["faults"]:
        lines += ["", "## Faults", "", *(f"- {line}: {count} targets" for line, count in record["faults"].items())]
    return "\n".join(lines) + "\n"


def _methods(part: Mapping[str, Any]) -> str:
    return "; ".join(f"{file}: {names.replace(',', ', ')}" for file, names in part["methods"].items())


def _columns(rows: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """Return the metrics of these groups that any method has a value of."""
    there = {name for cells in rows.values() for name, cell in cells.items() if cell["value"] is not None}
    return [name for name, one in METRICS.items() if one.group in groups and name in there]


def _table(rows: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    names = _columns(rows, groups)
    most = {name: max(cells[name]["n"] for cells in rows.values() if name in cells) for name in names}
    best = {name: [method for method, place in _places(rows, name).items() if place == 1] for name in names}
    lines = [
        f"| method | {' | '.join(f'{name} {ARROWS[METRICS[name].direction]}' for name in names)} |",
        f"|---|{'--:|' * len(names)}",
    ]
    for method, cells in rows.items():
        shown = [_cell(name, cells.get(name), most[name], method in best[name]) for name in names]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return lines


def _cell(name: str, cell: Mapping[str, Any] | None, most: int, best: bool) -> str:
    if cell is None or cell["value"] is None:
        return "–"
    text = f"{cell['value']:{FORMATS.get(name, '.3g')}}"
    return f"**{text}**" * best + text * (not best) + (f" (n {cell['n']})" if cell["n"] != most else "")


def _places(rows: Mapping[str, Any], name: str) -> dict[str, int]:
    """Rank the methods that have a metric of all pictures, 1 being the best; equal ones share a place."""
    valued = {method: cells[name] for method, cells in rows.items() if cells.get(name, {}).get("value") is not None}
    most = max((cell["n"] for cell in valued.values()), default=0)
    sign = 1 if METRICS[name].direction == "higher" else -1
    whole = {method: round(sign * cell["value"], 6) for method, cell in valued.items() if cell["n"] == most}
    return {method: 1 + sum(other > value for other in whole.values()) for method, value in whole.items()}


def _standing(record: Mapping[str, Any]) -> list[str]:
    """Return for each table the place of `OURS` by each metric."""
    lines = [
        "Its place by each metric, 1 being the best, among the methods that have it of all pictures; equal ones share a"
        " place.",
        "",
    ]
    for title, (data, groups) in TABLES.items():
        told = []
        for name in _columns(record[data], groups):
            places = _places(record[data], name)
            if OURS in places:
                told.append(f"{name} {places[OURS]} of {len(places)}")
        lines.append(f"- {title}: {', '.join(told)}")
    return lines


def main() -> int:
    """Measure, and write record and page; the exit code."""
    parser = argparse.ArgumentParser(prog="studies.pages.eval", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="how many processes; 2")
    parser.add_argument("--out", default="eval-out", help="folder of pictures, models, records and reports; eval-out")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: 1 or more is expected")
    return publish("studies.pages.eval", partial(measure_all, Path(arguments.out), arguments.jobs), page, RECORD, PAGE)


if __name__ == "__main__":
    sys.exit(main())
