"""Probes of Python packages. Each runs in a process of its own: one that crashes is a finding like any other."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

from aerocam.errors import AerocamError
from aerocam.runtime.doctor.machine import Absent, Machine
from aerocam.runtime.doctor.registry import Finding, probe

ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
"""Packages of pip that all bring the module onnxruntime, one over the other."""

OPENCV_PACKAGES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""Packages of pip that all bring the module cv2."""


@probe("environment", isolated=True)
def environment(machine: Machine) -> Finding:
    """Find whether this Python is a virtual environment, and sees the system's packages."""
    purelib = sysconfig.get_paths()["purelib"]
    return {
        "virtual": sys.prefix != sys.base_prefix,
        "conda": (Path(sys.prefix) / "conda-meta").is_dir(),
        "system_python": sys.base_prefix == "/usr",
        "sees_system_packages": any(path.endswith("dist-packages") for path in sys.path),
        "writable": os.access(purelib, os.W_OK),
        "root": os.geteuid() == 0,
        "aerocam": importlib.import_module("aerocam").__version__,
    }


@probe("numpy", isolated=True)
def numpy(machine: Machine) -> Finding:
    """Find NumPy, which everything needs."""
    module = _module("numpy")
    module.zeros(2).sum()  # its compiled part
    return _package(module)


@probe("opencv", isolated=True)
def opencv(machine: Machine) -> Finding:
    """Find OpenCV, and what its build can open."""
    module = _module("cv2")
    build = module.getBuildInformation()
    has = {key: re.search(rf"^\s*{line}:\s*YES", build, re.MULTILINE) is not None for key, line in VIDEO.items()}
    return {**_package(module), **has, "packages": _installed(OPENCV_PACKAGES)}


VIDEO = {"gstreamer": "GStreamer", "ffmpeg": "FFMPEG", "v4l2": "v4l/v4l2"}
"""Lines of OpenCV's build information."""


@probe("onnxruntime", isolated=True)
def onnxruntime(machine: Machine) -> Finding:
    """Find ONNX Runtime and its execution providers."""
    module = _module("onnxruntime")
    if not hasattr(module, "get_available_providers"):
        raise Absent(
            "a folder named onnxruntime is there, but no ONNX Runtime in it; two packages were removed by half"
        )
    providers = list(module.get_available_providers())
    return {**_package(module), "providers": providers, "packages": _installed(ORT_PACKAGES)}


@probe("tensorrt", isolated=True)
def tensorrt(machine: Machine) -> Finding:
    """Find TensorRT, as sessions and the builder load it."""
    from aerocam.runtime.trt.bindings import load_tensorrt

    try:
        loaded = load_tensorrt()
    except AerocamError as error:
        raise Absent(str(error).partition("; on a Jetson")[0].removeprefix("TensorRT: ")) from error
    return {
        "module": loaded.name,
        "version": loaded.version,
        "from": _origin(loaded.module),
        "builder": hasattr(loaded.module, "Builder"),
    }


@probe("cuda", isolated=True)
def cuda(machine: Machine) -> Finding:
    """Find the GPU, through the package that engines are run with."""
    try:
        choice = importlib.import_module("aerocam.runtime.cuda.choice")
    except ModuleNotFoundError as error:
        raise Absent(f"this aerocam has no CUDA module ({error.name})") from error
    if not choice.installed():
        raise Absent("no package of Python for CUDA is installed")
    try:
        with contextlib.closing(choice.open_cuda()) as access:
            device = access.device()
    except AerocamError as error:
        raise Absent(str(error)) from error
    return {
        "package": access.name,
        "device": device.name,
        "compute_capability": device.compute_capability,
        "integrated": device.integrated,
        "total_mib": device.total_memory >> 20,
        "free_mib": device.free_memory >> 20,
        "graphs": access.can_capture,
    }


@probe("cuda_packages", isolated=True)
def cuda_packages(machine: Machine) -> Finding:
    """Find the packages through which Python reaches CUDA; one is enough."""
    versions = {name: version for name in ("cuda-python", "cuda-bindings", "pycuda") if (version := _version(name))}
    if not versions:
        raise Absent("neither cuda-python nor pycuda is installed")
    return {"versions": versions}


@probe("scikit_learn", isolated=True)
def scikit_learn(machine: Machine) -> Finding:
    """Find scikit-learn, for CF-CAM's clusters."""
    module = _module("sklearn")
    _module("sklearn.cluster")  # its compiled parts, and scipy
    return _package(module)


@probe("pyav", isolated=True)
def pyav(machine: Machine) -> Finding:
    """Find PyAV, for H.264 in .mp4."""
    module = _module("av")
    return _package(module)


def _module(name: str) -> Any:
    """Import a package; it must not be there, or work."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0]:
            raise Absent(f"{error.name} is not installed") from error
        raise


def _package(module: Any) -> Finding:
    """Return the version of a package, and where it lies."""
    return {"version": module.__version__, "from": _origin(module)}


def _origin(module: Any) -> str:
    """Return where a package lies: `system` (apt), `environment` (pip), `user` (pip, in the home) or `other`."""
    path = str(getattr(module, "__file__", "") or "")
    if "/dist-packages/" in path and path.startswith("/usr/"):
        return "user" if path.startswith("/usr/local/") else "system"
    if path.startswith(str(Path.home() / ".local")):
        return "user"
    return "environment" if "/site-packages/" in path else "other"


def _installed(names: tuple[str, ...]) -> list[str]:
    """Return those of these packages that pip has installed, with versions."""
    return [f"{name} {version}" for name in names if (version := _version(name))]


def _version(name: str) -> str | None:
    """Return the version of what pip has installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
