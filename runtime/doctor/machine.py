"""The machine that is looked at: its files, its commands and its Python packages. Tests put another in its place."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aerocam.runtime.doctor.isolated import ask_a_process

COMMAND_LIMIT = 5.0
"""Seconds within which a command must answer."""


class Absent(Exception):
    """What a probe looks for is not there; the text says how that was found."""


@dataclass(frozen=True)
class Machine:
    """Where probes look.

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
        """An absolute path of this machine."""
        return self.root / path.lstrip("/")

    def text(self, *paths: str) -> str | None:
        """What the first of these files that can be read holds, without blanks and the zeros of device trees."""
        for path in paths:
            try:
                return self.path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
            except OSError:
                continue
        return None

    def matches(self, pattern: str) -> list[Path]:
        """Files and folders whose absolute path matches a pattern, in order."""
        return sorted(self.root.glob(pattern.lstrip("/")))


def run_command(command: Sequence[str]) -> str:
    """What a command prints to standard output.

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
