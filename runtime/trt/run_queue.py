"""What a run is for the GPU: copies in, the engine, copies out, in order on one stream; or all of it as one graph."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import ExitStack

from aerocam.errors import EngineError
from aerocam.runtime.cuda.access import Cuda
from aerocam.runtime.trt.buffers import Slot
from aerocam.runtime.trt.loaded_engine import LoadedEngine


class RunQueue:
    """Gives runs to a stream. A run may be captured as a CUDA graph, for when it is done again."""

    def __init__(self, cuda: Cuda, stream: int, engine: LoadedEngine, capture: bool, undo: ExitStack) -> None:
        """Nothing is given yet.

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
        known = key in self._graphs
        if known:
            self._cuda.launch(self._graphs[key], self._stream)
        else:
            self._work(slot, outputs)
        self._cuda.record(slot.event, self._stream)
        slot.waiting = True
        if self._capture and not known:
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
        """The same work as a graph."""
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
