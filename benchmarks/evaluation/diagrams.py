"""Curves as SVG diagrams that a page holds in itself, readable with many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d", "#7570b3")
DASHES = ("", ' stroke-dasharray="7 3"', ' stroke-dasharray="2 3"')
"""Dashes of the curves; all colours come with one dash, then with the next."""

CROWD = 10
"""Curves in a diagram at most, where several models have theirs: of more, each model has its own diagram."""

LONGEST = 27
"""Letters at most of a name in a legend."""

STYLE = """
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.curves figure { max-width: none; }
svg { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .axis { stroke: var(--faint); fill: none; }
polyline:hover { stroke-width: 4; }
"""

Line = Sequence[tuple[float, float]]
"""The points of a curve."""


def diagrams(name: str, lines: Mapping[tuple[str, str], Line], pens: Mapping[str, int]) -> str:
    """Draw all curves in one diagram, or in one per model with the same axes, as `figure` elements.

    Args:
        name: What they show.
        lines: By model and method.
        pens: Of each method, which pen draws it wherever a diagram is one model's.
    """
    points = [point for line in lines.values() for point in line]
    ends = [_ends([point[axis] for point in points]) for axis in (0, 1)]
    models = list(dict.fromkeys(model for model, _ in lines))
    if len(models) > 1 and len(lines) <= CROWD:
        mixed = [(f"{model} {method}", i, line) for i, ((model, method), line) in enumerate(lines.items())]
        return _figure(name, mixed, ends)
    return "".join(
        _figure(
            name if len(models) == 1 else f"{name}, {one}",
            [(method, pens[method], line) for (model, method), line in lines.items() if model == one],
            ends,
        )
        for one in models
    )


def _figure(name: str, lines: Sequence[tuple[str, int, Line]], ends: Sequence[tuple[float, float]]) -> str:
    """Draw one diagram with a legend below it, from each curve's name, pen number and points."""
    (x0, x1), (y0, y1) = ends
    deep = -(-len(lines) // 2)
    parts = [
        f'<path class="axis" d="M40 20V200H380"/><text x="-8" y="14">{escape(name)}</text>',
        *(f'<text x="36" y="{y}" text-anchor="end">{value:.3g}</text>' for y, value in ((28, y1), (200, y0))),
        f'<text x="40" y="214">{x0:.3g}</text><text x="380" y="214" text-anchor="end">{x1:.3g}</text>',
    ]
    ordered = sorted(lines, key=lambda one: -sum(y for _, y in one[2]) / len(one[2]))
    for place, (label, number, line) in enumerate(ordered):
        points = " ".join(
            f"{40 + 340 * (x - x0) / (x1 - x0):.1f},{200 - 180 * (y - y0) / (y1 - y0):.1f}" for x, y in line
        )
        title = f"<title>{escape(label)}</title>"
        parts.append(f'<polyline points="{points}" {_pen(number)}>{title}</polyline>')
        x, y = 200 * (place // deep) - 8, 234 + 15 * (place % deep)
        short = escape(label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…")
        parts.append(f'<path d="M{x} {y - 4}h24" {_pen(number)}/><text x="{x + 28}" y="{y}">{short}{title}</text>')
    drawn = "".join(parts)
    box = f"-16 0 416 {234 + 15 * deep}"
    return f'<figure><svg viewBox="{box}" role="img" aria-label="{escape(name)}">{drawn}</svg></figure>\n'


def _pen(number: int) -> str:
    """Return the SVG attributes of a line."""
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
    return f'fill="none" stroke="{colour}" stroke-width="1.6"{dash}'


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and the last value of an axis, which are never equal."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
