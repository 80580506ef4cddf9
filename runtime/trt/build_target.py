"""The GPU that an engine is built for: that of this machine, or one that is named where the builder can do without."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Any

from aerocam.errors import EngineError, MissingDependencyError, UsageError
from aerocam.runtime.cuda.choice import open_cuda
from aerocam.runtime.trt.bindings import TensorRt


@dataclass(frozen=True)
class BuildTarget:
    """Describes a GPU.

    Attributes:
        compute_capability: As in "8.7".
        device: Its name; empty where it is not in this machine.
    """

    compute_capability: str
    device: str

    @property
    def present(self) -> bool:
        """Say whether engines for it can be loaded here."""
        return bool(self.device)


def present_device() -> tuple[BuildTarget | None, str]:
    """Return the GPU of this machine; where there is none, or none can be reached, why."""
    try:
        with contextlib.closing(open_cuda()) as cuda:
            device = cuda.device()
    except (EngineError, MissingDependencyError) as error:
        return None, str(error)
    return BuildTarget(device.compute_capability, device.name), ""


def build_target(tensorrt: TensorRt, asked: str | None) -> BuildTarget:
    """Return the GPU to build for.

    Args:
        tensorrt: TensorRT as it is installed.
        asked: A compute capability, as in "8.6"; None: that of the GPU here.

    Raises:
        UsageError: Such an engine cannot be built with this TensorRT.
        EngineError: Nothing was asked for, and there is no GPU.
    """
    (here, reason), offered = present_device(), choices(tensorrt.module)
    if asked is None:
        if here is None:
            raise EngineError(_without_gpu(tensorrt, offered, reason))
        return here
    if here is not None and here.compute_capability == asked:
        return here
    if not offered:
        raise UsageError(
            f"`compute_capability={asked!r}`: {tensorrt} builds engines for the GPU of this machine alone"
            f" ({here.compute_capability if here else 'there is none'}); leave it out, and run `aerocam build` on the"
            " device"
        )
    if asked not in offered:
        raise UsageError(
            f"`compute_capability={asked!r}`: {tensorrt} builds for {', '.join(offered)}; give one of them"
        )
    return BuildTarget(asked, "")


def choices(trt: Any) -> tuple[str, ...]:
    """Return the compute capabilities that engines can be built for without such a GPU; empty where they cannot."""
    if not hasattr(trt.IBuilderConfig, "set_compute_capability"):
        return ()
    matches = (re.fullmatch(r"SM(\d+)(\d)", name) for name in dir(trt.ComputeCapability))
    return tuple(sorted((f"{match[1]}.{match[2]}" for match in matches if match), key=float))


def _without_gpu(tensorrt: TensorRt, offered: tuple[str, ...], reason: str) -> str:
    if offered:
        return (
            f"{tensorrt}: it has to know which GPU to build for; give `compute_capability` (of {', '.join(offered)}),"
            f" for none can be asked here: {reason}"
        )
    return (
        f"{tensorrt}: it builds engines for the GPU of its own machine alone, and none can be asked here: {reason}; run"
        " `aerocam build` on the device"
    )
