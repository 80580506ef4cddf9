"""Where an engine's tensors lie: fixed places on the host and for the GPU, one set of them per run under way."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.cuda.access import Cuda
from aerocam.runtime.sessions.session import TensorSpec


class Buffer:
    """One tensor's memory.

    Where GPU and CPU share their memory both use the same: nothing is copied. Elsewhere the GPU has its own, and the
    host's is page-locked, so that it can be copied while other work goes on.

    Attributes:
        host: The tensor as NumPy sees it.
        address: Where the GPU sees it.
    """

    def __init__(self, cuda: Cuda, spec: TensorSpec, shared: bool, undo: ExitStack) -> None:
        """Allocate it.

        Args:
            cuda: The GPU, its context current.
            spec: The tensor's; its shape is fixed.
            shared: Whether the GPU shares its memory with the CPU.
            undo: What gives memory back goes here.

        Raises:
            EngineError: There is not so much memory.
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
    """The memory of one run under way, and the event that it ends with.

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
        """Allocate it; see `Buffer`."""
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
        """Where the GPU finds each tensor."""
        return {name: buffer.address for name, buffer in (*self.inputs.items(), *self.outputs.items())}

    def arrays(self, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """These outputs, as the host sees them."""
        return {name: self.outputs[name].host for name in outputs}
