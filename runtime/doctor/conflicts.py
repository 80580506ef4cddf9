"""Rules: what is there, but will make trouble."""

from __future__ import annotations

from aerocam.runtime.doctor.advice import Advice, Case, rule
from aerocam.runtime.doctor.platforms import is_jetson

CPU_ONLY = {"CPUExecutionProvider", "AzureExecutionProvider"}
"""Providers of the build of ONNX Runtime that PyPI has under its plain name."""

LEAST_MIB = 2000
"""Memory below which a builder is better told how much it may take."""


@rule
def two_onnxruntimes(case: Case) -> Advice | None:
    """Warn of two packages of ONNX Runtime: they write over each other's files."""
    packages = case.findings["onnxruntime"].get("packages", [])
    if len(packages) < 2:
        return None
    names = " ".join(sorted(name.split()[0] for name in packages))
    why = f"{' and '.join(packages)} are installed one over the other; which one runs is a matter of chance"
    removed = f"python3 -m pip uninstall -y {names}"
    return Advice("warning", "onnxruntime", why, (removed, *case.commands("onnxruntime")))


@rule
def onnxruntime_without_gpu(case: Case) -> Advice | None:
    """Warn of PyPI's build of ONNX Runtime on a Jetson, which has no GPU."""
    finding = case.findings["onnxruntime"]
    if not is_jetson(case.platform) or not case.found("onnxruntime") or set(finding["providers"]) - CPU_ONLY:
        return None
    again = case.commands("onnxruntime")
    if not again or len(finding["packages"]) > 1:
        return None
    why = f"ONNX Runtime {finding['version']} is a build for the CPU alone; .onnx files run, slowly"
    return Advice("warning", "onnxruntime", why, ("python3 -m pip uninstall -y onnxruntime", *again))


@rule
def opencv_without_gstreamer(case: Case) -> Advice | None:
    """Warn of pip's OpenCV over JetPack's: it opens no CSI camera."""
    finding = case.findings["opencv"]
    if not is_jetson(case.platform) or not case.found("opencv") or finding["gstreamer"]:
        return None
    names = " ".join(package.split()[0] for package in finding["packages"])
    why = f"OpenCV {finding['version']} is built without GStreamer, so that CSI cameras cannot be opened"
    removed = (f"python3 -m pip uninstall -y {names}",) if names else ()
    return Advice("warning", "opencv", why, (*removed, *case.commands("opencv")))


@rule
def numpy_of_another_age(case: Case) -> Advice | None:
    """Warn of NumPy 2 on a Jetson: JetPack's OpenCV is compiled for NumPy 1."""
    finding = case.findings["numpy"]
    if not is_jetson(case.platform) or not case.found("numpy") or int(finding["version"].partition(".")[0]) < 2:
        return None
    why = f"NumPy {finding['version']}: JetPack's OpenCV is compiled for NumPy 1 and may not load beside it"
    return Advice("warning", "numpy", why, case.commands("numpy"))


@rule
def cameras_not_readable(case: Case) -> Advice | None:
    """Warn where no camera can be opened by this user: they belong to a group."""
    devices = case.findings["cameras"].get("devices", [])
    locked = [device["device"] for device in devices if not device["readable"]]
    if not locked or len(locked) < len(devices):
        return None
    why = f"{', '.join(locked)}: this user may not open them; a new login is needed after the command"
    return Advice("warning", "cameras", why, ("sudo usermod -aG video $USER",))


@rule
def little_memory(case: Case) -> Advice | None:
    """Warn of little memory on a Jetson: the builder shares it with everything else."""
    finding = case.findings["memory"]
    if not is_jetson(case.platform) or not case.found("memory") or finding["available_mib"] >= LEAST_MIB:
        return None
    why = (
        f"{finding['available_mib']} MiB of memory are free, {finding['swap_free_mib']} MiB of swap: building an engine"
        " may run out of it; end the desktop while it builds, and give `aerocam build` a `workspace`"
    )
    return Advice("warning", "memory", why, ("sudo systemctl isolate multi-user.target",))


@rule
def power_below_the_most(case: Case) -> Advice | None:
    """Warn of a power mode below the most: figures of a throttled board say little."""
    finding = case.findings["power"]
    if not case.found("power") or finding["mode"].startswith("MAXN"):
        return None
    best = next((name for name in sorted(finding["modes"], reverse=True) if name.startswith("MAXN")), None)
    if best is None:
        return None
    why = f"power mode {finding['mode']}; for figures that can be compared take {best} and fix the clocks"
    return Advice("warning", "power", why, (f"sudo nvpmodel -m {finding['modes'][best]}", "sudo jetson_clocks"))
