"""How far a build is, and how it is ended early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from aerocam.progress import TerminalLine

WIDTH = 20
"""Of the bar, in characters."""


class Phases:
    """Keeps the phases that a builder has begun and not finished, one within the other. Any thread may call."""

    def __init__(self) -> None:
        """Begin without any phase."""
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str | None, int, int]] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note that a phase of so many steps begins, within another or by itself."""
        with self._lock:
            self._open[name] = (parent, max(steps, 1), 0)

    def step(self, name: str, step: int) -> None:
        """Note that a phase's step of this number, from 0, is done."""
        with self._lock:
            if name in self._open:
                parent, steps, done = self._open[name]
                self._open[name] = (parent, steps, max(done, min(step + 1, steps)))

    def finish(self, name: str) -> None:
        """Note that a phase is over, whether or not all its steps were done."""
        with self._lock:
            self._open.pop(name, None)

    def __str__(self) -> str:
        """Return a bar for the outermost phase, and the name and steps of the innermost."""
        with self._lock:
            if not self._open:
                return ""
            names = list(self._open)
            root = next((name for name in names if self._open[name][0] not in self._open), names[0])
            _, steps, done = self._open[names[-1]]
            filled = int(WIDTH * min(self._share(root), 1))
            return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {names[-1]}, {done} of {steps}"

    def _share(self, name: str) -> float:
        """Return how much of a phase is done, 0 to 1, with what is done of those within it."""
        _, steps, done = self._open[name]
        within = [self._share(other) for other, (parent, _, _) in self._open.items() if parent == name]
        return (done + sum(within)) / steps


class BuildMonitor:
    """Draws how far a build is, and ends it at the next step; `build_monitor` makes it TensorRT's.

    TensorRT calls it from its threads; an exception would reach nobody.
    """

    def __init__(self, line: TerminalLine, stopped: Callable[[], bool]) -> None:
        """See `build_monitor`."""
        self.phases, self._line, self._stopped = Phases(), line, stopped

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Note and draw that a phase begins."""
        self.phases.start(phase_name, parent_phase, num_steps)
        self._draw()

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Note and draw that a step is done; return whether to go on."""
        self.phases.step(phase_name, step)
        self._draw()
        return not self._stopped()

    def phase_finish(self, phase_name: str) -> None:
        """Note and draw that a phase is over."""
        self.phases.finish(phase_name)
        self._draw()

    def _draw(self) -> None:
        if self._line.due():
            self._line.draw(str(self.phases))


def build_monitor(trt: Any, line: TerminalLine, stopped: Callable[[], bool]) -> Any:
    """Return TensorRT's progress monitor.

    Args:
        trt: The module.
        line: Where to draw.
        stopped: Whether the build is to end.
    """

    class ProgressMonitor(BuildMonitor, trt.IProgressMonitor):  # type: ignore[misc]
        """Is the same monitor as TensorRT's own class."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # TensorRT refuses an object whose own part was not made
            BuildMonitor.__init__(self, line, stopped)

    return ProgressMonitor()
