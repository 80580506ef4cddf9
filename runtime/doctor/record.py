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
    return {
        "engine": _engine(findings),
        "builder": _builder(findings),
        "cuda": _cuda(findings),
        "onnx": _onnx(findings),
        "preprocessing": _named(findings, "opencv", "OpenCV"),
        "cameras": _cameras(findings["opencv"]),
        "clustering": _clustering(findings),
        "mp4": _named(findings, "pyav", "PyAV"),
    }


def _engine(findings: Findings) -> str | None:
    """Return what opens .engine files: all of TensorRT, a package for CUDA and a GPU."""
    if findings["tensorrt"]["state"] != "found" or findings["cuda"]["state"] != "found":
        return None
    return f"{findings['tensorrt']['module']} {findings['tensorrt']['version']}"


def _builder(findings: Findings) -> str | None:
    """Return what builds engines: TensorRT for the GPU here; that for RTX without one too."""
    finding = findings["tensorrt"]
    if finding["state"] != "found" or not finding["builder"]:
        return None
    text = f"{finding['module']} {finding['version']}"
    if findings["cuda"]["state"] == "found":
        return text
    return f"{text}, for other GPUs (`compute_capability`)" if finding["module"] == "tensorrt_rtx" else None


def _cuda(findings: Findings) -> str | None:
    """Return the package through which engines get their data."""
    cuda = findings["cuda"]
    return f"{cuda['package']} on {cuda['device']}" if cuda["state"] == "found" else None


def _onnx(findings: Findings) -> str | None:
    """Return what opens .onnx files."""
    finding = findings["onnxruntime"]
    if finding["state"] != "found":
        return None
    others = [name for name in finding["providers"] if name != "CPUExecutionProvider"]
    offered = f"; `providers` can name {', '.join(others)}" if others else ""
    return f"ONNX Runtime {finding['version']} on the CPU{offered}"


def _cameras(opencv: dict[str, Any]) -> str | None:
    """Return by what cameras and videos are opened."""
    if opencv["state"] != "found":
        return None
    ways = {"gstreamer": "GStreamer (CSI)", "v4l2": "V4L2 (USB)", "ffmpeg": "FFmpeg (files, RTSP)"}
    return ", ".join(text for key, text in ways.items() if opencv[key]) or None


def _clustering(findings: Findings) -> str | None:
    """Return what clusters CF-CAM's channels; a fused head does it in the graph."""
    if findings["scikit_learn"]["state"] == "found":
        return f"scikit-learn {findings['scikit_learn']['version']}"
    own = "aerocam's own, with the option dbscan=numpy of `method='cfcam'`"
    return own if findings["numpy"]["state"] == "found" else None


def _named(findings: Findings, name: str, title: str) -> str | None:
    """Return a package and its version."""
    finding = findings[name]
    return f"{title} {finding['version']}" if finding["state"] == "found" else None
