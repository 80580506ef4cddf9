"""`pycuda.driver` on a stand-in GPU: objects that raise."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from stand_ins.gpu import NO_DEVICE, OUT_OF_MEMORY, Gpu, StatusError


class Error(Exception):
    """Base of pycuda's own."""


class MemoryError(Error):
    """As pycuda has it."""


class LogicError(Error):
    """As pycuda has it."""


def driver(gpu: Gpu) -> ModuleType:
    """The module."""
    module: Any = ModuleType("pycuda.driver")
    module.Error, module.MemoryError, module.LogicError = Error, MemoryError, LogicError
    module.host_alloc_flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2)
    module.event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)
    module.device_attribute = SimpleNamespace(INTEGRATED="integrated")
    module.init = _raising(gpu, None, lambda: _need_a_gpu(gpu))
    module.Device = type("Device", (_Device,), {"gpu": gpu, "count": staticmethod(lambda: gpu.count)})
    module.Context = SimpleNamespace(pop=lambda: _move(gpu, -1))
    module.Stream = lambda flags=0: _Stream(gpu)
    module.Event = lambda flags=0: _Event(gpu)
    module.mem_get_info = _raising(gpu, "mem_get_info", lambda: (gpu.free, gpu.total))
    module.mem_alloc = lambda size: _Allocation(gpu, size)
    module.pagelocked_empty = lambda shape, dtype, order="C", mem_flags=0: _pagelocked(gpu, shape, dtype, mem_flags)
    module.memcpy_htod_async = lambda dest, src, stream=None: _copy(gpu, dest, src.ctypes.data, src.nbytes, stream)
    module.memcpy_dtoh_async = lambda dest, src, stream=None: _copy(gpu, dest.ctypes.data, src, dest.nbytes, stream)
    return module


def _raising(gpu: Gpu, name: str | None, work: Callable[..., Any]) -> Callable[..., Any]:
    """As the package has it: an exception for a status. With a name it needs a current context."""

    def call(*arguments: Any) -> Any:
        try:
            if name is not None:
                gpu.note(name)
            return work(*arguments)
        except StatusError as error:
            raise (MemoryError if error.code == OUT_OF_MEMORY else LogicError)(
                f"{name} failed: {error.code}"
            ) from error

    call.__name__ = name or work.__name__
    return call


def _need_a_gpu(gpu: Gpu) -> None:
    if not gpu.count:
        raise StatusError(NO_DEVICE)


def _move(gpu: Gpu, by: int) -> None:
    gpu.current.depth = getattr(gpu.current, "depth", 0) + by
    gpu.log.append("push" if by > 0 else "pop")


def _copy(gpu: Gpu, to: int, of: int, size: int, stream: Any) -> None:
    _raising(gpu, "memcpy_async", gpu.copy)(to, of, size, stream.handle)


class _Device:
    gpu: Gpu

    def __init__(self, index: int) -> None:
        assert index == 0

    def name(self) -> str:
        return self.gpu.name

    def compute_capability(self) -> tuple[int, int]:
        return self.gpu.capability

    def get_attribute(self, attribute: str) -> int:
        return int(getattr(self.gpu, attribute))

    def retain_primary_context(self) -> Any:
        self.gpu.log.append("retain")
        return SimpleNamespace(push=lambda: _move(self.gpu, 1))


class _Got:
    """Something that was got from the GPU and goes back when nobody holds it, or as long as its context lives."""

    def __init__(self, gpu: Gpu, name: str, make: Callable[..., Any], *arguments: Any) -> None:
        self._gpu = gpu
        self.handle = _raising(gpu, name, make)(*arguments)

    def _give_back(self, kept: dict[int, Any], name: str) -> None:
        self._gpu.log.append(name)
        del kept[self.handle]


class _Allocation(_Got):
    def __init__(self, gpu: Gpu, size: int) -> None:
        super().__init__(gpu, "mem_alloc", gpu.allocate, size)

    def __int__(self) -> int:
        return self.handle

    def free(self) -> None:
        self._give_back(self._gpu.memory, "mem_free")


class _Stream(_Got):
    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, "stream", gpu.make_stream)

    def synchronize(self) -> None:
        _raising(self._gpu, "stream_synchronize", self._gpu.synchronize)(self.handle)

    def __del__(self) -> None:
        self._give_back(self._gpu.streams, "stream_destroy")


class _Event(_Got):
    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, "event", gpu.make_event)

    def record(self, stream: _Stream) -> None:
        _raising(self._gpu, "event_record", self._gpu.record)(self.handle, stream.handle)

    def synchronize(self) -> None:
        _raising(self._gpu, "event_synchronize", self._gpu.wait)(self.handle)

    def __del__(self) -> None:
        self._give_back(self._gpu.events, "event_destroy")


class _Pagelocked:
    """What an array of page-locked memory has as its base."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        self._gpu, self._pointer = gpu, 0
        self._pointer = _raising(gpu, "mem_host_alloc", lambda: gpu.allocate_host(size).ctypes.data)()
        self.__array_interface__ = {"data": (self._pointer, False), "shape": (size,), "typestr": "|u1", "version": 3}

    def get_device_pointer(self) -> int:
        return self._gpu.pinned[self._pointer]

    def __del__(self) -> None:
        if self._pointer:
            self._gpu.free_host(self._pointer)


def _pagelocked(gpu: Gpu, shape: tuple[int], dtype: Any, flags: int) -> np.ndarray:
    assert flags == 2, "not mapped"
    assert dtype == np.uint8
    return np.asarray(_Pagelocked(gpu, shape[0]))
