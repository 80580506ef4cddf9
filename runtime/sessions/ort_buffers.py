"""Fixed places for a session's inputs and outputs, so that a run allocates and copies nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class Buffers:
    """Runs an ONNX Runtime session; its outputs land in the same arrays every time.

    An input that is the same array as at the run before stays bound; its values may have changed.
    """

    def __init__(self, session: Any, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Bind the outputs.

        Args:
            session: ONNX Runtime's own.
            outputs: Per output wanted, an array of its type and shape, contiguous; every run overwrites it.
        """
        self.outputs = dict(outputs)
        self._session = session
        self._inputs: dict[str, NDArray[Any]] = {}
        self._memory: dict[str, NDArray[Any]] = {}  # ONNX Runtime 1.16 does not keep what it is bound to
        self._binding = session.io_binding()
        for name, array in outputs.items():
            self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

    def holds(self, feeds: Mapping[str, NDArray[Any]]) -> bool:
        """Whether `feeds` are the very arrays that are bound."""
        bound = self._inputs
        return len(feeds) == len(bound) and all(bound.get(name) is array for name, array in feeds.items())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the session on all its inputs; the arrays given are held until others come."""
        if not self.holds(feeds):
            self._memory = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
            for name, array in self._memory.items():
                self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
            # What had to be copied to be contiguous is bound anew every time.
            self._inputs = {name: array for name, array in feeds.items() if array is self._memory[name]}
        self._session.run_with_iobinding(self._binding)
        return dict(self.outputs)
