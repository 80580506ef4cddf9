"""A GPU that is none: memory at made-up addresses, and streams whose work is done when somebody waits for it.

What is given to a stream is done as late as it can be, so that a result that nobody waited for, or memory that is used
again too early, shows as wrong numbers. With `eager` it is done at once: what a slow GPU hides shows then.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

POISON = 0xA5
OUT_OF_MEMORY, NO_DEVICE, INVALID_CONTEXT, INVALID_HANDLE, NOT_IN_CAPTURE, CAPTURED_EVENT = 2, 100, 201, 400, 900, 907
ILLEGAL_ADDRESS = 700
"""After this one nothing works any more."""


class StatusError(Exception):
    """A call that CUDA would refuse, with CUDA's number for why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Event:
    """When a stream has come to a place."""

    happened: bool = True
    stream: int = 0
    captured: bool = False


@dataclass
class Gpu:
    """The GPU, and all that was got of it and not given back."""

    integrated: bool = False
    eager: bool = False
    count: int = 1
    name: str = "Orin (stand-in)"
    capability: tuple[int, int] = (8, 7)
    total: int = 8 << 30
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    pinned: dict[int, int] = field(default_factory=dict)
    streams: dict[int, deque[Callable[[], None]]] = field(default_factory=dict)
    events: dict[int, Event] = field(default_factory=dict)
    graphs: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    capturing: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    launched: int = 0
    broken: bool = False
    log: list[str] = field(default_factory=list)
    current: threading.local = field(default_factory=threading.local)
    _last: int = 0x7E00_0000_0000

    @property
    def free(self) -> int:
        """Bytes that nobody has."""
        return self.total - sum(array.nbytes for array in self.memory.values())

    @property
    def held(self) -> dict[str, int]:
        """What was not given back."""
        kinds = {"memory": self.memory, "streams": self.streams, "events": self.events, "graphs": self.graphs}
        return {name: len(kind) for name, kind in kinds.items() if kind}

    def note(self, call: str) -> None:
        """Note a call that needs a current context."""
        self.log.append(call)
        if self.broken:
            raise StatusError(ILLEGAL_ADDRESS)
        if not getattr(self.current, "depth", 0):
            raise StatusError(INVALID_CONTEXT)

    def handle(self) -> int:
        """A number that nothing else has."""
        self._last += 0x10_0000
        return self._last

    def allocate(self, size: int) -> int:
        """Memory of its own, not initialised."""
        if self.capturing:
            raise StatusError(NOT_IN_CAPTURE)
        if size > self.free:
            raise StatusError(OUT_OF_MEMORY)
        address = self.handle()
        self.memory[address] = np.full(size, POISON, np.uint8)
        return address

    def allocate_host(self, size: int) -> np.ndarray:
        """Memory that both reach, at another address each."""
        address = self.allocate(size)
        array = self.memory[address]
        self.pinned[array.ctypes.data] = address
        return array

    def free_host(self, pointer: int) -> None:
        """Give back what `allocate_host` gave, by the host's address."""
        del self.memory[self.pinned.pop(pointer)]

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """So much memory from an address on, the GPU's or page-locked."""
        address = self.pinned.get(address, address)
        if address not in self.memory or size > self.memory[address].nbytes:
            raise AssertionError(f"{size} bytes at {address:#x} are nobody's")
        return self.memory[address][:size]

    def put(self, stream: int, work: Callable[[], None]) -> None:
        """Give work to a stream."""
        if stream not in self.streams:
            raise StatusError(INVALID_HANDLE)
        if stream in self.capturing:
            self.capturing[stream].append(work)
            return
        self.streams[stream].append(work)
        if self.eager:
            self.synchronize(stream)

    def copy(self, destination: int, source: int, size: int, stream: int) -> None:
        """Copy when the stream comes to it."""
        target, origin = self.bytes_at(destination, size), self.bytes_at(source, size)
        self.put(stream, lambda: np.copyto(target, origin))

    def make_stream(self) -> int:
        """A stream."""
        handle = self.handle()
        self.streams[handle] = deque()
        return handle

    def synchronize(self, stream: int) -> None:
        """Do all that a stream was given."""
        if stream in self.capturing:
            raise StatusError(NOT_IN_CAPTURE)
        queue = self.streams[stream]
        while queue:
            queue.popleft()()

    def make_event(self) -> int:
        """An event."""
        handle = self.handle()
        self.events[handle] = Event()
        return handle

    def record(self, handle: int, stream: int) -> None:
        """Let an event happen when the stream comes to it."""
        event = self.events[handle]
        event.happened, event.stream, event.captured = False, stream, stream in self.capturing

        def happen() -> None:
            event.happened = True

        self.put(stream, happen)

    def wait(self, handle: int) -> None:
        """Do what an event's stream was given before it."""
        event = self.events[handle]
        if event.captured:
            raise StatusError(CAPTURED_EVENT)
        while not event.happened:
            self.streams[event.stream].popleft()()

    def begin_capture(self, stream: int) -> None:
        """Keep what a stream is given."""
        self.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        """What was kept."""
        handle = self.handle()
        self.graphs[handle] = self.capturing.pop(stream)
        return handle

    def instantiate(self, graph: int) -> int:
        """A graph that can be launched."""
        handle = self.handle()
        self.graphs[handle] = self.graphs[graph]
        return handle

    def launch(self, graph: int, stream: int) -> None:
        """Give a stream what a graph has kept."""
        self.launched += 1
        for work in self.graphs[graph]:
            self.put(stream, work)
