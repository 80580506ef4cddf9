"""Every call of `CudaPython` in the real package, and what it says: as JSON. There is no driver here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from aerocam.errors import EngineError
from aerocam.runtime.cuda.cuda_python import CudaPython, load_runtime_api

API = load_runtime_api()
HOST = np.zeros(8, np.uint8)


def said(call: Callable[[], Any]) -> str:
    """The error of a call, or what it gives."""
    try:
        return f"no error: {call()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> dict[str, str]:
    """What each call says."""
    try:
        CudaPython(API)
        opened = "no error"
    except EngineError as error:
        opened = str(error)
    cuda = object.__new__(CudaPython)
    cuda._api = API

    def current() -> None:
        with cuda.current():
            pass

    calls = {
        "device": cuda.device,
        "current": current,
        "allocate": lambda: cuda.allocate(8),
        "free": lambda: cuda.free(4096),
        "allocate_host": lambda: cuda.allocate_host(8),
        "make_stream": cuda.make_stream,
        "synchronize": lambda: cuda.synchronize(4096),
        "destroy_stream": lambda: cuda.destroy_stream(4096),
        "upload": lambda: cuda.upload(4096, HOST, 4096),
        "download": lambda: cuda.download(HOST, 4096, 4096),
        "make_event": cuda.make_event,
        "record": lambda: cuda.record(4096, 4096),
        "wait": lambda: cuda.wait(4096),
        "destroy_event": lambda: cuda.destroy_event(4096),
        "begin_capture": lambda: cuda.begin_capture(4096),
        "end_capture": lambda: cuda.end_capture(4096),
        "launch": lambda: cuda.launch(4096, 4096),
        "destroy_graph": lambda: cuda.destroy_graph(4096),
        "instantiate": lambda: cuda._call(API.cudaGraphInstantiateWithFlags, 4096, 0),
        "get_device_pointer": lambda: cuda._call(API.cudaHostGetDevicePointer, 4096, 0),
    }
    return {"open": opened} | {name: said(call) for name, call in calls.items()}


if __name__ == "__main__":
    print(json.dumps(main()))
