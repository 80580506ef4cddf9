"""The report: one HTML file that loads nothing, with the summary, curves, and the frames that moved most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from aerocam.benchmarks.comparison.curve import curve
from aerocam.benchmarks.comparison.moved import Moved
from aerocam.benchmarks.evaluation.report import html_page
from aerocam.runtime.results.page_parts import STYLE

OWN_STYLE = f"""{STYLE}
section {{ margin-top: 1.5rem; }}
svg {{ display: block; width: 100%; max-width: 60rem; height: auto; overflow: visible; }}
@media (max-width: 40rem) {{ svg text {{ font-size: 26px; }} }}
h3 {{ font-size: .9rem; margin: .8rem 0 0; }}
article {{ margin-top: 1rem; }}
.wide {{ overflow-x: auto; }}
table[aria-label="Summary"] {{ width: auto; overflow-wrap: normal; }}
.wide th, .wide td {{ text-align: right; padding: .15rem .6rem; width: auto; border-bottom: 1px solid var(--line); }}
.wide th[scope="row"] {{ text-align: left; min-width: 8rem; position: sticky; left: 0; background: var(--paper); }}
.both figure {{ max-width: 30rem; }}
"""

NAMES = {
    "correlation": "Correlation of the maps",
    "overlap": "Overlap of the maps",
    "shift": "Shift of the centre of mass, px",
    "inside_a": "Mass inside the box, A",
    "inside_b": "Mass inside the box, B",
    "inside_change": "Its change, B less A",
}
COLUMNS = ("mean", "worst", "quartile_1", "median", "quartile_3", "frames")


def report(
    facts: Mapping[str, str],
    summary: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    moved: Sequence[Moved],
) -> bytes:
    """Return the report as an HTML page, UTF-8.

    Args:
        facts: What to say of the run.
        summary: As `summary.summary` gives it.
        records: Of all frames, in order, at least one.
        moved: Those that moved most.
    """
    title = f"aerocam compare: {facts['A']} and {facts['B']}"
    agree = summary["top_class_agreement"]
    shown = {**facts, "Frames": str(summary["frames"]), "Same top class": f"{agree:.1%} of the frames"}
    main = (
        f"{_table(summary)}<section>\n<h2>Over the frames</h2>\n{_curves(records, moved)}</section>\n"
        f"<section>\n<h2>The frames that moved most</h2>\n{''.join(map(_card, moved))}</section>\n"
    )
    return html_page(title, OWN_STYLE, title, shown, main).encode("utf-8", "replace")


def _table(summary: Mapping[str, Any]) -> str:
    head = "".join(f'<th scope="col">{name.replace("_", " ")}</th>' for name in COLUMNS)
    rows = "".join(
        f'<tr><th scope="row">{NAMES[name]}</th>'
        + "".join(f"<td>{_number(summary[name][column])}</td>" for column in COLUMNS)
        + "</tr>\n"
        for name in NAMES
        if name in summary
    )
    table = f'<table aria-label="Summary">\n<tr><td></td>{head}</tr>\n{rows}</table>'
    return f'<div class="wide">{table}</div>\n'


def _curves(records: Sequence[Mapping[str, Any]], moved: Sequence[Moved]) -> str:
    timed = records[0]["time"] is not None
    places = [one["time"] if timed else one["frame"] for one in records]
    marked = [one.record["time"] if timed else one.record["frame"] for one in moved]
    shown = [["correlation"], ["overlap"], ["shift"]]
    shown += [["inside_a", "inside_b"]] if any("inside_a" in one for one in records) else []
    parts = []
    for names in shown:
        series = [(NAMES[name], [one.get(name) for one in records]) for name in names]
        title = NAMES[names[0]] if len(names) == 1 else "Mass inside the box: A solid, B dashed"
        worst = "highest" if names == ["shift"] else "lowest"
        drawn = curve(title, places, series, marked=marked, worst=worst, along="s" if timed else "")
        parts.append(f"<h3>{title}</h3>\n{drawn}\n")
    return "".join(parts)


def _card(moved: Moved) -> str:
    """Show one frame with both overlays side by side."""
    record = moved.record
    said = [f"{NAMES[name]}: {_number(record[name])}" for name in ("shift", "correlation", "overlap")]
    figures = ""
    for which, (data, width, height) in zip("ab", moved.pictures, strict=True):
        top, score = record[f"top_{which}"], record[f"score_{which}"]
        own = f"top class: {escape(top['label'])}, {_number(top['score'])}"
        caption = f"<b>{which.upper()}</b> score of the target {_number(score)}; {own}"
        alt = escape(f"{which.upper()}'s map for {record['target']['label']} over {record['name']}")
        figures += (
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{alt}" width="{width}" height="{height}"'
            f' decoding="async"><figcaption>{caption}</figcaption></figure>\n'
        )
    return (
        f"<article>\n<h2>{escape(record['name'])}, frame {record['frame']}: {escape(record['target']['label'])}</h2>\n"
        f'<div class="pictures both">\n{figures}</div>\n<p>{"; ".join(said)}</p>\n</article>\n'
    )


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
