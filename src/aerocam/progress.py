"""A progress line on a terminal, and nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
from time import perf_counter
from typing import TextIO

INTERVAL = 0.1
"""Least time between two redraws, s."""


class TerminalLine:
    """A line that is drawn over and over, on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Prepare the line, without drawing it yet.

        Args:
            stream: Where to draw; standard error by default. Nothing is drawn unless it is a terminal.
        """
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream is not None and self._stream.isatty()
        self._drawn = 0.0

    def due(self) -> bool:
        """Return whether it is time to draw the line again."""
        return self._shown and perf_counter() - self._drawn >= INTERVAL

    def draw(self, text: str) -> None:
        """Put `text` in place of what the line shows."""
        self._drawn = perf_counter()
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{text[:width]:{width}}")
        self._stream.flush()

    def close(self) -> None:
        """Clear the line: at the end, or for a line of text; after that it is due at once."""
        if self._shown and self._drawn:
            self._drawn = 0.0
            self._stream.write(f"\r{'':{shutil.get_terminal_size().columns - 1}}\r")
            self._stream.flush()


class Progress:
    """Shows how many frames are done, the rate, the time left, and how many failed."""

    def __init__(self, total: int = 0, stream: TextIO | None = None) -> None:
        """Start the clock.

        Args:
            total: How many there will be; 0 where nobody knows.
            stream: Where to draw; standard error by default. Nothing is drawn unless it is a terminal.
        """
        self._total = total
        self._line = TerminalLine(stream)
        self._started = perf_counter()

    def __call__(self, done: int, failed: int = 0) -> None:
        """Say that `done` frames are finished, `failed` of them without success."""
        if not self._line.due():
            return
        rate = done / max(perf_counter() - self._started, 1e-6)
        line = f"{done} frames, {rate:.1f}/s"
        if self._total:
            left = max(self._total - done, 0) / rate
            filled = min(20 * done // self._total, 20)
            line = f"[{'#' * filled}{'.' * (20 - filled)}] {done}/{self._total}, {rate:.1f}/s, {left:.0f} s left"
        self._line.draw(line + (f", {failed} failed" if failed else ""))

    def close(self) -> None:
        """Clear the line: at the end, or for a line of text; the next call draws it again at once."""
        self._line.close()
