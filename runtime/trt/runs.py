"""Runs on an engine: the memory of each, fixed places on the host and for the GPU, and the queue that they go into."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import EngineError
from aerocam.runtime.cuda.access import Cuda
from aerocam.runtime.sessions.session import TensorSpec
from aerocam.runtime.trt.loaded_engine import LoadedEngine


class Buffer:
    """Holds one tensor's memory.

    Where GPU and CPU share their memory both use the same: nothing is copied. Elsewhere the GPU has its own, and the
    host's is page-locked, so that it can be copied while other work goes on.

    Attributes:
        host: The tensor as NumPy sees it.
        address: Where the GPU sees it.
    """

    def __init__(self, cuda: Cuda, spec: TensorSpec, shared: bool, undo: ExitStack) -> None:
        """Allocate the memory.

        Args:
            cuda: The GPU, its context current.
            spec: The tensor's; its shape is fixed.
            shared: Whether the GPU shares its memory with the CPU.
            undo: What gives memory back goes here.

        Raises:
            EngineError: There is less memory than that.
        """
        shape = tuple(int(size) for size in spec.shape if isinstance(size, int))
        size = int(np.prod(shape, dtype=np.int64)) * spec.dtype.itemsize
        memory = cuda.allocate_host(max(size, 1))  # an address is wanted for an empty tensor too
        memory.array[:] = 0
        self.shared, self._bytes = shared, memory.array
        self.host: NDArray[Any] = memory.array[:size].view(spec.dtype).reshape(shape)
        self.address = memory.address
        if not shared:
            self.address = cuda.allocate(max(size, 1))
            undo.callback(cuda.free, self.address)

    def upload(self, cuda: Cuda, stream: int) -> None:
        """Let the GPU have what `host` holds, once the stream comes to it."""
        if not self.shared:
            cuda.upload(self.address, self._bytes, stream)

    def download(self, cuda: Cuda, stream: int) -> None:
        """Let `host` have what the GPU made, once the stream comes to it."""
        if not self.shared:
            cuda.download(self._bytes, self.address, stream)


class Slot:
    """Holds the memory of one run under way, and the event that it ends with.

    Attributes:
        inputs: By name.
        outputs: By name.
        event: Happens when the run is done.
        waiting: Whether a run was begun here whose end nobody has waited for.
        run: The run whose results will lie here and were not asked for yet, as long as anybody holds it.
    """

    def __init__(
        self, cuda: Cuda, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], shared: bool, undo: ExitStack
    ) -> None:
        """Allocate the memory; see `Buffer`."""
        self.inputs = {spec.name: Buffer(cuda, spec, shared, undo) for spec in inputs}
        self.outputs = {spec.name: Buffer(cuda, spec, shared, undo) for spec in outputs}
        self.event = cuda.make_event()
        undo.callback(cuda.destroy_event, self.event)
        self.waiting = False
        self.run: weakref.ref[Any] | None = None

    def fill(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Copy what was given, contiguous or not, to the host's side."""
        for name, buffer in self.inputs.items():
            np.copyto(buffer.host, feeds[name])

    def wait(self, cuda: Cuda) -> None:
        """Wait until the run that was begun here is done, if it is not known to be."""
        if self.waiting:
            cuda.wait(self.event)
            self.waiting = False

    def addresses(self) -> dict[str, int]:
        """Return where the GPU finds each tensor."""
        return {name: buffer.address for name, buffer in (*self.inputs.items(), *self.outputs.items())}

    def arrays(self, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return these outputs, as the host sees them."""
        return {name: self.outputs[name].host for name in outputs}


class RunQueue:
    """Gives runs to a stream: copies in, the engine, copies out, in order; or all of it as one graph.

    A run may be captured as a CUDA graph, for when it is done again.
    """

    def __init__(self, cuda: Cuda, stream: int, engine: LoadedEngine, capture: bool, undo: ExitStack) -> None:
        """Begin with an empty queue.

        Args:
            cuda: The GPU.
            stream: Its stream.
            engine: What runs.
            capture: Whether runs are captured.
            undo: What gives graphs back goes here.
        """
        self._cuda, self._stream, self._engine, self._capture = cuda, stream, engine, capture
        self._graphs: dict[tuple[int, tuple[str, ...]], int] = {}
        undo.callback(self._destroy_graphs)

    def put(self, slot: Slot, outputs: Sequence[str]) -> None:
        """Begin a run on a slot's memory, and let its event happen behind it; returns at once.

        A graph keeps addresses, so that there is one per slot and choice of outputs. The first run of each is done as
        it is, and captured right behind it: TensorRT prepares things at the first run on new addresses that must not be
        part of a graph, and other slots give the same context others.

        Raises:
            EngineError: CUDA or TensorRT refuses.
        """
        key = slot.event, tuple(outputs)
        captured = key in self._graphs
        if captured:
            self._cuda.launch(self._graphs[key], self._stream)
        else:
            self._work(slot, outputs)
        self._cuda.record(slot.event, self._stream)
        slot.waiting = True
        if self._capture and not captured:
            self._graphs[key] = self._captured(slot, outputs)

    def _work(self, slot: Slot, outputs: Sequence[str]) -> None:
        for buffer in slot.inputs.values():
            buffer.upload(self._cuda, self._stream)
        for name, address in slot.addresses().items():
            self._engine.address(name, address)
        self._engine.start(self._stream)
        for name in outputs:
            slot.outputs[name].download(self._cuda, self._stream)

    def _captured(self, slot: Slot, outputs: Sequence[str]) -> int:
        """Return the same work as a graph."""
        self._cuda.begin_capture(self._stream)
        try:
            self._work(slot, outputs)
        except BaseException:
            with contextlib.suppress(EngineError):  # the capture is broken, and what broke it is on its way
                self._cuda.destroy_graph(self._cuda.end_capture(self._stream))
            raise
        return self._cuda.end_capture(self._stream)

    def _destroy_graphs(self) -> None:
        graphs, self._graphs = self._graphs, {}
        for graph in graphs.values():
            self._cuda.destroy_graph(graph)
