"""The machine that is looked at: its files, its commands and its Python packages. Tests put another in its place.

Libraries are imported in a process of their own: one that crashes or hangs takes no one with it.
"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 30.0
"""Seconds for a process: the first import of a large library from an SD card takes some."""

MARK = "aerocam-doctor:"
"""Before the answer; libraries print to standard output as well."""


def ask_a_process(name: str) -> dict[str, Any]:
    """Return the finding of a probe, run in a fresh interpreter that finds the same packages as this one."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\nfrom aerocam.runtime.doctor.registry import answer; answer({name!r})"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=LIMIT,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"state": "timeout", "reason": f"importing it took more than {LIMIT:g} s"}
    except OSError as error:
        return {"state": "failed", "reason": f"no process could be started: {error.strerror or error}"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            finding: dict[str, Any] = json.loads(line[len(MARK) :])
            return finding
    said = done.stderr.strip().splitlines()
    return {"state": "failed", "reason": f"importing it {_ended(done.returncode)}{f': {said[-1]}' if said else ''}"}


def _ended(code: int) -> str:
    """Say how a process ended, by its return code."""
    if code >= 0:
        return f"ended the process with code {code}"
    try:
        return f"crashed the process ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed the process (signal {-code})"


COMMAND_LIMIT = 5.0
"""Seconds within which a command must answer."""


class Absent(Exception):
    """Says that what a probe looks for is not there, and how that was found."""


@dataclass(frozen=True)
class Machine:
    """Shows probes the machine that they look at.

    Attributes:
        root: Folder with this machine's `etc`, `proc`, `sys`, ...
        architecture: Of the processor, as `uname -m` says it.
        python: Version of this Python, (major, minor).
        run: Runs a command and gives what it prints; raises Absent where it cannot.
        ask: Runs a probe by its name in a process of its own, and gives its finding.
    """

    root: Path = Path("/")
    architecture: str = field(default_factory=platform.machine)
    python: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    run: Callable[[Sequence[str]], str] = field(default_factory=lambda: run_command)
    ask: Callable[[str], dict[str, Any]] = ask_a_process

    def path(self, path: str) -> Path:
        """Return an absolute path of this machine."""
        return self.root / path.lstrip("/")

    def text(self, *paths: str) -> str | None:
        """Return what the first of these files that can be read holds, without blanks and the zeros of device trees."""
        for path in paths:
            try:
                return self.path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
            except OSError:
                continue
        return None

    def matches(self, pattern: str) -> list[Path]:
        """Return files and folders whose absolute path matches a pattern, in order."""
        return sorted(self.root.glob(pattern.lstrip("/")))


def run_command(command: Sequence[str]) -> str:
    """Run a command and return what it prints to standard output.

    Raises:
        Absent: It is not there, fails, or does not answer in time.
    """
    name = command[0]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMMAND_LIMIT, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Absent(f"there is no command {name}") from error
    except OSError as error:
        raise Absent(f"{name} cannot be run: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise Absent(f"{name} gave no answer within {COMMAND_LIMIT:g} s") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:200]
        raise Absent(f"{name} ended with code {done.returncode}{f': {said}' if said else ''}")
    return done.stdout
