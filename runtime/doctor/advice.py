"""What is missing, or will make trouble, and the commands against it. One rule per function; a table of rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.platforms import COMMANDS, PIP, RTX, SYSTEM_PYTHON, VENV, Platform, is_jetson
from aerocam.runtime.doctor.registry import Findings


@dataclass(frozen=True)
class Advice:
    """Says what is to be done.

    Attributes:
        kind: `missing`, for what is needed and not there; `warning`, for what will make trouble.
        subject: What it is about: the probe's name.
        why: What was found, and what it means.
        commands: What to run, in order; empty where no command helps.
    """

    kind: Literal["missing", "warning"]
    subject: str
    why: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """Holds what a rule decides on."""

    findings: Findings
    platform: Platform
    machine: Machine

    def found(self, name: str) -> bool:
        """Say whether a probe found what it looks for."""
        return bool(self.findings[name]["state"] == "found")

    def reason(self, name: str) -> str:
        """Return why a probe did not find what it looks for."""
        return str(self.findings[name].get("reason", ""))

    def commands(self, name: str) -> tuple[str, ...]:
        """Return the commands that bring a thing on this platform."""
        return (COMMANDS[self.platform][name],) if name in COMMANDS[self.platform] else ()

    @property
    def apt(self) -> dict[str, str]:
        """Return the packages of apt, with their versions."""
        return dict(self.findings["packages"].get("installed", {}))


Rule = Callable[[Case], Advice | None]
RULES: list[Rule] = []


def rule(decide: Rule) -> Rule:
    """Enter a function into the table."""
    RULES.append(decide)
    return decide


def advise(findings: Findings, platform: Platform, machine: Machine) -> list[dict[str, Any]]:
    """Return what all rules say of a machine, missing things first."""
    case = Case(findings, platform, machine)
    advice = [said for decide in RULES if (said := decide(case)) is not None]
    return [asdict(said) | {"commands": list(said.commands)} for said in sorted(advice, key=lambda said: said.kind)]


@rule
def python_of_jetpack(case: Case) -> Advice | None:
    """Warn where this is not the system's Python: JetPack's packages are for that only."""
    if case.platform == "jetson-jp5":
        return Advice(
            "warning",
            "jetpack",
            "JetPack 5 has Python 3.8, aerocam needs 3.10: its TensorRT and OpenCV cannot be used from here. On an Orin"
            " flash JetPack 6 or 7; a Xavier can run .onnx files on the CPU with a Python 3.10 of its own",
        )
    needed = SYSTEM_PYTHON.get(case.platform)
    if needed is None or case.machine.python == needed:
        return None
    got, need = (".".join(map(str, version)) for version in (case.machine.python, needed))
    return Advice(
        "warning",
        "environment",
        f"this is Python {got}; JetPack's TensorRT and OpenCV are for its own Python {need} alone",
        (VENV.replace("python3 ", "/usr/bin/python3 ", 1),),
    )


@rule
def environment_sees_the_system(case: Case) -> Advice | None:
    """Tell of a plain virtual environment: it hides JetPack's packages."""
    seen = case.findings["environment"]
    if not is_jetson(case.platform) or not case.found("environment") or seen["sees_system_packages"]:
        return None
    why = "this environment does not see the system's packages, and TensorRT and OpenCV of JetPack are such"
    return Advice("missing", "environment", why, (VENV,))


@rule
def numpy(case: Case) -> Advice | None:
    """Tell where NumPy is missing, which everything needs."""
    if case.found("numpy"):
        return None
    why = f"NumPy: {case.reason('numpy')}; aerocam needs it for everything"
    fresh = [command.replace(PIP, f"{PIP} --force-reinstall") for command in case.commands("numpy")]
    broken = case.findings["numpy"]["state"] != "absent"
    return Advice("missing", "numpy", why, tuple(fresh) if broken else case.commands("numpy"))


@rule
def opencv(case: Case) -> Advice | None:
    """Tell where OpenCV is missing, which pictures, video and overlays need."""
    if case.found("opencv"):
        return None
    installed = [name for name in ("libopencv-python", "python3-opencv") if name in case.apt]
    why = f"OpenCV: {case.reason('opencv')}; it reads pictures and cameras and draws overlays"
    if is_jetson(case.platform) and installed:
        why = f"{why}. {installed[0]} of apt is installed, but not seen from here"
        return Advice("missing", "opencv", why, (VENV,))
    return Advice("missing", "opencv", why, case.commands("opencv"))


@rule
def onnxruntime(case: Case) -> Advice | None:
    """Tell where ONNX Runtime is missing, which .onnx files need."""
    if case.found("onnxruntime"):
        return None
    why = f"ONNX Runtime: {case.reason('onnxruntime')}; it runs .onnx files (engines need TensorRT alone)"
    return Advice("missing", "onnxruntime", why, case.commands("onnxruntime"))


@rule
def tensorrt(case: Case) -> Advice | None:
    """Tell where TensorRT is missing, which engines need, where there is a GPU, and to build some elsewhere."""
    if case.found("tensorrt") or case.platform == "jetson-jp5":
        return None
    why = f"TensorRT: {case.reason('tensorrt')}; it builds and runs engines"
    if not _has_gpu(case):
        if case.platform != "linux-x86_64":
            return None
        why = f"{why} on NVIDIA's GPUs, and none is seen here; TensorRT for RTX builds them for other machines"
        return Advice("warning", "tensorrt", why, case.commands("tensorrt"))
    if case.platform == "linux-x86_64-nvidia":
        why = f"{why}. For RTX cards there is TensorRT for RTX, package {RTX}, in its place"
        return Advice("missing", "tensorrt", why, case.commands("tensorrt"))
    if is_jetson(case.platform) and "python3-libnvinfer" in case.apt:
        why = f"{why}. python3-libnvinfer of apt is installed, but not seen from here"
        return Advice("missing", "tensorrt", why, (VENV,))
    name = "jetpack" if is_jetson(case.platform) and "nvidia-jetpack" not in case.apt else "tensorrt"
    return Advice("missing", "tensorrt", why, case.commands(name))


@rule
def cuda(case: Case) -> Advice | None:
    """Tell where a package for CUDA, or a GPU that answers, is missing."""
    if case.found("cuda") or case.platform == "jetson-jp5" or not _has_gpu(case):
        return None
    if not case.found("cuda_packages"):
        why = f"CUDA: {case.reason('cuda_packages')}; one of them moves data to and from engines"
        return Advice("missing", "cuda_packages", why, case.commands("cuda_packages"))
    name = "jetpack" if is_jetson(case.platform) else "driver"
    return Advice("missing", "cuda", case.reason("cuda"), case.commands(name))


@rule
def scikit_learn(case: Case) -> Advice | None:
    """Warn where scikit-learn is missing, which makes CF-CAM's clusters."""
    if case.found("scikit_learn") or case.platform == "jetson-jp5":
        return None
    why = (
        f"scikit-learn: {case.reason('scikit_learn')}; `method='cfcam'` asks for it, or for its option"
        " dbscan=numpy; no other method does, nor a fused head"
    )
    return Advice("warning", "scikit_learn", why, case.commands("scikit_learn"))


def _has_gpu(case: Case) -> bool:
    """Say whether an engine could run here at all."""
    return is_jetson(case.platform) or case.platform == "linux-x86_64-nvidia"
