"""The machines that bundles are made for: what their wheels must fit, and what must not be among them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace

from aerocam.errors import UsageError, did_you_mean

OLDEST_GLIBC = 17
"""Minor version of the glibc 2 of the oldest wheels there are for aarch64 (manylinux2014)."""

NEVER_ON_A_JETSON = re.compile(r"onnxruntime|opencv|tensorrt|nvidia-|torch")
"""Names of packages that a Jetson has from JetPack or NVIDIA; those of PyPI do not fit it."""

NUMPY_1 = "numpy>=1.23,<2"
"""JetPack's OpenCV, on Python 3.10 and 3.12 alike, is compiled for NumPy 1."""

FROM_NVIDIA = (
    ("TensorRT", "JetPack: sudo apt install python3-libnvinfer (or all of JetPack: nvidia-jetpack)"),
    ("OpenCV with GStreamer", "JetPack: sudo apt install libopencv-python"),
)
"""What a Jetson must have, and where it comes from."""

ORT = "ONNX Runtime (for .onnx files; engines do without)"


@dataclass(frozen=True)
class Target:
    """A kind of machine.

    Attributes:
        name: As `--platform` takes it.
        machine: Architecture of the processor, as wheels name it.
        python: Version of Python, (major, minor).
        glibc: Minor version of its glibc 2.
        requirements: What pip has to bring, with the versions that do.
        system: What pip must not bring, and where it comes from.
    """

    name: str
    machine: str
    python: tuple[int, int]
    glibc: int
    requirements: tuple[str, ...]
    system: tuple[tuple[str, str], ...] = ()

    @property
    def jetson(self) -> bool:
        """Return whether the machine brings packages of its own that pip must leave alone."""
        return bool(self.system)

    @property
    def python_text(self) -> str:
        """Return the version of Python as text, such as 3.10."""
        return ".".join(map(str, self.python))

    @property
    def tags(self) -> list[str]:
        """Return the platform tags, best first. pip takes each literally, and derives no others from it."""
        newest = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, OLDEST_GLIBC - 1, -1)]
        return [*newest, f"manylinux2014_{self.machine}"]


def _pc(machine: str) -> Target:
    """Describe a PC or a server with this Python's version."""
    packages = ("numpy>=1.23", "opencv-python-headless>=4.5", "onnxruntime>=1.16.3", "scikit-learn>=1.0")
    return Target(f"linux-{machine}", machine, (sys.version_info.major, sys.version_info.minor), 28, packages)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "jetson-jp6", "aarch64", (3, 10), 35, (NUMPY_1, "scikit-learn>=1.0", "cuda-python==12.6.*"),
            (*FROM_NVIDIA, (ORT, "https://pypi.jetson-ai-lab.io/jp6/cu126, package onnxruntime-gpu, with --no-deps")),
        ),
        Target(
            "jetson-jp7", "aarch64", (3, 12), 39, (NUMPY_1, "scikit-learn>=1.0", "cuda-python==13.0.*"),
            (*FROM_NVIDIA, (ORT, "https://pypi.jetson-ai-lab.io/sbsa/cu130, package onnxruntime-gpu, with --no-deps")),
        ),
        _pc("x86_64"),
        _pc("aarch64"),
    )
}  # fmt: skip
"""Kinds of machines by name."""


def find_target(name: str, python: str | None = None) -> Target:
    """Find a kind of machine by name, perhaps with another Python.

    Raises:
        UsageError: No machine has this name, or it has another Python.
    """
    if name not in TARGETS:
        raise UsageError(f"--platform {name}: there is no such platform. {did_you_mean(name, TARGETS)}")
    target = TARGETS[name]
    if python is None:
        return target
    match = re.fullmatch(r"3\.(\d+)", python)
    if match is None or int(match.group(1)) < 10:
        raise UsageError(f"--python {python}: expected 3.10 or newer, as in 3.10")
    wanted = (3, int(match.group(1)))
    if target.jetson and wanted != target.python:
        raise UsageError(
            f"--python {python}: {name} has Python {target.python_text}, and TensorRT for that alone; leave it out"
        )
    return replace(target, python=wanted)
