"""The report: one HTML file with table, curves, example overlays and definitions; it needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.records import read_back
from aerocam.benchmarks.evaluation.run import Results
from aerocam.benchmarks.evaluation.table import fault_lines, header, left_out, refused_lines, shown
from aerocam.runtime.page_parts import STYLE

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d", "#1b9e77", "#7570b3")
"""Of curves, told apart by most eyes; from the eleventh on they are dashed."""

OWN_STYLE = """
.wide { overflow-x: auto; }
.wide table { width: auto; }
th, td { padding: .15rem .6rem; border-bottom: 1px solid var(--line); }
td { text-align: right; width: auto; }
td.best { font-weight: bold; }
thead th { font-weight: bold; vertical-align: bottom; }
section { margin-top: 1.5rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
svg { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .axis { stroke: var(--faint); fill: none; }
"""

ABSCISSAE = ("fraction", "threshold", "share")
"""What a metric's values call the list that their curves lie over."""

Curves = dict[str, dict[str, list[tuple[float, float]]]]
"""By metric and curve, then by model and method: the points of the mean curve."""


def as_html(results: Results, record: Mapping[str, Any]) -> str:
    """The page.

    Args:
        results: Of the run.
        record: What `table.as_record` makes of them.
    """
    style = STYLE + OWN_STYLE
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{allowed}'"
    body = [_table(record), _curves(results), _examples(results), _definitions(record), _notes(record)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>aerocam eval</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>aerocam eval: {escape(', '.join(record['models']))}</h1>\n{_facts(record)}</header>\n"
        f"<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _facts(record: Mapping[str, Any]) -> str:
    settings = record["settings"]
    facts = {
        "Pictures": f"{record['pictures']}, with {record['targets']} targets",
        "Truth": record["truth"],
        "Settings": f"seed {settings['seed']}, threads {settings['threads']}, on {settings['providers'] or 'the CPU'}",
        **{name: ", ".join(f"{key} {value}" for key, value in one.items()) for name, one in record["models"].items()},
        "aerocam": record["aerocam"],
    }
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>\n" for name, text in facts.items())
    return f"<dl>\n{rows}</dl>\n"


def _table(record: Mapping[str, Any]) -> str:
    """Rows of methods; the best of each model is bold."""
    heads = "".join(
        f'<th scope="col">{escape(one)}</th>' for one in ["model", "method", "n", "failures", *header(record)]
    )
    rows = ""
    for row in record["rows"]:
        cells = "".join(
            f"<td{_mark(record, row, name)}>{escape(shown(cell, row['n']))}</td>"
            for name, cell in row["metrics"].items()
        )
        first = f'<th scope="row">{escape(row["model"])}</th><th scope="row">{escape(row["method"])}</th>'
        rows += f"<tr>{first}<td>{row['n']}</td><td>{row['failures']}</td>{cells}</tr>\n"
    said = "Bold: the best of a model. n in a cell: of so many pictures, where these are not all."
    inner = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n"
    return (
        f'<section>\n<h2>Table</h2>\n<div class="wide"><table>\n{inner}</table></div>\n<p class="faint">{said}</p>\n'
        "</section>\n"
    )


def _mark(record: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """Whether this is the best method of its model."""
    rivals = [one["metrics"][name]["value"] for one in record["rows"] if one["model"] == row["model"]]
    known = [value for value in rivals if value is not None]
    if len(known) < 2 or row["metrics"][name]["value"] is None:
        return ""
    best = max(known) if record["settings"]["metrics"][name]["direction"] == "higher" else min(known)
    return ' class="best"' if row["metrics"][name]["value"] == best else ""


def mean_curves(results: Results) -> Curves:
    """The mean over pictures of each list of numbers among a metric's values, where all have one of the same length.

    It lies over the list of that length that is one of `ABSCISSAE`; where there is none, over 0 to 1.
    """
    found: Curves = {}
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
                    found.setdefault(title, {})[f"{model} {method}"] = points
    return found


def _mean(curves: Sequence[Any]) -> NDArray[np.float64] | None:
    """The mean of the curves that are finite; None where these are no curves of one length."""
    try:
        arrays = np.array(curves, float)
    except (TypeError, ValueError):
        return None
    if arrays.ndim != 2 or arrays.shape[1] < 3:
        return None
    good = arrays[np.isfinite(arrays).all(axis=1)]
    return np.asarray(good.mean(axis=0), np.float64) if len(good) else None


def _curves(results: Results) -> str:
    found = mean_curves(results)
    if not found:
        return ""
    drawn = "".join(f"<figure>{_svg(name, lines)}</figure>\n" for name, lines in found.items())
    return f'<section>\n<h2>Curves, mean over the pictures</h2>\n<div class="curves">\n{drawn}</div>\n</section>\n'


def _svg(name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One diagram with a legend below."""
    points = [point for line in lines.values() for point in line]
    (x0, x1), (y0, y1) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    below = 232
    height = below + 15 * len(lines)
    parts = [
        f'<path class="axis" d="M40 20V200H380"/><text x="8" y="14">{escape(name)}</text>',
        *(f'<text x="36" y="{y}" text-anchor="end">{value:.3g}</text>' for y, value in ((28, y1), (200, y0))),
        f'<text x="40" y="214">{x0:.3g}</text><text x="380" y="214" text-anchor="end">{x1:.3g}</text>',
    ]
    for number, (label, line) in enumerate(lines.items()):
        places = " ".join(
            f"{40 + 340 * (x - x0) / (x1 - x0):.1f},{200 - 180 * (y - y0) / (y1 - y0):.1f}" for x, y in line
        )
        dash = "" if number < len(COLOURS) else ' stroke-dasharray="5 3"'
        pen = f'fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.6"{dash}'
        y = below + 15 * number
        parts.append(f'<polyline points="{places}" {pen}/><path d="M40 {y - 4}h24" {pen}/>')
        parts.append(f'<text x="70" y="{y}">{escape(label)}</text>')
    return f'<svg viewBox="0 0 400 {height}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """From where to where an axis goes, never nowhere."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _examples(results: Results) -> str:
    """The overlays of the first pictures, method by method."""
    cards: dict[tuple[str, str, int, str], list[str]] = {}
    for (model, method), records in results.records.items():
        for one in records:
            if "overlay" in one:
                place = (
                    model,
                    one["picture"],
                    one["row"],
                    f"{one['label'] or one['target']}, {one['probability']:.2f}",
                )
                text = escape(f"{one['picture']}, {method}")
                picture = f'<img alt="{text}" src="data:image/jpeg;base64,{one["overlay"]}">'
                cards.setdefault(place, []).append(
                    f"<figure>{picture}<figcaption>{escape(method)}</figcaption></figure>"
                )
    if not cards:
        return ""
    drawn = "".join(
        f'<article><h2>{escape(model)}: {escape(picture)} <span class="faint">{escape(text)}</span></h2>\n'
        f'<div class="pictures">{"".join(figures)}</div></article>\n'
        for (model, picture, _, text), figures in cards.items()
    )
    return f"<section>\n<h2>Examples</h2>\n{drawn}</section>\n"


def _definitions(record: Mapping[str, Any]) -> str:
    """What every metric is."""
    rows = ""
    for name, one in record["settings"]["metrics"].items():
        needs = f" Needs: {', '.join(one['needs'])}." if one["needs"] else ""
        variant = f" Variant: {one['variant']}." if one["variant"] else ""
        told = ", ".join(f"{key} = {value}" for key, value in one["parameters"].items()) or "no parameters"
        text = f"{one['direction']} is better. {one['definition']}{variant}{needs} {told}. {one['source']}"
        rows += f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>\n"
    return f"<section>\n<h2>Definitions</h2>\n<dl>\n{rows}</dl>\n</section>\n"


def _notes(record: Mapping[str, Any]) -> str:
    """What was refused, what went wrong, what was left out."""
    return "".join(_list(title, lines) for title, lines in _noted(record))


def _noted(record: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "Refused", refused_lines(record)
    yield "Faults", fault_lines(record)
    yield "Left out", left_out(record)


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return f"<section>\n<h2>{title}</h2>\n<ul>\n{items}</ul>\n</section>\n"
