"""What aerocam asks of CUDA, whichever Python package does it, and the errors for what CUDA refuses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import EngineError


@dataclass(frozen=True)
class Device:
    """Describes a GPU.

    Attributes:
        name: Its name, as the driver says it.
        compute_capability: As in "8.7".
        integrated: Whether it shares its memory with the CPU, as a Jetson's does: nothing has to be copied to it.
        total_memory: In bytes.
        free_memory: In bytes, at the moment it was asked.
    """

    name: str
    compute_capability: str
    integrated: bool
    total_memory: int
    free_memory: int


@dataclass(frozen=True, eq=False)
class HostMemory:
    """Is page-locked memory of the host that the GPU can reach too; it lives as long as any view of `array`.

    Attributes:
        array: uint8 (bytes,), not initialised.
        address: Where the GPU sees it.
    """

    array: NDArray[np.uint8]
    address: int


class Cuda(Protocol):
    """Drives one GPU. Streams, events, graphs and device memory are known by their handles, which are integers.

    Everything but `device` and `close` wants the GPU's context to be current in the calling thread, see `current`.
    Each call raises EngineError where CUDA says that it failed.

    Attributes:
        name: Of the Python package.
        can_capture: Whether it has CUDA graphs.
    """

    name: str
    can_capture: bool

    def device(self) -> Device:
        """Return the GPU, and how much of its memory is free now."""

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU's primary context current in this thread for the `with` block; afterwards it is as it was."""

    def allocate(self, size: int) -> int:
        """Allocate memory of the GPU, so many bytes, not initialised, and return its address.

        Raises:
            EngineError: The GPU has less memory than that.
        """

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""

    def allocate_host(self, size: int) -> HostMemory:
        """Allocate page-locked memory, so many bytes.

        Raises:
            EngineError: The host has less memory than that.
        """

    def make_stream(self) -> int:
        """Make a stream other than the default one, on which TensorRT would wait for everybody else."""

    def synchronize(self, stream: int) -> None:
        """Wait until everything on a stream is done."""

    def destroy_stream(self, stream: int) -> None:
        """Give back a stream."""

    def upload(self, address: int, host: NDArray[np.uint8], stream: int) -> None:
        """Copy page-locked memory to the GPU's as soon as the stream comes to it; returns at once."""

    def download(self, host: NDArray[np.uint8], address: int, stream: int) -> None:
        """Copy the GPU's memory to page-locked memory as soon as the stream comes to it; returns at once."""

    def make_event(self) -> int:
        """Make an event to be waited for; the waiting thread sleeps."""

    def record(self, event: int, stream: int) -> None:
        """Let an event happen when a stream comes to it."""

    def wait(self, event: int) -> None:
        """Wait until an event has happened, if it was recorded."""

    def destroy_event(self, event: int) -> None:
        """Give back an event."""

    def begin_capture(self, stream: int) -> None:
        """Keep what this thread gives to a stream from now on, instead of doing it."""

    def end_capture(self, stream: int) -> int:
        """Return what was kept, as a graph that can be launched."""

    def launch(self, graph: int, stream: int) -> None:
        """Do on a stream what a graph has kept; returns at once."""

    def destroy_graph(self, graph: int) -> None:
        """Give back a graph."""

    def close(self) -> None:
        """Let go of the GPU's context; calling it twice does nothing."""


MEBIBYTE = 1 << 20


def no_gpu(package: str, reason: str) -> EngineError:
    """Return the error where there is no driver, or no GPU that it can use.

    Args:
        package: The Python package that found out.
        reason: What it says.
    """
    return EngineError(
        f"CUDA: {package} finds no GPU with a driver here ({_line(reason)}), which a TensorRT engine needs; run it"
        " on the machine it was built for, or run the .onnx file here"
    )


def out_of_memory(asked: int, device: Device) -> EngineError:
    """Return the error where the GPU has less memory than was asked for.

    Args:
        asked: Bytes.
        device: The GPU.
    """
    shared = ", which it shares with the CPU" if device.integrated else ""
    free, total = mebibytes(device.free_memory), mebibytes(device.total_memory)
    return EngineError(
        f"CUDA: {device.name} is out of memory: {mebibytes(asked)} MiB were asked for, {free} MiB of {total} MiB are"
        f" free{shared}; end other programs, or export the model with fewer layers or targets"
    )


def failed(call: str, reason: str) -> EngineError:
    """Return the error for a call that failed.

    Args:
        call: Its name.
        reason: What CUDA says.
    """
    return EngineError(
        f"CUDA: {call} failed: {_line(reason)}; open the model again, and if that fails too, start the program again"
    )


def mebibytes(size: int) -> str:
    """Return bytes as MiB, with a digit behind the point where that is needed to see any."""
    whole = size / MEBIBYTE
    return f"{whole:.0f}" if whole >= 10 else f"{whole:.1f}"


def _line(text: str) -> str:
    return " ".join(text.split())
