"""`tensorrt` on a stand-in GPU: an engine is an ONNX file behind a line that says who built it."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime

from stand_ins.gpu import Gpu, StatusError

MAGIC = b"stand-in engine"
TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(float16)": ("HALF", np.float16),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(bool)": ("BOOL", np.bool_),
}
DataType = enum.Enum("DataType", [name for name, _ in TYPES.values()])  # type: ignore[misc]
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
TensorLocation = enum.Enum("TensorLocation", ["DEVICE", "HOST"])


def plan(content: bytes, version: str = "10.3.0", capability: str = "8.7") -> bytes:
    """What a builder would make of an ONNX file."""
    return b"%s %s %s\n%s" % (MAGIC, version.encode(), capability.encode(), content)


class ILogger:
    """TensorRT's base class of loggers."""

    Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    def log(self, severity: Any, message: str) -> None:
        """A logger's own."""
        raise NotImplementedError


def tensorrt(gpu: Gpu, version: str = "10.3.0", name: str = "tensorrt") -> ModuleType:
    """The module."""
    module: Any = ModuleType(name)
    module.__version__ = version
    module.ILogger, module.DataType = ILogger, DataType
    module.TensorIOMode, module.TensorLocation = TensorIOMode, TensorLocation
    module.nptype = lambda dtype: next(kind for name, kind in TYPES.values() if name == dtype.name)
    module.Runtime = lambda logger: Runtime(gpu, version, logger)
    return module


class _Held:
    """One of TensorRT's objects: it goes while a context is current, or not at all well."""

    def __init__(self, gpu: Gpu, kind: str) -> None:
        self._gpu, self._kind = gpu, kind
        gpu.note(kind)

    def __del__(self) -> None:
        if not self._gpu.broken:
            self._gpu.note(f"~{self._kind}")


class Runtime(_Held):
    """Loads engines."""

    def __init__(self, gpu: Gpu, version: str, logger: ILogger) -> None:
        super().__init__(gpu, "runtime")
        self._version, self._logger = version, logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        """The engine, or None and a message."""
        head, _, content = serialized_engine.partition(b"\n")
        words = head.decode(errors="replace").split()
        said = None
        if not head.startswith(MAGIC):
            said = "Serialization assertion magicTagRead == kMAGIC_TAG failed."
        elif words[2] != self._version and not self.engine_host_code_allowed:
            said = "Serialized Engine Version does not match Current Version"
        elif words[3] != "{}.{}".format(*self._gpu.capability) and words[3] != "any":
            said = "The engine plan file is generated on an incompatible device"
        if said is None:
            return Engine(self._gpu, content, self._logger)
        self._logger.log(ILogger.Severity.ERROR, said)
        return None


class Engine(_Held):
    """An engine."""

    def __init__(self, gpu: Gpu, content: bytes, logger: ILogger) -> None:
        super().__init__(gpu, "engine")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._nodes = {node.name: node for node in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._logger = logger
        self.on_the_host: set[str] = set()
        self.scratch = 1 << 20

    @property
    def num_io_tensors(self) -> int:
        """How many inputs and outputs."""
        return len(self._nodes)

    @property
    def device_memory_size_v2(self) -> int:
        """Bytes of a context."""
        return self.scratch

    def get_tensor_name(self, index: int) -> str:
        """By number."""
        return list(self._nodes)[index]

    def get_tensor_mode(self, name: str) -> Any:
        """Input or output."""
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        """TensorRT's own."""
        return DataType[TYPES[self._nodes[name].type][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Static."""
        return tuple(self._nodes[name].shape)

    def get_tensor_location(self, name: str) -> Any:
        """Where it is read."""
        return TensorLocation.HOST if name in self.on_the_host else TensorLocation.DEVICE

    def create_execution_context(self) -> Context | None:
        """A context, or None and a message where there is no memory for it."""
        try:
            self._gpu.memory.pop(self._gpu.allocate(self.scratch))
        except StatusError:
            self._logger.log(ILogger.Severity.ERROR, "[defaultAllocator.cpp::allocate] out of memory")
            return None
        return Context(self._gpu, self, self._logger)

    def work(self, addresses: dict[str, int]) -> None:
        """A run, at the time when the GPU comes to it."""

        def array(name: str) -> np.ndarray:
            shape, dtype = self.get_tensor_shape(name), np.dtype(TYPES[self._nodes[name].type][1])
            size = int(np.prod(shape)) * dtype.itemsize
            return self._gpu.bytes_at(addresses[name], size).view(dtype).reshape(shape)

        outputs = [name for name in self._nodes if name not in self._inputs]
        found = self._session.run(outputs, {name: array(name) for name in self._inputs})
        for name, value in zip(outputs, found, strict=True):
            array(name)[...] = value


class Context(_Held):
    """An execution context."""

    def __init__(self, gpu: Gpu, engine: Engine, logger: ILogger) -> None:
        super().__init__(gpu, "context")
        self._engine, self._logger = engine, logger
        self._addresses: dict[str, int] = {}
        self._prepared: dict[str, int] = {}
        self.broken = False

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Where a tensor lies."""
        self._addresses[name] = memory
        return name in self._engine._nodes

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Give a run to a stream; a graph takes none whose addresses are others than those of the run before."""
        self._gpu.note("execute_async_v3")
        if self.broken or len(self._addresses) != self._engine.num_io_tensors:
            self._logger.log(ILogger.Severity.ERROR, "IExecutionContext::enqueueV3: a tensor has no address")
            return False
        addresses, engine = dict(self._addresses), self._engine
        if stream_handle in self._gpu.capturing and addresses != self._prepared:
            self._logger.log(ILogger.Severity.ERROR, "addresses changed before a capture")
            return False
        self._prepared = addresses
        self._gpu.put(stream_handle, lambda: engine.work(addresses))
        return True
