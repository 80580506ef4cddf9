"""Sessions on ONNX Runtime: fixed places for inputs and outputs, and a heap kept small while a model loads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import ManifestError, ModelError, UsageError, missing
from aerocam.manifest import Manifest
from aerocam.providers import CPU, Provider, names, option_error, require_available, with_defaults
from aerocam.runtime.sessions.session import Arrays, Closing, Run, TensorSpec, check_feeds, check_outputs

try:
    import onnxruntime
except ImportError as error:
    raise missing("onnxruntime", "ort", "to run an .onnx model") from error


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
        """Say whether `feeds` are the very arrays that are bound."""
        bound = self._inputs
        return len(feeds) == len(bound) and all(bound.get(name) is array for name, array in feeds.items())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the session on all its inputs; the arrays given are held until others come."""
        if not self.holds(feeds):
            self._memory = {name: np.asarray(array, order="C") for name, array in feeds.items()}
            for name, array in self._memory.items():
                self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
            # What had to be copied to be contiguous is bound anew every time.
            self._inputs = {name: array for name, array in feeds.items() if array is self._memory[name]}
        self._session.run_with_iobinding(self._binding)
        return dict(self.outputs)


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's names for `mallopt`'s parameters (malloc.h)."""

SMALL, LARGE = 128 << 10, 32 << 20
"""glibc's threshold at the start and the end of its adaptation, bytes."""


@contextlib.contextmanager
def blocks_given_back() -> Iterator[None]:
    """Map large blocks while this lasts; nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, SMALL)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(TRIM_THRESHOLD, 2 * LARGE)


STOP_SPINNING = ("session.force_spinning_stop", "1")
"""Its threads wait for work by spinning; after a run they stop, so that map, overlay and video have the cores."""

ERRORS_ONLY = 3
"""ONNX Runtime's log severity that leaves out warnings."""

ALIKE = ("float16", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
"""Element types that ONNX Runtime and NumPy call the same."""

DTYPES = {f"tensor({name})": name for name in ALIKE} | {"tensor(float)": "float32", "tensor(double)": "float64"}
"""NumPy's names of ONNX Runtime's types."""


class OrtSession(Closing):
    """Runs an explainable model on ONNX Runtime; see `Session` and `open_session`."""

    depth = 1

    def __init__(
        self, path: str | os.PathLike[str], *, providers: Sequence[Provider] | None = None, threads: int | None = None
    ) -> None:
        """Load the model; see `open_session` for the arguments and errors."""
        self.path = os.fspath(path)
        asked = [CPU] if providers is None else providers
        require_available(asked, onnxruntime.get_available_providers(), onnxruntime.__version__)
        self._session: Any = _load(self.path, asked, _options(threads))
        self._buffers: Buffers | None = None
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        dropped = [name for name in names(asked) if name not in self.providers]
        if dropped:
            raise ModelError(
                f"{self.path}: ONNX Runtime did not start {', '.join(dropped)}, it would run on"
                f" {', '.join(self.providers)}; see its log lines above, or ask for these providers"
            )
        try:
            text = self._session.get_modelmeta().custom_metadata_map.get(manifest.KEY)
            self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
            self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: it has text that is not UTF-8 ({error}); copy the file again") from error
        if text is None:
            raise ManifestError(
                f"{self.path}: it carries no aerocam manifest, so nothing in it can be explained;"
                f" run: aerocam export {self.path}"
            )
        self.manifest = Manifest.from_json(text, self.path)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the model once; see `Session.run`. The next run with the same `outputs` overwrites the arrays."""
        if self._session is None:
            raise UsageError(f"{self.path}: the session is closed; open it again")
        names = tuple(spec.name for spec in self.outputs) if outputs is None else tuple(outputs)
        buffers = self._buffers if self._buffers is not None and tuple(self._buffers.outputs) == names else None
        if buffers is None or not buffers.holds(feeds):
            check_feeds(feeds, self.inputs)
            check_outputs(names, self.outputs)
        try:
            if buffers is not None:
                return buffers.run(feeds)
            arrays = dict(zip(names, self._session.run(names, feeds), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise ModelError(f"{self.path}: ONNX Runtime failed to run it: {_reason(error)}") from error
        for spec in self.outputs:
            if spec.name in arrays and spec.fixed and not spec.takes(arrays[spec.name]):
                got = arrays[spec.name]
                raise ModelError(
                    f"{self.path}: output '{spec.name}' is {got.dtype} {got.shape}, its file says {spec}; export the"
                    " model again"
                )
        if all(spec.fixed and spec.takes(arrays[spec.name]) for spec in self.outputs if spec.name in arrays):
            self._buffers = Buffers(self._session, arrays)
        return arrays

    def submit(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Run[Arrays]:
        """Run the model once, now; see `Session.submit`."""
        outcome = self.run(feeds, outputs)
        return Run(lambda: outcome)

    def close(self) -> None:
        """Give back the memory; the session cannot run any more."""
        self._session = self._buffers = None


def _options(threads: int | None) -> Any:
    """Return session options: quiet, with so many threads inside an operator."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry(*STOP_SPINNING)
    if threads is not None:
        if threads < 1:
            raise UsageError(f"`threads={threads}`: expected 1 or more")
        options.intra_op_num_threads = threads
    return options


def _load(path: str, providers: Sequence[Provider], options: Any) -> Any:
    """Return ONNX Runtime's own session for the file, or raise an error that says why there is none."""
    if not os.path.isfile(path):
        raise ModelError(f"{path}: there is no such file, expected an .onnx model written by `aerocam export`")
    given = with_defaults(providers, onnxruntime.__version__, path)
    try:
        with blocks_given_back():
            session = onnxruntime.InferenceSession(path, sess_options=options, providers=given, enable_fallback="0")
        session.disable_fallback()  # of a run; before 1.23 of the start, too, it cannot be told to leave it
        return session
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        if refused := option_error(error):
            raise refused from error
        if isinstance(error, RuntimeError) and names(providers) != [CPU]:  # none of ONNX Runtime's own kinds of errors
            raise ModelError(
                f"{path}: ONNX Runtime cannot start it on {', '.join(names(providers))}: {_reason(error)}; mend that,"
                " or ask for other providers"
            ) from error
        raise ModelError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load it, is it a whole ONNX file?"
            f" It says: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """Return ONNX Runtime's message without its prefix, on one line."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))


def _spec(node: Any) -> TensorSpec:
    """Return one input or output as ONNX Runtime describes it."""
    return TensorSpec(node.name, tuple(node.shape), np.dtype(DTYPES.get(node.type, np.object_)))
