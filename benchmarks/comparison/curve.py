"""A figure over the frames, as an SVG that a page holds in itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 900, 170
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 30
MOST = 600
"""Points at most: of more frames, each point is the worst of several that follow each other."""


def curve(
    title: str,
    at: Sequence[float],
    series: Sequence[tuple[str, Sequence[float | None]]],
    *,
    marked: Sequence[float] = (),
    worst: str = "lowest",
    along: str = "s",
) -> str:
    """Draw lines over the frames.

    Args:
        title: What they show, with its unit.
        at: Of each frame, its place on the horizontal axis.
        series: Name and values of each line; None leaves a gap.
        marked: Places that are marked: the frames that moved most.
        worst: Which of several frames stands for them all, `lowest` or `highest`.
        along: Unit of the horizontal axis.

    Returns:
        An `svg` element. Colours are the page's; the lines differ by their dashes.
    """
    values = [value for _, line in series for value in line if value is not None]
    low, high = (min(0.0, *values), max(*values, 0.0)) if values else (0.0, 1.0)
    high = high if high > low else low + 1
    first, last = (at[0], at[-1]) if at[-1] > at[0] else (at[0] - 0.5, at[0] + 0.5)

    def x(place: float) -> float:
        return LEFT + (place - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    marks = "".join(
        f'<line x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="currentColor"'
        ' stroke-opacity="0.35" stroke-dasharray="2 4"/>'
        for place in marked
    )
    lines = "".join(
        _line([(x(place), y(value)) if value is not None else None for place, value in _thinned(at, line, worst)], i)
        for i, (_, line) in enumerate(series)
    )
    axes = _text(LEFT - 6, y(high) + 9, f"{high:.3g}", "end") + _text(LEFT - 6, y(low), f"{low:.3g}", "end")
    axes += _text(LEFT, HEIGHT - 10, f"{first:.4g} {along}", "start")
    axes += _text(WIDTH - RIGHT, HEIGHT - 10, f"{last:.4g} {along}", "end")
    frame = f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="currentColor"/>'
    names = ", ".join(name for name, _ in series)
    label = escape(f"{title}: {names}" if len(series) > 1 else title)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>'
        f"{frame}{marks}{lines}{axes}</svg>"
    )


def _thinned(at: Sequence[float], line: Sequence[float | None], worst: str) -> list[tuple[float, float | None]]:
    """Return the points of a line; of more than `MOST`, the worst of each few that follow each other."""
    step = math.ceil(len(at) / MOST)
    kept: list[tuple[float, float | None]] = []
    for start in range(0, len(at), step):
        points = list(zip(at[start : start + step], line[start : start + step], strict=True))
        valued = [(value, place) for place, value in points if value is not None]
        value, place = (max(valued) if worst == "highest" else min(valued)) if valued else (None, points[0][0])
        kept.append((place, value))
    return kept


def _line(points: Sequence[tuple[float, float] | None], number: int) -> str:
    """Draw one line, with a gap at each None; a point between two gaps is a dot."""
    path, pen = "", "M"
    for i, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        path += f"{pen}{point[0]:.1f} {point[1]:.1f}"
        alone = pen == "M" and (i + 1 == len(points) or points[i + 1] is None)
        path += "h0" if alone else ""
        pen = "L"
    dashes = f' stroke-dasharray="{"6 4" if number == 1 else "2 3"}"' if number else ""
    return f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="13" fill="currentColor">{text}</text>'
