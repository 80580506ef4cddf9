"""The kinds of machines that aerocam knows, and how a package is got on each."""

from __future__ import annotations

from typing import Literal

from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.registry import Findings

Platform = Literal[
    "jetson-jp5", "jetson-jp6", "jetson-jp7", "jetson", "linux-x86_64-nvidia", "linux-x86_64", "linux-aarch64", "other"
]

SYSTEM_PYTHON = {"jetson-jp5": (3, 8), "jetson-jp6": (3, 10), "jetson-jp7": (3, 12)}
"""Python of a JetPack's Ubuntu: the only one for which its apt packages are."""

INDEXES = {
    "jetson-jp6": "https://pypi.jetson-ai-lab.io/jp6/cu126",
    "jetson-jp7": "https://pypi.jetson-ai-lab.io/sbsa/cu130",
}
"""Where wheels for a Jetson's GPU are; PyPI has none. Jetson AI Lab keeps them, with NVIDIA's help."""

CUDA_PYTHON = {"jetson-jp6": "cuda-python==12.6.*", "jetson-jp7": "cuda-python==13.0.*"}
"""cuda-python of a JetPack's CUDA."""

RTX = "tensorrt-rtx-cu12"
"""TensorRT for RTX on PyPI. It builds engines for GPUs that are not in the machine; on a PC alone."""

PIP = "python3 -m pip install"
VENV = "python3 -m venv --system-site-packages aerocam-venv && . aerocam-venv/bin/activate"

JETSON = {
    "numpy": f"{PIP} 'numpy>=1.23,<2'",
    "opencv": "sudo apt install libopencv-python",
    "tensorrt": "sudo apt install python3-libnvinfer",
    "jetpack": "sudo apt update && sudo apt install nvidia-jetpack",
    "scikit_learn": f"{PIP} scikit-learn 'numpy<2'",
    "pyav": f"{PIP} --no-deps av",
    "environment": VENV,
}
PC = {
    "numpy": f"{PIP} numpy",
    "opencv": f"{PIP} opencv-python-headless",
    "onnxruntime": f"{PIP} onnxruntime",
    "scikit_learn": f"{PIP} scikit-learn",
    "pyav": f"{PIP} av",
}
COMMANDS: dict[str, dict[str, str]] = {
    "jetson-jp5": {},
    "jetson": JETSON,
    **{
        name: {
            **JETSON,
            "onnxruntime": f"{PIP} --no-deps --index-url {INDEXES[name]} onnxruntime-gpu",
            "cuda_packages": f"{PIP} '{CUDA_PYTHON[name]}'",
        }
        for name in INDEXES
    },
    "linux-x86_64-nvidia": {
        **PC,
        "onnxruntime": f"{PIP} onnxruntime-gpu",
        "tensorrt": f"{PIP} tensorrt",
        "cuda_packages": f"{PIP} cuda-python",
        "driver": "sudo ubuntu-drivers install",
    },
    "linux-x86_64": {**PC, "tensorrt": f"{PIP} {RTX}"},
    "linux-aarch64": PC,
    "other": PC,
}
"""The command that brings a thing, by platform. None of a Jetson's puts PyPI's OpenCV or ONNX Runtime over JetPack's:
those of PyPI know neither its GPU nor its cameras. A thing that is not named cannot be had there."""


def platform_of(findings: Findings, machine: Machine) -> Platform:
    """Return what kind of machine this is."""
    soc = findings["board"].get("soc") or ""
    major = findings["jetpack"].get("major")
    if findings["jetpack"]["state"] == "found" or soc.startswith("tegra"):
        of_jetpack: dict[int | None, Platform] = {5: "jetson-jp5", 6: "jetson-jp6", 7: "jetson-jp7"}
        return of_jetpack.get(major, "jetson")
    if machine.architecture == "x86_64":
        return "linux-x86_64-nvidia" if findings["driver"]["state"] == "found" else "linux-x86_64"
    return "linux-aarch64" if machine.architecture == "aarch64" else "other"


def is_jetson(platform: str) -> bool:
    """Say whether it is a Jetson of any kind."""
    return platform.startswith("jetson")
