"""CUDA through pycuda: the driver API, on the GPU's primary context."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import EngineError
from aerocam.runtime.cuda import access
from aerocam.runtime.cuda.access import Device, HostMemory

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING of the driver API, which pycuda takes but does not name."""

_RETAINED = threading.local()
"""The primary context of each thread that asked for it."""


def load_driver() -> Any:
    """Import pycuda's driver module; never `pycuda.autoinit`, which makes a context that nobody else shares.

    Raises:
        EngineError: The module does not load, for want of libcuda.
    """
    try:
        return importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        raise access.no_gpu("pycuda", str(error)) from error


class PyCuda:
    """Drives the first GPU through pycuda; see `Cuda`. CUDA_VISIBLE_DEVICES says which one is the first.

    The primary context is the one that TensorRT and everybody else in the process use. It is pushed in the calling
    thread for each call and popped behind it: pycuda aborts where a context is left at exit.
    """

    name = "pycuda"
    can_capture = False

    def __init__(self, driver: Any) -> None:
        """Retain the GPU's primary context.

        Args:
            driver: What `load_driver` gave.

        Raises:
            EngineError: There is no driver, or no GPU.
        """
        self._driver = driver
        try:
            driver.init()
            count = driver.Device.count()
        except driver.Error as error:
            raise access.no_gpu(self.name, str(error)) from error
        if not count:
            raise access.no_gpu(self.name, "it counts none")
        self._device = driver.Device(0)
        self._context = self._primary_context()
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}

    def device(self) -> Device:
        """Implement `Cuda.device`."""
        integrated = self._call(self._device.get_attribute, self._driver.device_attribute.INTEGRATED)
        major, minor = self._call(self._device.compute_capability)
        with self.current():
            free, total = self._call(self._driver.mem_get_info)
        return Device(self._call(self._device.name), f"{major}.{minor}", bool(integrated), int(total), int(free))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Implement `Cuda.current`."""
        if self._context is None:
            raise EngineError("CUDA: pycuda's context was let go of; open the model again")
        self._call(self._context.push)
        try:
            yield
        finally:
            self._call(self._driver.Context.pop)

    def allocate(self, size: int) -> int:
        """Implement `Cuda.allocate`."""
        memory = self._call(self._driver.mem_alloc, size, asked=size)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        """Implement `Cuda.free`."""
        self._call(self._memory.pop(address).free)

    def allocate_host(self, size: int) -> HostMemory:
        """See `Cuda`. The array's base frees the memory when the last view is gone, and keeps the context till then."""
        flags = self._driver.host_alloc_flags.DEVICEMAP
        array = self._call(self._driver.pagelocked_empty, (size,), np.uint8, "C", flags, asked=size)
        return HostMemory(array, int(self._call(array.base.get_device_pointer)))

    def make_stream(self) -> int:
        """Implement `Cuda.make_stream`."""
        stream = self._call(self._driver.Stream, NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def synchronize(self, stream: int) -> None:
        """Implement `Cuda.synchronize`."""
        self._call(self._streams[stream].synchronize)

    def destroy_stream(self, stream: int) -> None:
        """Implement `Cuda.destroy_stream`: pycuda destroys what nobody holds."""
        del self._streams[stream]

    def upload(self, address: int, host: NDArray[np.uint8], stream: int) -> None:
        """Implement `Cuda.upload`."""
        self._call(self._driver.memcpy_htod_async, address, host, self._streams[stream])

    def download(self, host: NDArray[np.uint8], address: int, stream: int) -> None:
        """Implement `Cuda.download`."""
        self._call(self._driver.memcpy_dtoh_async, host, address, self._streams[stream])

    def make_event(self) -> int:
        """Implement `Cuda.make_event`."""
        flags = self._driver.event_flags
        event = self._call(self._driver.Event, flags.DISABLE_TIMING | flags.BLOCKING_SYNC)
        self._events[id(event)] = event
        return id(event)

    def record(self, event: int, stream: int) -> None:
        """Implement `Cuda.record`."""
        self._call(self._events[event].record, self._streams[stream])

    def wait(self, event: int) -> None:
        """Implement `Cuda.wait`."""
        self._call(self._events[event].synchronize)

    def destroy_event(self, event: int) -> None:
        """Implement `Cuda.destroy_event`: pycuda destroys what nobody holds."""
        del self._events[event]

    def begin_capture(self, stream: int) -> NoReturn:
        """Implement `Cuda.begin_capture`: pycuda has no graphs."""
        raise EngineError("CUDA: pycuda has no CUDA graphs; install cuda-python, or run without capture")

    def end_capture(self, stream: int) -> NoReturn:
        """Implement `begin_capture`."""
        self.begin_capture(stream)

    def launch(self, graph: int, stream: int) -> NoReturn:
        """Implement `begin_capture`."""
        self.begin_capture(stream)

    def destroy_graph(self, graph: int) -> NoReturn:
        """Implement `begin_capture`."""
        self.begin_capture(0)

    def close(self) -> None:
        """See `Cuda`. The primary context stays retained for this thread, as cuda-python's does for the process."""
        self._context = None

    def _primary_context(self) -> Any:
        """Return the GPU's primary context, retained once in a thread.

        pycuda frees only in the thread that retained; and where it releases a primary context it leaves it pushed.
        """
        if not hasattr(_RETAINED, "context"):
            _RETAINED.context = self._call(self._device.retain_primary_context)
        return _RETAINED.context

    def _call(self, function: Callable[..., Any], *arguments: Any, asked: int = 0) -> Any:
        """Call a function of pycuda, which raises where its status is not success.

        Args:
            function: Of pycuda.
            arguments: Its own.
            asked: How many bytes it is to allocate, if it allocates.

        Raises:
            EngineError: The function failed.
        """
        try:
            return function(*arguments)
        except self._driver.Error as error:
            if asked and isinstance(error, self._driver.MemoryError):
                raise access.out_of_memory(asked, self.device()) from error
            raise access.failed(getattr(function, "__name__", "a call"), str(error)) from error
