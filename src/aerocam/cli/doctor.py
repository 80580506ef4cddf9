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

from aerocam.cli.flags import with_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


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
        lambda one: _joined(one["distribution"], one["kernel"], f"Python {one['python']}"),
    ),
    "board": ("board", lambda one: _joined(one["model"], one["soc"], one["processor"], f"{one['cores']} cores")),
    "jetpack": ("JetPack", lambda one: _joined(one["version"] or f"{one['major']}.x", f"Jetson Linux {one['l4t']}")),
    "memory": (
        "memory",
        lambda one: (
            f"{one['available_mib']} of {one['total_mib']} MiB free,"
            f" swap {one['swap_free_mib']} of {one['swap_total_mib']}"
        ),
    ),
    "disk": ("disk", lambda one: f"{one['free_mib']} of {one['total_mib']} MiB free here"),
    "cameras": ("cameras", lambda one: _cameras(one)),
    "driver": ("NVIDIA driver", lambda one: (one["version"] or "Tegra's own") if one["loaded"] else "not loaded"),
    "power": ("power mode", lambda one: _joined(one["mode"], f"-m {one['number']}")),
    "clocks": ("clocks", lambda one: _clocks(one)),
    "temperatures": ("hottest", lambda one: _hottest(one["celsius"])),
    "environment": ("environment", lambda one: _environment(one)),
    "numpy": ("NumPy", lambda one: _package(one)),
    "opencv": ("OpenCV", lambda one: _joined(_package(one), *(name for name in OPENERS if one[name]))),
    "onnxruntime": ("ONNX Runtime", lambda one: _joined(_package(one), *one["providers"])),
    "tensorrt": ("TensorRT", lambda one: _joined(f"{one['module']} {_package(one)}")),
    "cuda": (
        "GPU in CUDA",
        lambda one: _joined(
            one["device"],
            f"compute capability {one['compute_capability']}",
            "shares the CPU's memory" if one["integrated"] else "own memory",
            f"{one['free_mib']} of {one['total_mib']} MiB free",
            f"through {one['package']}",
        ),
    ),
    "cuda_packages": (
        "CUDA in Python",
        lambda one: _joined(*(f"{name} {text}" for name, text in one["versions"].items())),
    ),
    "scikit_learn": ("scikit-learn", lambda one: _package(one)),
    "pyav": ("PyAV", lambda one: _package(one)),
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
        title, line = LINES.get(name, (name, lambda one: _joined(*(f"{key} {one[key]}" for key in one))))
        facts = {key: value for key, value in finding.items() if key != "state"}
        lines.append(f"{title:<15} {line(facts) if finding['state'] == 'found' else '- ' + finding['reason']}")
    lines += ["", "aerocam will use"]
    lines += [f"  {title:<15} {record['uses'][key] or 'nothing'}" for key, title in USES.items()]
    for kind, title in (("missing", "missing"), ("warning", "to look at")):
        advice = [one for one in record["advice"] if one["kind"] == kind]
        lines += ["", title] if advice else []
        for one in advice:
            lines += [f"  {one['why']}", *(f"      {command}" for command in one["commands"])]
    return "\n".join(lines)


def _joined(*parts: str | None) -> str:
    """Join the parts that are not empty."""
    return ", ".join(part for part in parts if part)


def _package(one: dict[str, Any]) -> str:
    """Return the version and the origin of a package."""
    return f"{one['version']} ({one['from']})"


def _cameras(one: dict[str, Any]) -> str:
    """Return the devices with their names."""
    named = [f"{device['device']} {device['name']}".strip() for device in one["devices"]]
    return _joined(*named, "CSI daemon runs" if one["argus_daemon"] else None)


def _clocks(one: dict[str, Any]) -> str:
    """Return the frequencies of GPU and processor."""
    gpu, cpu = one["gpu"], one["cpu"]
    return _joined(
        f"GPU {gpu['current']} MHz ({gpu['min']} to {gpu['max']})" if gpu else None,
        f"CPU {cpu[0]['current']} MHz ({cpu[0]['min']} to {cpu[0]['max']})" if cpu else None,
        "fixed" if one["fixed"] else None,
    )


def _hottest(celsius: dict[str, float]) -> str:
    """Return the zone with the highest temperature."""
    name = max(celsius, key=lambda zone: celsius[zone])
    return f"{name} {celsius[name]:g} °C"


def _environment(one: dict[str, Any]) -> str:
    """Return the kind of Python environment."""
    kind = "virtual environment" if one["virtual"] else "conda" if one["conda"] else "no virtual environment"
    return _joined(kind, "sees the system's packages" if one["sees_system_packages"] else "does not see the system's")
