"""Say what this machine has, what aerocam will use of it, what is missing and the command that brings it.

Nothing is installed, changed or opened. It runs where packages are missing or broken, NumPy too; a package that crashes
or hangs when it is imported is reported like any other. The exit code is 0 whatever it finds.

Examples:
  aerocam doctor                    on the device, in the environment in which aerocam will run
  aerocam doctor --json             the same as one JSON object
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from aerocam.cli.arguments import argument
from aerocam.cli.flags import with_flags

ARGUMENTS = (argument("--json", action="store_true", help="print one JSON object"),)


def run(args: argparse.Namespace) -> None:
    """Examine the machine, and print what was found."""
    from aerocam.runtime.doctor import examine

    record = examine()
    print(json.dumps(record, indent=2, ensure_ascii=False) if args.json else with_flags(as_text(record)))


OPENERS = ("gstreamer", "ffmpeg", "v4l2")
"""Keys of what OpenCV's build can open."""

Line = Callable[[dict[str, Any]], str]

LINES: dict[str, tuple[str, Line]] = {
    "system": (
        "system",
        lambda facts: _joined(facts["distribution"], facts["kernel"], f"Python {facts['python']}"),
    ),
    "board": (
        "board",
        lambda facts: _joined(facts["model"], facts["soc"], facts["processor"], f"{facts['cores']} cores"),
    ),
    "jetpack": (
        "JetPack",
        lambda facts: _joined(facts["version"] or f"{facts['major']}.x", f"Jetson Linux {facts['l4t']}"),
    ),
    "memory": (
        "memory",
        lambda facts: (
            f"{facts['available_mib']} of {facts['total_mib']} MiB free,"
            f" swap {facts['swap_free_mib']} of {facts['swap_total_mib']}"
        ),
    ),
    "disk": ("disk", lambda facts: f"{facts['free_mib']} of {facts['total_mib']} MiB free here"),
    "cameras": ("cameras", lambda facts: _cameras(facts)),
    "driver": ("NVIDIA driver", lambda facts: (facts["version"] or "Tegra's own") if facts["loaded"] else "not loaded"),
    "power": ("power mode", lambda facts: _joined(facts["mode"], f"-m {facts['number']}")),
    "clocks": ("clocks", lambda facts: _clocks(facts)),
    "temperatures": ("hottest", lambda facts: _hottest(facts["celsius"])),
    "environment": ("environment", lambda facts: _environment(facts)),
    "numpy": ("NumPy", lambda facts: _package(facts)),
    "opencv": ("OpenCV", lambda facts: _joined(_package(facts), *(name for name in OPENERS if facts[name]))),
    "onnxruntime": ("ONNX Runtime", lambda facts: _joined(_package(facts), *facts["providers"])),
    "tensorrt": ("TensorRT", lambda facts: _joined(f"{facts['module']} {_package(facts)}")),
    "cuda": (
        "GPU in CUDA",
        lambda facts: _joined(
            facts["device"],
            f"compute capability {facts['compute_capability']}",
            "shares the CPU's memory" if facts["integrated"] else "own memory",
            f"{facts['free_mib']} of {facts['total_mib']} MiB free",
            f"through {facts['package']}",
        ),
    ),
    "cuda_packages": (
        "CUDA in Python",
        lambda facts: _joined(*(f"{name} {text}" for name, text in facts["versions"].items())),
    ),
    "scikit_learn": ("scikit-learn", lambda facts: _package(facts)),
    "pyav": ("PyAV", lambda facts: _package(facts)),
}
"""Title and line of what each probe finds. A probe without one is shown by its keys."""

USES = {
    "engine": ".engine files",
    "builder": "engine builds",
    "cuda": "GPU through",
    "onnx": ".onnx files",
    "preprocessing": "preprocessing",
    "cameras": "cameras, video",
    "clustering": "CF-CAM clusters",
    "mp4": "H.264 in .mp4",
}


def as_text(record: dict[str, Any]) -> str:
    """Return the record as text for people."""
    lines = [f"aerocam {record['aerocam']} on {record['platform']}", ""]
    probes = record["probes"]
    for name in [*LINES, *(name for name in probes if name not in LINES)]:
        finding = probes[name]
        if name == "packages" and finding["state"] == "found":
            continue  # of use for the advice alone
        title, line = LINES.get(name, (name, lambda facts: _joined(*(f"{key} {facts[key]}" for key in facts))))
        facts = {key: value for key, value in finding.items() if key != "state"}
        lines.append(f"{title:<15} {line(facts) if finding['state'] == 'found' else '- ' + finding['reason']}")
    lines += ["", "aerocam will use"]
    lines += [f"  {title:<15} {record['uses'][key] or 'nothing'}" for key, title in USES.items()]
    for kind, title in (("missing", "missing"), ("warning", "to look at")):
        advice = [piece for piece in record["advice"] if piece["kind"] == kind]
        lines += ["", title] if advice else []
        for piece in advice:
            lines += [f"  {piece['why']}", *(f"      {command}" for command in piece["commands"])]
    return "\n".join(lines)


def _joined(*parts: str | None) -> str:
    """Join the parts that are not empty."""
    return ", ".join(part for part in parts if part)


def _package(facts: dict[str, Any]) -> str:
    """Return the version and the origin of a package."""
    return f"{facts['version']} ({facts['from']})"


def _cameras(facts: dict[str, Any]) -> str:
    """Return the devices with their names."""
    named = [f"{device['device']} {device['name']}".strip() for device in facts["devices"]]
    return _joined(*named, "CSI daemon runs" if facts["argus_daemon"] else None)


def _clocks(facts: dict[str, Any]) -> str:
    """Return the frequencies of GPU and processor."""
    gpu, cpu = facts["gpu"], facts["cpu"]
    return _joined(
        f"GPU {gpu['current']} MHz ({gpu['min']} to {gpu['max']})" if gpu else None,
        f"CPU {cpu[0]['current']} MHz ({cpu[0]['min']} to {cpu[0]['max']})" if cpu else None,
        "fixed" if facts["fixed"] else None,
    )


def _hottest(celsius: dict[str, float]) -> str:
    """Return the zone with the highest temperature."""
    name = max(celsius, key=lambda zone: celsius[zone])
    return f"{name} {celsius[name]:g} °C"


def _environment(facts: dict[str, Any]) -> str:
    """Return the kind of Python environment."""
    kind = "virtual environment" if facts["virtual"] else "conda" if facts["conda"] else "no virtual environment"
    return _joined(kind, "sees the system's packages" if facts["sees_system_packages"] else "does not see the system's")
