"""Probes: the power mode of a Jetson, and how its clocks are set."""

from __future__ import annotations

import re

from aerocam.runtime.doctor.machine import Absent, Machine
from aerocam.runtime.doctor.registry import Finding, probe


@probe("power")
def power(machine: Machine) -> Finding:
    """Find the mode that `nvpmodel -q` names, and its number."""
    if not machine.path("/etc/nvpmodel.conf").exists() and not machine.path("/usr/sbin/nvpmodel").exists():
        raise Absent("no nvpmodel: this is no Jetson")
    text = machine.run(["nvpmodel", "-q"])
    mode = re.search(r"NV Power Mode:\s*(\S+)", text)
    if mode is None:
        raise Absent(f"nvpmodel names no mode, it says: {' '.join(text.split())[:120] or 'nothing'}")
    number = re.search(r"^\s*(\d+)\s*$", text[mode.end() :], re.MULTILINE)
    modes = re.findall(
        r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", machine.text("/etc/nvpmodel.conf") or "", re.IGNORECASE
    )
    return {
        "mode": mode.group(1),
        "number": int(number.group(1)) if number else None,
        "modes": {name: int(identity) for identity, name in modes},
    }


@probe("clocks")
def clocks(machine: Machine) -> Finding:
    """Find frequencies of the GPU and of the processor, MHz; `fixed` where the least and the greatest are one."""
    gpu = _gpu(machine)
    policies = [folder.name for folder in machine.matches("/sys/devices/system/cpu/cpufreq/policy*")]
    cpu = [_range(machine, f"/sys/devices/system/cpu/cpufreq/{name}/scaling_{{}}_freq", 1000) for name in policies]
    if gpu is None and not any(cpu):
        raise Absent("the kernel shows no frequencies of a GPU or of the processor")
    shown = [clock for clock in (gpu, *cpu) if clock is not None]
    return {
        "gpu": gpu,
        "cpu": [clock for clock in cpu if clock is not None],
        "fixed": all(clock["min"] == clock["max"] for clock in shown),
    }


def _gpu(machine: Machine) -> dict[str, int] | None:
    """Return the GPU's clock: the kernel's file, else what jetson_clocks shows (which asks for root)."""
    for folder in machine.matches("/sys/class/devfreq/*"):
        if re.search(r"gpu|ga10b|gv11b|gp10b|gb10b", folder.name):
            clock = _range(machine, f"/sys/class/devfreq/{folder.name}/{{}}_freq", 1_000_000)
            if clock is not None:
                return clock
    try:
        text = machine.run(["jetson_clocks", "--show"]) if machine.path("/usr/bin/jetson_clocks").exists() else ""
    except Absent:  # without root it refuses; the kernel's files were asked first
        text = ""
    line = re.search(r"^GPU MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", text, re.MULTILINE)
    if line is None:
        return None
    least, most, current = (int(value) // 1_000_000 for value in line.groups())
    return {"current": current, "min": least, "max": most}


def _range(machine: Machine, pattern: str, unit: int) -> dict[str, int] | None:
    """Return current, least and greatest frequency of three files, in MHz."""
    values = [machine.text(pattern.format(name)) for name in ("cur", "min", "max")]
    if not all(value and value.isdigit() for value in values):
        return None
    now, least, most = (int(value) // unit for value in values if value)
    return {"current": now, "min": least, "max": most}


@probe("temperatures")
def temperatures(machine: Machine) -> Finding:
    """Find the temperatures of the kernel's thermal zones, in degrees Celsius: a board that is hot slows down."""
    celsius = {}
    for folder in machine.matches("/sys/class/thermal/thermal_zone*"):
        zone = f"/sys/class/thermal/{folder.name}"
        name, text = machine.text(f"{zone}/type"), machine.text(f"{zone}/temp")
        if name and text and text.lstrip("-").isdigit():
            celsius[name] = int(text) / 1000
    if not celsius:
        raise Absent("the kernel shows no temperatures")
    return {"celsius": celsius}
