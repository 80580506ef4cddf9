"""All probes, what follows from them, and what is to be done: one record."""

from __future__ import annotations

from typing import Any

from aerocam import __version__
from aerocam.runtime.doctor import conflicts, hardware, modules, power, system
from aerocam.runtime.doctor.advice import advise
from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.platforms import platform_of
from aerocam.runtime.doctor.registry import PROBES, run_probe
from aerocam.runtime.doctor.uses import uses

SCHEMA = 1
"""Version of the record's form."""

TABLES = (system, hardware, power, modules, conflicts)
"""Modules whose probes and rules enter the tables when they are imported."""


def examine(machine: Machine | None = None) -> dict[str, Any]:
    """Look at a machine.

    Args:
        machine: Where to look; None: here.

    Returns:
        JSON-able: `schema`, `aerocam`, `platform`, `probes` (a finding for each, see `registry`), `uses` (what does
        what, None where nothing can) and `advice` (what is missing or will make trouble, and the commands).
    """
    machine = machine or Machine()
    findings = {name: run_probe(one, machine) for name, one in PROBES.items()}
    platform = platform_of(findings, machine)
    return {
        "schema": SCHEMA,
        "aerocam": __version__,
        "platform": platform,
        "probes": findings,
        "uses": uses(findings),
        "advice": advise(findings, platform, machine),
    }
