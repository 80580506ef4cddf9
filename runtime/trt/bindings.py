"""TensorRT's Python module, and what it says while it works."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aerocam.errors import MissingDependencyError

MODULES = ("tensorrt", "tensorrt_rtx")
"""Python modules with TensorRT's interface, in the order in which they are looked for."""

KEPT = 20
"""How many messages are kept: the last ones say why something failed."""


@dataclass(frozen=True)
class TensorRt:
    """Describes TensorRT as it is installed.

    Attributes:
        module: The Python module.
        name: Its name, of `MODULES`: engines of one do not run on the other.
        version: Its version.
    """

    module: Any
    name: str
    version: str

    def __str__(self) -> str:
        """Name and version, as messages show them."""
        return f"{self.name} {self.version}"


def load_tensorrt(names: Sequence[str] = MODULES) -> TensorRt:
    """Return the first of these modules that is installed.

    Args:
        names: Of `MODULES`, in the order in which they are looked for.

    Raises:
        MissingDependencyError: None of them is installed, or one cannot be loaded.
    """
    said = []
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                said.append(f"{name}: {error}")
            continue
        except (ImportError, OSError) as error:  # its libraries are missing or of another version
            said.append(f"{name}: {' '.join(str(error).split())}")
            continue
        return TensorRt(module, name, str(module.__version__))
    state = f"it cannot be loaded ({'; '.join(said)})" if said else "it is not installed"
    raise MissingDependencyError(
        f"TensorRT: {state}; on a Jetson: sudo apt install python3-libnvinfer, in an environment that sees the system's"
        " packages (python3 -m venv --system-site-packages); on other machines: pip install tensorrt"
    )


def message_logger(trt: Any) -> Any:
    """Return a logger for TensorRT that keeps its last warnings and errors in `messages`, and prints nothing.

    Args:
        trt: The module. Its objects must not outlive the logger.
    """
    severities = trt.ILogger.Severity

    class MessageLogger(trt.ILogger):  # type: ignore[misc]
        """Keeps warnings and errors."""

        def __init__(self) -> None:
            super().__init__()  # TensorRT refuses an object whose own part was not made
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            """Keep a message; TensorRT calls this, from any of its threads."""
            if severity in (severities.INTERNAL_ERROR, severities.ERROR, severities.WARNING):
                self.messages = [*self.messages, (severity.name, " ".join(message.split()))][-KEPT:]

        def errors(self) -> str:
            """Return what went wrong, on one line; empty where nothing did."""
            return "; ".join(dict.fromkeys(text for name, text in self.messages if name != "WARNING"))

    return MessageLogger()
