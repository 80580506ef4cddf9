"""The record of a machine: all probes, what aerocam will use of what they found, and what is to be done."""

from __future__ import annotations

from typing import Any

from aerocam import __version__
from aerocam.runtime.doctor import conflicts, hardware, modules, power, system
from aerocam.runtime.doctor.advice import advise
from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.platforms import platform_of
from aerocam.runtime.doctor.registry import PROBES, Findings, run_probe

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
    findings = {name: run_probe(probe, machine) for name, probe in PROBES.items()}
    platform = platform_of(findings, machine)
    return {
        "schema": SCHEMA,
        "aerocam": __version__,
        "platform": platform,
        "probes": findings,
        "uses": uses(findings),
        "advice": advise(findings, platform, machine),
    }


def uses(findings: Findings) -> dict[str, str | None]:
    """Return by what is done the package that will do it; None where none can."""
    found = {name: finding for name, finding in findings.items() if finding["state"] == "found"}
    return {
        "engine": _named(found, "tensorrt") if "cuda" in found else None,  # a package for CUDA and a GPU
        "builder": _builder(found),
        "cuda": _cuda(found),
        "onnx": _onnx(found),
        "preprocessing": _named(found, "opencv", "OpenCV"),
        "cameras": _cameras(found),
        "clustering": _clustering(found),
        "mp4": _named(found, "pyav", "PyAV"),
    }


def _builder(found: Findings) -> str | None:
    """Return what builds engines: TensorRT for the GPU here; that for RTX without one too."""
    text = _named(found, "tensorrt")
    if text is None or not found["tensorrt"]["builder"]:
        return None
    if "cuda" in found:
        return text
    return f"{text}, for other GPUs (`compute_capability`)" if found["tensorrt"]["module"] == "tensorrt_rtx" else None


def _cuda(found: Findings) -> str | None:
    """Return the package through which engines get their data."""
    return f"{found['cuda']['package']} on {found['cuda']['device']}" if "cuda" in found else None


def _onnx(found: Findings) -> str | None:
    """Return what opens .onnx files."""
    text = _named(found, "onnxruntime", "ONNX Runtime")
    if text is None:
        return None
    others = [name for name in found["onnxruntime"]["providers"] if name != "CPUExecutionProvider"]
    return f"{text} on the CPU" + (f"; `providers` can name {', '.join(others)}" if others else "")


def _cameras(found: Findings) -> str | None:
    """Return by what cameras and videos are opened."""
    ways = {"gstreamer": "GStreamer (CSI)", "v4l2": "V4L2 (USB)", "ffmpeg": "FFmpeg (files, RTSP)"}
    return ", ".join(text for key, text in ways.items() if found.get("opencv", {}).get(key)) or None


def _clustering(found: Findings) -> str | None:
    """Return what clusters CF-CAM's channels; a fused head does it in the graph."""
    own = "aerocam's own, with the option dbscan=numpy of `method='cfcam'`"
    return _named(found, "scikit_learn", "scikit-learn") or (own if "numpy" in found else None)


def _named(found: Findings, name: str, title: str | None = None) -> str | None:
    """Return a package and its version; without a title it is called as its module."""
    return f"{title or found[name]['module']} {found[name]['version']}" if name in found else None
