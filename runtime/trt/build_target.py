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
            found = cuda.device()
    except (EngineError, MissingDependencyError) as error:
        return None, str(error)
    return BuildTarget(found.compute_capability, found.name), ""


def build_target(found: TensorRt, asked: str | None) -> BuildTarget:
    """Return the GPU to build for.

    Args:
        found: TensorRT as it is installed.
        asked: A compute capability, as in "8.6"; None: that of the GPU here.

    Raises:
        UsageError: Such an engine cannot be built with this TensorRT.
        EngineError: Nothing was asked for, and there is no GPU.
    """
    (here, reason), known = present_device(), choices(found.module)
    if asked is None:
        if here is None:
            raise EngineError(_without_gpu(found, known, reason))
        return here
    if here is not None and here.compute_capability == asked:
        return here
    if not known:
        raise UsageError(
            f"`compute_capability={asked!r}`: {found} builds engines for the GPU of this machine alone"
            f" ({here.compute_capability if here else 'there is none'}); leave it out, and run `aerocam build` on the"
            " device"
        )
    if asked not in known:
        raise UsageError(f"`compute_capability={asked!r}`: {found} builds for {', '.join(known)}; give one of them")
    return BuildTarget(asked, "")


def choices(trt: Any) -> tuple[str, ...]:
    """Compute capabilities that engines can be built for without such a GPU; empty where they cannot."""
    if not hasattr(trt.IBuilderConfig, "set_compute_capability"):
        return ()
    found = (re.fullmatch(r"SM(\d+)(\d)", name) for name in dir(trt.ComputeCapability))
    return tuple(sorted((f"{match[1]}.{match[2]}" for match in found if match), key=float))


def _without_gpu(found: TensorRt, known: tuple[str, ...], reason: str) -> str:
    if known:
        return (
            f"{found}: it has to know which GPU to build for; give `compute_capability` (of {', '.join(known)}), for"
            f" none can be asked here: {reason}"
        )
    return (
        f"{found}: it builds engines for the GPU of its own machine alone, and none can be asked here: {reason}; run"
        " `aerocam build` on the device"
    )
