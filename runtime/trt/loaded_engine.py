"""An engine in TensorRT: runtime, engine and execution context, made in this order and let go in the other."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from aerocam.errors import EngineError
from aerocam.runtime.cuda.access import Cuda, mebibytes
from aerocam.runtime.trt.bindings import TensorRt, message_logger
from aerocam.runtime.trt.engine_checks import check_tensors
from aerocam.runtime.trt.engine_file import EngineRecord, build_command


class LoadedEngine:
    """Holds TensorRT's objects of one engine; they are used and let go while the GPU's context is current.

    Attributes:
        context: TensorRT's execution context; None once closed.
    """

    def __init__(self, path: Path, record: EngineRecord, tensorrt: TensorRt, cuda: Cuda) -> None:
        """Load it.

        Args:
            path: The engine's file.
            record: Its record.
            tensorrt: What runs it.
            cuda: The GPU, its context current.

        Raises:
            EngineError: TensorRT does not take it, it is not what its record says, or the GPU has no memory for it.
        """
        self.path, self._cuda = path, cuda
        self._trt = trt = tensorrt.module
        self._logger = message_logger(trt)
        self._runtime: Any = None
        self._engine: Any = None
        self.context: Any = None
        try:
            self._runtime = trt.Runtime(self._logger)
            if record.settings.version_compatible:
                self._runtime.engine_host_code_allowed = True  # such a plan carries code that runs it
            self._engine = self._deserialized(record, tensorrt)
            check_tensors(path, record, trt, self._engine)
            self.context = self._execution_context()
        except BaseException as error:
            # What the traceback keeps would go only after the GPU's context.
            traceback.clear_frames(error.__traceback__)
            self.close()
            raise

    def address(self, name: str, address: int) -> None:
        """Tell where a tensor lies from now on.

        Raises:
            EngineError: TensorRT does not take it.
        """
        if not self.context.set_tensor_address(name, address):
            raise self._failed(f"it does not take an address for '{name}'")

    def start(self, stream: int) -> None:
        """Let the engine run as soon as a stream comes to it; returns at once.

        Raises:
            EngineError: TensorRT refuses.
        """
        if not self.context.execute_async_v3(stream):
            raise self._failed("it did not start a run")

    def close(self) -> None:
        """Let go of all of it, in order."""
        self.context = None
        self._engine = None
        self._runtime = None

    def _deserialized(self, record: EngineRecord, tensorrt: TensorRt) -> Any:
        engine = self._runtime.deserialize_cuda_engine(self.path.read_bytes())
        if engine is None:
            raise EngineError(
                f"{self.path}: {tensorrt} does not take this engine: {self._said()}; run:"
                f" {build_command(self.path, record)}"
            )
        return engine

    def _execution_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            device = self._cuda.device()
            free, total = mebibytes(device.free_memory), mebibytes(device.total_memory)
            asked = mebibytes(self._engine.device_memory_size_v2)
            raise EngineError(
                f"{self.path}: TensorRT cannot make room for a run: {self._said()}; it asks for {asked} MiB beside the"
                f" weights, {free} MiB of {total} MiB are free: end other programs, or build the engine with a smaller"
                " `workspace`"
            )
        return context

    def _failed(self, what: str) -> EngineError:
        return EngineError(
            f"{self.path}: TensorRT failed, {what}: {self._said()}; open the engine again, and if that fails too, build"
            " it anew on this machine"
        )

    def _said(self) -> str:
        """Return TensorRT's own errors, on one line."""
        return self._logger.errors() or "it gives no reason"
