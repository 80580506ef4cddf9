"""The one error for whatever CUDA refuses, so that both packages say it in the same words."""

from __future__ import annotations

from aerocam.errors import EngineError
from aerocam.runtime.cuda.access import Device

MEBIBYTE = 1 << 20


def no_gpu(package: str, reason: str) -> EngineError:
    """There is no driver, or no GPU that it can use.

    Args:
        package: The Python package that found out.
        reason: What it says.
    """
    return EngineError(
        f"CUDA: {package} finds no GPU with a driver here ({_line(reason)}), which a TensorRT engine needs; run it"
        " on the machine it was built for, or run the .onnx file here"
    )


def out_of_memory(asked: int, device: Device) -> EngineError:
    """The GPU has not so much memory.

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
    """A call failed.

    Args:
        call: Its name.
        reason: What CUDA says.
    """
    return EngineError(
        f"CUDA: {call} failed: {_line(reason)}; open the model again, and if that fails too, start the program again"
    )


def mebibytes(size: int) -> str:
    """Bytes as MiB; with a digit behind the point where that is needed to see any."""
    whole = size / MEBIBYTE
    return f"{whole:.0f}" if whole >= 10 else f"{whole:.1f}"


def _line(text: str) -> str:
    return " ".join(text.split())
