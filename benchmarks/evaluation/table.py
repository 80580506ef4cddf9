"""The result as one record, and as a table in Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import aerocam
from aerocam.benchmarks.evaluation.metrics import Metric
from aerocam.benchmarks.evaluation.records import plain, read_back
from aerocam.benchmarks.evaluation.run import Results

ARROWS = {"higher": "↑", "lower": "↓"}

REASONS = ("left out", "refused", "failed")
"""Why a metric has no value of a picture: the picture, or the file or method, lacks what it needs; an error."""


def as_record(results: Results) -> dict[str, Any]:
    """Return the whole result, ready for JSON; equal for equal runs, however they were spread over processes."""
    rows = [_row(results, model, method, records) for (model, method), records in results.records.items()]
    return {
        "aerocam": aerocam.__version__,
        "settings": results.settings.record(),
        "methods": {one.label: dict(one.options) for one in results.settings.methods},
        "truth": results.data.truth,
        "targets": len(results.data.samples),
        "pictures": len({sample.name for sample in results.data.samples}),
        "models": {one.name: one.facts for one in results.models},
        "rows": rows,
        "refused": {one.name: one.refused for one in results.models if one.refused},
        "faults": _faults(results),
    }


def _row(results: Results, model: str, method: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise one method of one model over all pictures."""
    mapped = [one for one in records if "fault" not in one]
    correct = [one["correct"] for one in mapped if one["correct"] is not None]
    return {
        "model": model,
        "method": method,
        "n": len(mapped),
        "failures": len(records) - len(mapped),
        "zero maps": sum(bool(one.get("zero map")) for one in mapped),
        "accuracy": sum(correct) / len(correct) if correct else None,
        "runs": {name: sum(one["runs"][name] for one in mapped) for name in ("forward", "explained", "known")},
        "metrics": {metric.name: _cell(metric, mapped) for metric, _ in results.settings.metrics},
    }


def _cell(metric: Metric, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise a metric over all pictures: its number, of how many pictures, and why the others have none."""
    values = [read_back(one["values"][metric.name]) for one in records if metric.name in one["values"]]
    good = [value for value in values if _is_number(value)]
    value = float(metric.gather(good)) if good else math.nan
    cell: dict[str, Any] = {"value": plain(value), "n": len(good), "undefined": len(values) - len(good)}
    for reason in REASONS:
        told = Counter(one[reason][metric.name] for one in records if metric.name in one[reason])
        cell[reason] = dict(sorted(told.items()))
    return cell


def _is_number(value: Any) -> bool:
    """Tell whether a picture's value is a number; of several values by name, whether `value` is one."""
    one = value.get("value", 0.0) if isinstance(value, Mapping) else value
    return not isinstance(one, float) or math.isfinite(one)


def _faults(results: Results) -> list[dict[str, Any]]:
    """List what went wrong, once for all methods that it went wrong for."""
    by_fault: dict[tuple[str, str, int, str], list[str]] = {}
    for (model, method), records in results.records.items():
        for one in records:
            for text in _told(one):
                by_fault.setdefault((model, one["picture"], one["row"], text), []).append(method)
    return [
        {"model": model, "picture": picture, "row": row, "reason": text, "methods": methods}
        for (model, picture, row, text), methods in by_fault.items()
    ]


def _told(record: Mapping[str, Any]) -> list[str]:
    """List the faults of one record."""
    if "fault" in record:
        return [record["fault"]]
    zero = ["the map is zero everywhere"] if record.get("zero map") else []
    return [*zero, *(f"{name}: {text}" for name, text in record["failed"].items())]


def fault_lines(record: Mapping[str, Any]) -> list[str]:
    """Return one line for each fault."""
    lines = []
    for one in record["faults"]:
        of = _of(record, one["model"], one["methods"])
        again = f", target {one['row'] + 1}" if one["row"] else ""
        lines.append(" ".join(f"{one['model']}: {one['picture']}{again}{of}: {one['reason']}".split()))
    return lines


def _of(record: Mapping[str, Any], model: str, methods: Sequence[str]) -> str:
    """Name the methods that something is true of; empty if that is all methods of the model."""
    everything = {row["method"] for row in record["rows"] if row["model"] == model}
    return "" if set(methods) == everything else f" ({', '.join(methods)})"


def _together(record: Mapping[str, Any], reasons: Callable[[Mapping[str, Any]], Mapping[str, int]]) -> list[str]:
    """Return one line for each model, metric and reason that cells give, with the methods whose cells give it."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for row in record["rows"]:
        for name, cell in row["metrics"].items():
            for why, n in reasons(cell).items():
                if n:
                    told.setdefault((row["model"], name, f"{why} ({n} targets)"), []).append(row["method"])
    return [f"{model}: {name}{_of(record, model, methods)}: {text}" for (model, name, text), methods in told.items()]


def failures(record: Mapping[str, Any]) -> int:
    """Count the maps and values that are missing because of an error; zero maps and refusals do not count."""
    failed = (sum(cell["failed"].values()) for row in record["rows"] for cell in row["metrics"].values())
    return sum(row["failures"] for row in record["rows"]) + sum(failed)


def header(record: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics with their arrows."""
    return [f"{name} {ARROWS[one['direction']]}" for name, one in record["settings"]["metrics"].items()]


def shown(cell: Mapping[str, Any], n: int) -> str:
    """Format a cell for people: the number, and of how many pictures if not of all."""
    if cell["value"] is None:
        return "refused" if cell["refused"] else "–"
    return f"{cell['value']:.4g}" + (f" (n {cell['n']})" if cell["n"] != n else "")


def as_markdown(record: Mapping[str, Any]) -> str:
    """Return the table as a Markdown page, with all settings and definitions."""
    titles = ["model", "method", "n", "failures", *header(record)]
    lines = [
        "# aerocam eval",
        "",
        f"{record['pictures']} pictures, {record['targets']} targets; truth: {record['truth']}.",
        "",
    ]
    lines += [f"| {' | '.join(titles)} |", f"|---|---|{'--:|' * (len(titles) - 2)}"]
    for row in record["rows"]:
        cells = (shown(cell, row["n"]) for cell in row["metrics"].values())
        first = (_as_text(row[name]).replace("|", "\\|") for name in ("model", "method"))
        lines.append(f"| {' | '.join([*first, str(row['n']), str(row['failures']), *cells])} |")
    lines += ["", "## Models", ""]
    lines += [_as_text(f"- {name}: {told}") for name, told in model_lines(record).items()]
    lines += ["", "## Metrics", ""]
    lines += [definition_line(name, one) for name, one in record["settings"]["metrics"].items()]
    lines += ["", f"Seed {record['settings']['seed']}, threads {record['settings']['threads']}.", ""]
    for title, texts in notes(record).items():
        if texts:
            lines += [f"## {title}", "", *(_as_text(f"- {line}") for line in texts), ""]
    return "\n".join(lines).rstrip() + "\n"


def notes(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what was refused, what went wrong and what was left out, by title, a line each."""
    return {"Refused": refused_lines(record), "Faults": fault_lines(record), "Left out": left_out(record)}


def model_lines(record: Mapping[str, Any], digits: int | None = None) -> dict[str, str]:
    """Describe each model: its facts, and for how many targets the label is its top class.

    Args:
        record: Of the run.
        digits: Of the checksum; None: all.
    """
    described = {}
    for name, facts in record["models"].items():
        told = [f"{key} {value[:digits] if key == 'sha256' else value}" for key, value in facts.items()]
        accuracies = [row["accuracy"] for row in record["rows"] if row["model"] == name and row["accuracy"] is not None]
        if accuracies:
            told.append(f"the label is its top class for {accuracies[0]:.1%} of the targets")
        described[name] = ", ".join(told)
    return described


def _as_text(text: str) -> str:
    """Return names as one line of Markdown in which they are no markup."""
    return escape(" ".join(text.split()), quote=False)


def definition_line(name: str, one: Mapping[str, Any]) -> str:
    """Return a metric's definition as one item of a list."""
    return f"- **{name}** ({one['direction']} is better): {definition_text(one)}"


def definition_text(one: Mapping[str, Any]) -> str:
    """Return a metric's definition with its variant, needs, parameters and source."""
    variant = f" Variant: {one['variant']}." if one["variant"] else ""
    needs = f" Needs: {', '.join(one['needs'])}." if one["needs"] else ""
    parameters = ", ".join(f"{key} = {value}" for key, value in one["parameters"].items()) or "none"
    said, source = one["definition"].rstrip("."), one["source"].rstrip(".")
    return f"{said}.{variant}{needs} Parameters: {parameters}. Source: {source}."


def refused_lines(record: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that files and methods cannot give."""
    lines = [
        f"{model}: {method}: {reason}"
        for model, reasons in record["refused"].items()
        for method, reason in reasons.items()
    ]
    return [*lines, *_together(record, lambda cell: cell["refused"])]


def left_out(record: Mapping[str, Any]) -> list[str]:
    """Name the metrics that lack a value of some pictures because the picture or the file lacks what they need."""
    return _together(record, lambda cell: {**cell["left out"], "undefined": cell["undefined"]})


def without_value(record: Mapping[str, Any]) -> list[str]:
    """Name the metrics that no method has a value of, and why."""
    lines = []
    for name in record["settings"]["metrics"]:
        cells = [row["metrics"][name] for row in record["rows"]]
        reasons = sorted({why for cell in cells for kind in ("refused", "left out") for why in cell[kind]})
        if reasons and all(cell["value"] is None for cell in cells):
            lines.append(f"{name}: no value: {'; '.join(reasons)}")
    return lines


FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet computes."""


def _text(text: str) -> str:
    """Return the text of a cell, with an apostrophe in front where a spreadsheet would take it for a formula."""
    text = re.sub(r"\s", " ", text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def as_csv(record: Mapping[str, Any]) -> str:
    """Return the table with all digits, and for each metric the number of pictures behind it."""
    names = list(record["settings"]["metrics"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "method", "n", "failures", "zero_maps", *(f"{one}{end}" for one in names for end in ("", "_n"))]
    )
    for row in record["rows"]:
        cells = [row["metrics"][name] for name in names]
        values = ("" if cell["value"] is None else cell["value"] for cell in cells)
        pairs = [one for pair in zip(values, (cell["n"] for cell in cells), strict=True) for one in pair]
        writer.writerow(
            [_text(row["model"]), _text(row["method"]), row["n"], row["failures"], row["zero maps"], *pairs]
        )
    return text.getvalue()
