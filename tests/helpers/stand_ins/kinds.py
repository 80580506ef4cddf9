"""Every way to run a model that the sessions' tests go through."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aerocam.runtime import open_session
from aerocam.runtime.sessions.session import Session
from aerocam.runtime.trt.session import TensorRtSession
from stand_ins import machine
from stand_ins.gpu import Gpu

Open = Callable[[Path], Session]


@dataclass(frozen=True)
class Kind:
    """A way to run a model.

    Attributes:
        package: For CUDA; None: ONNX Runtime.
        integrated: Whether the GPU shares the CPU's memory.
        eager: Whether it does at once what it is given; else as late as it may.
        capture: Whether runs are captured as CUDA graphs.
        rounding: How far two sessions of this kind may be apart where both are given the same, relative to the largest
            entry of an output; 0: they agree to the bit.
        tolerance: How far this kind may be from ONNX Runtime on the CPU, likewise; 0 for a stand-in GPU, whose numbers
            are ONNX Runtime's.
    """

    package: str | None = None
    integrated: bool = False
    eager: bool = False
    capture: bool = False
    rounding: float = 0.0
    tolerance: float = 0.0

    def __str__(self) -> str:
        """Name of a test."""
        words = [name for name in ("integrated", "eager", "capture") if getattr(self, name)]
        return "-".join([self.package or "onnxruntime", *words])


ENGINES = [
    Kind("cuda-python"),
    Kind("cuda-python", integrated=True),
    Kind("cuda-python", eager=True),
    Kind("cuda-python", integrated=True, eager=True),
    Kind("cuda-python", capture=True),
    Kind("cuda-python", integrated=True, capture=True, eager=True),
    Kind("pycuda"),
    Kind("pycuda", integrated=True, eager=True),
]
KINDS = [Kind(), *ENGINES]
FEW = [Kind("cuda-python"), Kind("cuda-python", integrated=True, eager=True, capture=True), Kind("pycuda")]
"""For what is slower and differs less."""


@contextlib.contextmanager
def opener(kind: Kind, patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Open]:
    """A function that opens an exported model; in the end nothing of it may be left on the GPU."""
    if kind.package is None:
        yield functools.partial(open_session, threads=1)
        return
    gpu = Gpu(kind.integrated, kind.eager)
    machine.install(patch, gpu, kind.package)

    def open_engine(path: Path) -> Session:
        return TensorRtSession(machine.build(path, folder / f"{path.stem}.engine"), capture=kind.capture)

    yield open_engine
    gc.collect()
    assert gpu.held == {}
    assert gpu.log.count("push") == gpu.log.count("pop")
