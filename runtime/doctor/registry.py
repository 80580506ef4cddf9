"""The table of probes, and how one is run: whatever it does, there is a finding, and in time.

A finding is an object with `state`: `found`, with what was found beside it; or `absent`, `failed` or `timeout`, with a
`reason`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aerocam.runtime.doctor.machine import LIMIT, MARK, Absent, Machine

Finding = dict[str, Any]
Findings = dict[str, Finding]
Look = Callable[[Machine], Finding]


@dataclass(frozen=True)
class Probe:
    """Names one thing to look for.

    Attributes:
        name: Its key in the record.
        look: Gives what it found, JSON-able; raises Absent where that is not there.
        isolated: Whether it imports a library, and runs in a process of its own for that.
    """

    name: str
    look: Look
    isolated: bool


PROBES: dict[str, Probe] = {}
"""By name, in the order in which they are run and shown."""


def probe(name: str, *, isolated: bool = False) -> Callable[[Look], Look]:
    """Enter a function into the table."""

    def enter(look: Look) -> Look:
        if name in PROBES:
            raise ValueError(f"probe {name} is there twice")
        PROBES[name] = Probe(name, look, isolated)
        return look

    return enter


def finding(look: Look, machine: Machine) -> Finding:
    """Return what a probe finds; its failures are findings too."""
    try:
        return {"state": "found", **look(machine)}
    except Absent as error:
        return {"state": "absent", "reason": " ".join(str(error).split())}
    except Exception as error:  # a probe that fails is itself a result
        return {"state": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def run_probe(probe: Probe, machine: Machine, limit: float = LIMIT + 5) -> Finding:
    """Run a probe; give up on it after `limit` seconds, and leave its thread to the end of the process."""
    findings: list[Finding] = []
    look = (lambda machine: machine.ask(probe.name)) if probe.isolated else probe.look
    thread = threading.Thread(target=lambda: findings.append(finding(look, machine)), daemon=True)
    thread.start()
    thread.join(limit)
    return findings[0] if findings else {"state": "timeout", "reason": f"no answer within {limit:g} s"}


def answer(name: str) -> None:
    """Print the finding of a probe; what the fresh interpreter of `ask_a_process` runs."""
    print(f"\n{MARK}{json.dumps(finding(PROBES[name].look, Machine()))}", flush=True)
