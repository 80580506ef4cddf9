"""The report: one HTML file with table, curves, example overlays and definitions; it needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation import table
from aerocam.benchmarks.evaluation.diagrams import STYLE as CURVE_STYLE
from aerocam.benchmarks.evaluation.diagrams import Line, diagrams
from aerocam.benchmarks.evaluation.records import read_back
from aerocam.benchmarks.evaluation.run import Results
from aerocam.benchmarks.evaluation.table import definition_text, header, model_lines, notes, shown
from aerocam.files import write_together
from aerocam.runtime.results.page_parts import STYLE

OWN_STYLE = """
.wide { overflow: auto; max-height: 90vh; border: 1px solid var(--line); border-radius: .5rem; }
.wide table { width: auto; margin: 0; border-collapse: separate; border-spacing: 0; overflow-wrap: normal; }
.wide th, .wide td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); background: var(--card); }
td { text-align: right; width: auto; }
td.best { font-weight: bold; }
thead th { font-weight: bold; vertical-align: bottom; text-align: right; position: sticky; top: 0; z-index: 1; }
.wide th:first-child { text-align: left; position: sticky; left: 0; min-width: 6.5rem; max-width: 40vw; }
.wide thead th:first-child { z-index: 2; }
.wide .model th { font-weight: bold; max-width: none; position: static; background: var(--paper); }
.model span { position: sticky; left: .6rem; }
section { margin-top: 1.5rem; }
article { margin-top: .6rem; }
article .pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); align-items: start; }
.definitions { display: block; max-width: 60rem; }
.definitions div { grid-template-columns: 12rem 1fr; margin-bottom: .5rem; }
@media (max-width: 40rem) { .definitions div { display: block; } }
"""

ABSCISSAE = ("fraction", "threshold", "share")
"""What a metric's values call the list that their curves lie over."""

Curves = dict[str, dict[tuple[str, str], Line]]
"""Points of the mean curves, by metric and curve, then by model and method."""


def as_html(results: Results, record: Mapping[str, Any]) -> str:
    """Return the report as an HTML page.

    Args:
        results: Of the run.
        record: What `table.as_record` makes of them.
    """
    body = [_table(record), _curves(results), _examples(results), _definitions(record), _notes(record)]
    heading = f"aerocam eval: {', '.join(record['models'])}"
    return html_page("aerocam eval", STYLE + OWN_STYLE + CURVE_STYLE, heading, _facts(record), "".join(body))


def html_page(title: str, style: str, heading: str, facts: Mapping[str, object], main: str) -> str:
    """Return a page that loads nothing and runs nothing.

    Args:
        title: Of the page, text.
        style: Its CSS.
        heading: Above everything, text.
        facts: Below the heading, by name, texts.
        main: Below the facts, HTML.
    """
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{allowed}'"
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>\n" for name, text in facts.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(heading)}</h1>\n<dl>\n{rows}</dl>\n</header>\n"
        f"<main>\n{main}</main>\n</body>\n</html>\n"
    )


def _facts(record: Mapping[str, Any]) -> dict[str, object]:
    settings = record["settings"]
    return {
        "Pictures": f"{record['pictures']}, with {record['targets']} targets",
        "Truth": record["truth"],
        "Settings": f"seed {settings['seed']}, threads {settings['threads']}, on {settings['providers'] or 'the CPU'}",
        **model_lines(record, digits=12),
        "aerocam": record["aerocam"],
    }


def _table(record: Mapping[str, Any]) -> str:
    """Make the rows of methods, model by model; the best value of each model is bold."""
    titles = ["method", "n", "failures", *header(record)]
    heads = "".join(f'<th scope="col">{_breaking(one)}</th>' for one in titles)
    rows, above = "", None
    for row in record["rows"]:
        if row["model"] != above:
            above = row["model"]
            head = f'<th scope="rowgroup" colspan="{len(titles)}"><span>{escape(above)}</span></th>'
            rows += f'<tr class="model">{head}</tr>\n'
        cells = "".join(
            f"<td{_mark(record, row, name)}>{escape(shown(cell, row['n']))}</td>"
            for name, cell in row["metrics"].items()
        )
        rows += f'<tr><th scope="row">{_breaking(row["method"])}</th>'
        rows += f"<td>{row['n']}</td><td>{row['failures']}</td>{cells}</tr>\n"
    said = "Bold: the best of a model, where they differ. n in a cell: of so many pictures, where these are not all."
    inner = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n"
    return (
        f'<section>\n<h2>Table</h2>\n<div class="wide"><table>\n{inner}</table></div>\n<p class="faint">{said}</p>\n'
        "</section>\n"
    )


def _breaking(name: str) -> str:
    """Return a name that a browser may break behind each of its parts."""
    return re.sub(r"([_:])", r"\1<wbr>", escape(name))


def _mark(record: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """Return the attribute that marks the best method of its model; empty for the others."""
    rivals = [one["metrics"][name]["value"] for one in record["rows"] if one["model"] == row["model"]]
    values = [value for value in rivals if value is not None]
    if row["metrics"][name]["value"] is None or min(values) == max(values):
        return ""
    best = max(values) if record["settings"]["metrics"][name]["direction"] == "higher" else min(values)
    return ' class="best"' if row["metrics"][name]["value"] == best else ""


def mean_curves(results: Results) -> Curves:
    """Average each list of numbers among a metric's values over the pictures, if all lists have one length.

    It lies over the list of that length that is one of `ABSCISSAE`; where there is none, over 0 to 1.
    """
    curves_by_metric: Curves = {}
    for (model, method), records in results.records.items():
        for metric, _ in results.settings.metrics:
            values = [one["values"].get(metric.name) for one in records if "fault" not in one]
            dicts = [read_back(value) for value in values if isinstance(value, dict)]
            means = {key: _mean([one.get(key) for one in dicts]) for key in (dicts[0] if dicts else ())}
            lists = {key: line for key, line in means.items() if line is not None}
            over = next((key for key in ABSCISSAE if key in lists), None)
            for key, line in lists.items():
                x = np.linspace(0, 1, len(line)) if over is None else lists[over]
                if key != over and len(x) == len(line):
                    points = [(float(a), float(b)) for a, b in zip(x, line, strict=True)]
                    title = f"{metric.name}: {key}" + ("" if over is None else f" over {over}")
                    curves_by_metric.setdefault(title, {})[model, method] = points
    return curves_by_metric


def _mean(curves: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return the mean of the curves that are finite; None if their lengths differ."""
    try:
        arrays = np.array(curves, float)
    except (TypeError, ValueError):
        return None
    if arrays.ndim != 2 or arrays.shape[1] < 3:
        return None
    good = arrays[np.isfinite(arrays).all(axis=1)]
    return np.asarray(good.mean(axis=0), np.float64) if len(good) else None


def _curves(results: Results) -> str:
    means = mean_curves(results)
    if not means:
        return ""
    pens = {method: i for i, method in enumerate(one.label for one in results.settings.methods)}
    drawn = "".join(diagrams(name, lines, pens) for name, lines in means.items())
    said = "Legends begin with the curve that lies highest on average."
    return (
        f'<section>\n<h2>Curves, mean over the pictures</h2>\n<p class="faint">{said}</p>\n'
        f'<div class="curves">\n{drawn}</div>\n</section>\n'
    )


def _examples(results: Results) -> str:
    """Show the overlays of the first pictures, method by method."""
    cards: dict[tuple[str, str, int, str], list[str]] = {}
    for (model, method), records in results.records.items():
        for one in records:
            if "overlay" in one:
                title = f"{one['label'] or one['target']}, {one['probability']:.2f}"
                place = (model, one["picture"], one["row"], title)
                text = escape(f"{one['picture']}, {method}")
                picture = f'<img alt="{text}" src="data:image/jpeg;base64,{one["overlay"]}">'
                figure = f"<figure>{picture}<figcaption>{escape(method)}</figcaption></figure>"
                cards.setdefault(place, []).append(figure)
    if not cards:
        return ""
    drawn = "".join(
        f'<article><h2>{escape(model)}: {escape(picture)} <span class="faint">{escape(text)}</span></h2>\n'
        f'<div class="pictures">{"".join(figures)}</div></article>\n'
        for (model, picture, _, text), figures in cards.items()
    )
    return f"<section>\n<h2>Examples</h2>\n{drawn}</section>\n"


def _definitions(record: Mapping[str, Any]) -> str:
    """List the definitions of all metrics."""
    rows = ""
    for name, one in record["settings"]["metrics"].items():
        text = f"{one['direction'].capitalize()} is better: {definition_text(one)}"
        rows += f"<div><dt>{_breaking(name)}</dt><dd>{escape(text)}</dd></div>\n"
    return f'<section>\n<h2>Definitions</h2>\n<dl class="definitions">\n{rows}</dl>\n</section>\n'


def _notes(record: Mapping[str, Any]) -> str:
    """List what was refused, what went wrong and what was left out."""
    return "".join(_list(title, lines) for title, lines in notes(record).items())


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return f"<section>\n<h2>{title}</h2>\n<ul>\n{items}</ul>\n</section>\n"


def write_results(results: Results, out: Path) -> dict[str, Any]:
    """Write the four files, all or none.

    Returns:
        The record, as table.json has it.

    Raises:
        WriteError: A file cannot be written.
    """
    record = table.as_record(results)
    contents = {
        "table.json": json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "table.md": table.as_markdown(record),
        "table.csv": table.as_csv(record),
        "report.html": as_html(results, record),
    }
    write_together({out / name: text.encode("utf-8", "replace") for name, text in contents.items()})
    return record
