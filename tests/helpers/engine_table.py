"""The table of engines that `test_engines.py` has built: printed at the end of its run, and kept as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PROPERTY = "engine"
"""Under which a test's report has its row."""

COLUMNS = ("network", "layer", "what leaves it", "types", "parse s", "build s", "MB", "layers")


def rows(reports: Iterable[Any]) -> list[Mapping[str, Any]]:
    """What the tests' reports have, sorted by network."""
    found = [value for report in reports for name, value in report.user_properties if name == PROPERTY]
    return sorted(found, key=lambda row: row["order"])


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as text, in the order of `COLUMNS`."""
    names = [row["network"], row["layer"], row["leaves"], ", ".join(row["types"])]
    return [*names, f"{row['parse']:.2f}", f"{row['build']:.2f}", f"{row['bytes'] / 1e6:.2f}", str(row["layers"])]


def text(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table for a terminal."""
    lines = [list(COLUMNS), *map(cells, found)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return ["  ".join(_fitted(*cell) for cell in zip(line, widths, range(len(widths)), strict=True)) for line in lines]


def _fitted(cell: str, width: int, place: int) -> str:
    """Words to the left, numbers to the right."""
    return cell.ljust(width) if place < 4 else cell.rjust(width)


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """The table as a Markdown page."""
    made = found[0]["made"]
    lines = [
        "# What NVIDIA's parser and builder take",
        "",
        f"`make engines` wrote this page: every graph below was exported, parsed and built with {made['tensorrt']} for",
        f"compute capability {made['compute capability']}, without a GPU, on {made['processor']}. The tests build",
        "all of them on every commit, but most heads at YOLOv8n's outer scales.",
        "A build shows that operators, types and shapes are accepted. It shows neither",
        "speed nor the arithmetic on a GPU. TensorRT for RTX leaves the choice of kernels to the device; the full",
        "TensorRT measures them as it builds, and takes longer. **Nothing here has run on a GPU.** Layers are those of",
        "TensorRT's network, before the builder joins them, types those in which its products can run, the most",
        "frequent first; of a split export, files are added up.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---|--:|--:|--:|--:|",
        *(f"| {' | '.join(cells(row))} |" for row in found),
        "",
    ]
    return "\n".join(lines)
