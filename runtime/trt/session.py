"""Sessions on TensorRT engines."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.runtime.cuda.access import Cuda
from aerocam.runtime.cuda.choice import open_cuda
from aerocam.runtime.sessions.session import Arrays, Closing, Run, check_feeds, check_outputs
from aerocam.runtime.trt.bindings import MODULES, TensorRt, load_tensorrt
from aerocam.runtime.trt.engine_checks import check_device, check_model, check_tensorrt
from aerocam.runtime.trt.engine_file import EngineRecord, read_record
from aerocam.runtime.trt.loaded_engine import LoadedEngine
from aerocam.runtime.trt.runs import RunQueue, Slot


class TensorRtSession(Closing):
    """Runs an explainable model on TensorRT; see `Session` and `open_session`.

    For the thread that made it alone. Two runs may be under way: while the GPU does one, the results of the other are
    used and the feeds of the next are prepared. Results are views of memory that the run after the next uses again.
    """

    depth = 2

    def __init__(self, path: str | os.PathLike[str], *, cuda: str | None = None, capture: bool = False) -> None:
        """Load an engine.

        Args:
            path: An engine written by `aerocam build`, with its record beside it.
            cuda: The Python package for CUDA, `cuda-python` or `pycuda`; None: what there is.
            capture: Whether a run is captured as a CUDA graph behind the first time that it is done, and from then on
                launched as a whole, which is less work for the CPU. With cuda-python alone, and not for models with
                loops.

        Raises:
            EngineError: The engine does not fit this TensorRT, this GPU, its record or the model beside it; there is no
                GPU, or not enough memory.
            ManifestError: There is no record, or it was changed.
            MissingDependencyError: TensorRT, or a package for CUDA, is not installed.
            UsageError: An unknown package, or one that cannot capture.
        """
        self.path = os.fspath(path)
        self._thread = threading.get_ident()
        record, tensorrt = _fitting(Path(path))
        self.manifest = record.manifest
        self.inputs, self.outputs = record.specs("input"), record.specs("output")
        self._cuda = access = open_cuda(cuda)
        with ExitStack() as opened:
            opened.callback(access.close)
            if capture and not access.can_capture:
                raise UsageError(f"capture: {access.name} has no CUDA graphs; install cuda-python, or do without")
            device = access.device()
            check_device(Path(path), record, device)
            with access.current(), ExitStack() as undo:
                self._allocate(record, tensorrt, device.integrated, capture, undo)
                self._close = weakref.finalize(self, _give_back, access, undo.pop_all())
            opened.pop_all()

    def submit(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Run[Arrays]:
        """Begin a run; see `Session.submit`."""
        self._check_usable()
        names = tuple(spec.name for spec in self.outputs) if outputs is None else tuple(outputs)
        check_outputs(names, self.outputs)
        check_feeds(feeds, self.inputs)
        slot = self._slots[0]
        if slot.run is not None and slot.run() is not None:
            raise UsageError(
                f"{self.path}: {self.depth} runs are under way already, as many as there may be; call result() of the"
                " oldest first"
            )
        with self._cuda.current():
            slot.wait(self._cuda)  # for a run that nobody holds any more, or they would pile up
            slot.fill(feeds)
            self._queue.put(slot, names)
        run = Run(partial(self._finish, slot, names))
        slot.run = weakref.ref(run)
        self._slots.rotate(-1)
        return run

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the model once; see `Session.run`."""
        return self.submit(feeds, outputs).result()

    def _finish(self, slot: Slot, outputs: Sequence[str]) -> Arrays:
        """Wait for the run on a slot and return these outputs of it."""
        self._check_usable()
        with self._cuda.current():
            slot.wait(self._cuda)
        slot.run = None
        return slot.arrays(outputs)

    def close(self) -> None:
        """Give back the memory; the session cannot run any more. Arrays that were given out stay readable."""
        self._check_thread()
        self._close()

    def _allocate(self, record: EngineRecord, tensorrt: TensorRt, shared: bool, capture: bool, undo: ExitStack) -> None:
        """Make what runs need, and put into `undo` what gives it back, in the other order."""
        cuda = self._cuda
        stream = cuda.make_stream()
        undo.callback(cuda.destroy_stream, stream)
        self._slots = deque(Slot(cuda, self.inputs, self.outputs, shared, undo) for _ in range(self.depth))
        undo.callback(self._slots.clear)  # page-locked memory goes with its last view
        engine = LoadedEngine(Path(self.path), record, tensorrt, cuda)
        undo.callback(engine.close)
        self._queue = RunQueue(cuda, stream, engine, capture, undo)
        undo.callback(cuda.synchronize, stream)

    def _check_usable(self) -> None:
        self._check_thread()
        if not self._close.alive:
            raise UsageError(f"{self.path}: the session is closed; open it again")

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise UsageError(
                f"{self.path}: called from thread '{threading.current_thread().name}', the session is for the thread"
                " that opened it alone; open one in each thread"
            )


def _fitting(path: Path) -> tuple[EngineRecord, TensorRt]:
    """Return the record of an engine and the TensorRT that runs it, once they fit together."""
    record = read_record(path)
    check_model(path, record)
    tensorrt = load_tensorrt((record.bindings, *(name for name in MODULES if name != record.bindings)))
    check_tensorrt(path, record, tensorrt)
    return record, tensorrt


def _give_back(cuda: Cuda, resources: ExitStack) -> None:
    """Wait for what is under way and give everything back, in order; also for a session that nobody closed."""
    try:
        with cuda.current():
            resources.close()
    finally:
        cuda.close()
