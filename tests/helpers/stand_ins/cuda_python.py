"""`cuda.bindings.runtime` on a stand-in GPU: functions that return a status and what else there is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from stand_ins.gpu import INVALID_HANDLE, NO_DEVICE, OUT_OF_MEMORY, Gpu, StatusError


class CudaError(enum.IntEnum):
    """Some of CUDA's numbers."""

    cudaSuccess = 0
    cudaErrorMemoryAllocation = OUT_OF_MEMORY
    cudaErrorNoDevice = NO_DEVICE
    cudaErrorDeviceUninitialized = 201
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorCapturedEvent = 907


def runtime_api(gpu: Gpu) -> ModuleType:
    """The module."""
    api: Any = ModuleType("cuda.bindings.runtime")
    api.cudaError_t = CudaError
    api.cudaHostAllocMapped, api.cudaStreamNonBlocking = 2, 1
    api.cudaEventBlockingSync, api.cudaEventDisableTiming = 1, 2
    api.cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    api.cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    api.cudaDeviceAttr = SimpleNamespace(
        cudaDevAttrComputeCapabilityMajor=gpu.capability[0],
        cudaDevAttrComputeCapabilityMinor=gpu.capability[1],
        cudaDevAttrIntegrated=int(gpu.integrated),
    )
    api.cudaGetErrorString = lambda status: (CudaError.cudaSuccess, CudaError(status).name.encode())
    for name, work in {**_of_device(gpu), **_of_memory(gpu), **_of_streams(gpu)}.items():
        setattr(api, name, _with_status(gpu, name, work))
    return api


def _of_device(gpu: Gpu) -> dict[str, Callable[..., Any]]:
    def set_device(index: int) -> None:
        gpu.current.depth = 1

    def count() -> int:
        if not gpu.count:
            raise StatusError(NO_DEVICE)
        return gpu.count

    return {
        "cudaGetDeviceCount": count,
        "cudaSetDevice": set_device,
        "cudaGetDeviceProperties": lambda index: SimpleNamespace(name=gpu.name.encode() + bytes(9)),
        "cudaDeviceGetAttribute": lambda attribute, index: attribute,
        "cudaMemGetInfo": lambda: (gpu.free, gpu.total),
    }


def _of_memory(gpu: Gpu) -> dict[str, Callable[..., Any]]:
    return {
        "cudaMalloc": gpu.allocate,
        "cudaFree": lambda address: _drop(gpu.memory, address),
        "cudaHostAlloc": lambda size, flags: gpu.allocate_host(size).ctypes.data,
        "cudaHostGetDevicePointer": lambda pointer, flags: gpu.pinned[pointer],
        "cudaFreeHost": gpu.free_host,
        "cudaMemcpyAsync": lambda to, of, size, kind, stream: gpu.copy(to, of, size, stream),
    }


def _of_streams(gpu: Gpu) -> dict[str, Callable[..., Any]]:
    return {
        "cudaStreamCreateWithFlags": lambda flags: gpu.make_stream(),
        "cudaStreamSynchronize": gpu.synchronize,
        "cudaStreamDestroy": lambda stream: _drop(gpu.streams, stream),
        "cudaEventCreateWithFlags": lambda flags: gpu.make_event(),
        "cudaEventRecord": gpu.record,
        "cudaEventSynchronize": gpu.wait,
        "cudaEventDestroy": lambda event: _drop(gpu.events, event),
        "cudaStreamBeginCapture": lambda stream, mode: gpu.begin_capture(stream),
        "cudaStreamEndCapture": gpu.end_capture,
        "cudaGraphInstantiateWithFlags": lambda graph, flags: gpu.instantiate(graph),
        "cudaGraphDestroy": lambda graph: _drop(gpu.graphs, graph),
        "cudaGraphLaunch": gpu.launch,
        "cudaGraphExecDestroy": lambda graph: _drop(gpu.graphs, graph),
    }


def _drop(kept: dict[int, Any], handle: int) -> None:
    if handle not in kept:
        raise StatusError(INVALID_HANDLE)
    del kept[handle]


def _with_status(gpu: Gpu, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """As the package has it: a tuple of a status and the results."""

    def call(*arguments: Any) -> tuple[Any, ...]:
        try:
            if name not in ("cudaGetDeviceCount", "cudaSetDevice"):
                gpu.note(name)
            found = work(*arguments)
        except StatusError as error:
            return CudaError(error.code), None
        return (CudaError.cudaSuccess, *(found if isinstance(found, tuple) else () if found is None else (found,)))

    call.__name__ = name
    return call
