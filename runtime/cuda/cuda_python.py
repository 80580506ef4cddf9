"""CUDA through NVIDIA's cuda-python: its runtime API, whose context is the primary one."""

from __future__ import annotations

import contextlib
import importlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import EngineError
from aerocam.runtime.cuda import access
from aerocam.runtime.cuda.access import Device, HostMemory

MODULES = ("cuda.bindings.runtime", "cuda.cudart")
"""The runtime API's module, now and before 12.6."""


def load_runtime_api() -> Any:
    """Import the first of `MODULES` that is installed.

    Raises:
        ModuleNotFoundError: None of them is installed.
        EngineError: The module is installed, but does not load here.
    """
    for name in MODULES[:-1]:
        with contextlib.suppress(ModuleNotFoundError):
            return _imported(name)
    return _imported(MODULES[-1])


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError) as error:  # a library of CUDA is missing, or of another version
        raise access.no_gpu("cuda-python", str(error)) from error


class CudaPython:
    """Drives the first GPU through cuda-python; see `Cuda`. CUDA_VISIBLE_DEVICES says which one is the first."""

    name = "cuda-python"
    can_capture = True

    def __init__(self, api: Any) -> None:
        """Find the GPU.

        Args:
            api: What `load_runtime_api` gave.

        Raises:
            EngineError: There is no driver, or no GPU.
        """
        self._api = api
        try:
            count = self._call(api.cudaGetDeviceCount)
        except (EngineError, RuntimeError) as error:  # RuntimeError: libcuda cannot be loaded
            raise access.no_gpu(self.name, str(error)) from error
        if not count:
            raise access.no_gpu(self.name, "it counts none")

    def device(self) -> Device:
        """Implement `Cuda.device`."""
        api, attributes = self._api, self._api.cudaDeviceAttr
        with self.current():
            properties = self._call(api.cudaGetDeviceProperties, 0)
            major = self._call(api.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMajor, 0)
            minor = self._call(api.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMinor, 0)
            integrated = self._call(api.cudaDeviceGetAttribute, attributes.cudaDevAttrIntegrated, 0)
            free, total = self._call(api.cudaMemGetInfo)
        name = bytes(properties.name).split(b"\0")[0].decode(errors="replace")
        return Device(name, f"{major}.{minor}", bool(integrated), int(total), int(free))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """See `Cuda`. The runtime API has one context per thread and GPU, so that there is nothing to take back."""
        self._call(self._api.cudaSetDevice, 0)
        yield

    def allocate(self, size: int) -> int:
        """Implement `Cuda.allocate`."""
        return int(self._call(self._api.cudaMalloc, size, asked=size))

    def free(self, address: int) -> None:
        """Implement `Cuda.free`."""
        self._call(self._api.cudaFree, address)

    def allocate_host(self, size: int) -> HostMemory:
        """Implement `Cuda.allocate_host`."""
        pointer = int(self._call(self._api.cudaHostAlloc, size, self._api.cudaHostAllocMapped, asked=size))
        array = np.asarray(_Memory(pointer, size, self._free_host))
        return HostMemory(array, int(self._call(self._api.cudaHostGetDevicePointer, pointer, 0)))

    def make_stream(self) -> int:
        """Implement `Cuda.make_stream`."""
        return int(self._call(self._api.cudaStreamCreateWithFlags, self._api.cudaStreamNonBlocking))

    def synchronize(self, stream: int) -> None:
        """Implement `Cuda.synchronize`."""
        self._call(self._api.cudaStreamSynchronize, stream)

    def destroy_stream(self, stream: int) -> None:
        """Implement `Cuda.destroy_stream`."""
        self._call(self._api.cudaStreamDestroy, stream)

    def upload(self, address: int, host: NDArray[np.uint8], stream: int) -> None:
        """Implement `Cuda.upload`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._api.cudaMemcpyAsync, address, host.ctypes.data, host.nbytes, kind, stream)

    def download(self, host: NDArray[np.uint8], address: int, stream: int) -> None:
        """Implement `Cuda.download`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._api.cudaMemcpyAsync, host.ctypes.data, address, host.nbytes, kind, stream)

    def make_event(self) -> int:
        """Implement `Cuda.make_event`."""
        flags = self._api.cudaEventDisableTiming | self._api.cudaEventBlockingSync
        return int(self._call(self._api.cudaEventCreateWithFlags, flags))

    def record(self, event: int, stream: int) -> None:
        """Implement `Cuda.record`."""
        self._call(self._api.cudaEventRecord, event, stream)

    def wait(self, event: int) -> None:
        """Implement `Cuda.wait`."""
        self._call(self._api.cudaEventSynchronize, event)

    def destroy_event(self, event: int) -> None:
        """Implement `Cuda.destroy_event`."""
        self._call(self._api.cudaEventDestroy, event)

    def begin_capture(self, stream: int) -> None:
        """Implement `Cuda.begin_capture`."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._api.cudaStreamBeginCapture, stream, mode)

    def end_capture(self, stream: int) -> int:
        """Implement `Cuda.end_capture`."""
        graph = self._call(self._api.cudaStreamEndCapture, stream)
        try:
            return int(self._call(self._api.cudaGraphInstantiateWithFlags, graph, 0))
        finally:
            self._call(self._api.cudaGraphDestroy, graph)

    def launch(self, graph: int, stream: int) -> None:
        """Implement `Cuda.launch`."""
        self._call(self._api.cudaGraphLaunch, graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Implement `Cuda.destroy_graph`."""
        self._call(self._api.cudaGraphExecDestroy, graph)

    def close(self) -> None:
        """Implement `Cuda.close`. The primary context belongs to the process, and others in it may use it too."""

    def _free_host(self, pointer: int) -> None:
        with contextlib.suppress(EngineError), self.current():  # behind a failed run nothing can be given back
            self._call(self._api.cudaFreeHost, pointer)

    def _call(self, function: Callable[..., Any], *arguments: Any, asked: int = 0) -> Any:
        """Call a function of the API, check its status, and return what it returns besides.

        Args:
            function: Of the API.
            arguments: Its own.
            asked: How many bytes it is to allocate, if it allocates.

        Raises:
            EngineError: The status is not success.
        """
        status, *values = function(*arguments)
        codes = self._api.cudaError_t
        if asked and status == codes.cudaErrorMemoryAllocation:
            raise access.out_of_memory(asked, self.device())
        if status != codes.cudaSuccess:
            _, text = self._api.cudaGetErrorString(status)
            raise access.failed(function.__name__, bytes(text).decode(errors="replace"))
        return values[0] if len(values) == 1 else tuple(values)


class _Memory:
    """Shows NumPy the memory at an address, which is freed once no view of it is left."""

    def __init__(self, pointer: int, size: int, free: Callable[[int], None]) -> None:
        self.__array_interface__ = {"data": (pointer, False), "shape": (size,), "typestr": "|u1", "version": 3}
        weakref.finalize(self, free, pointer).atexit = False  # at exit the driver takes everything back
