"""Probes in processes of their own: a library that crashes or hangs when it is imported takes no one with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

LIMIT = 30.0
"""Seconds for a process: the first import of a large library from an SD card takes some."""

MARK = "aerocam-doctor:"
"""Before the answer; libraries print to standard output as well."""


def ask_a_process(name: str) -> dict[str, Any]:
    """The finding of a probe, run in a fresh interpreter that finds the same packages as this one."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\nfrom aerocam.runtime.doctor.isolated import answer; answer({name!r})"
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


def answer(name: str) -> None:
    """Print the finding of a probe; what the fresh interpreter does."""
    from aerocam.runtime.doctor.machine import Machine
    from aerocam.runtime.doctor.registry import PROBES, finding

    print(f"\n{MARK}{json.dumps(finding(PROBES[name].look, Machine()))}", flush=True)


def _ended(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"ended the process with code {code}"
    try:
        return f"crashed the process ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed the process (signal {-code})"
