"""ONNX Runtime on the workstation: models opened for a few runs at little memory, and the inputs they are run on."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import ModelError, WriteError, missing
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import PLACE, LightModel, data_of
from aerocam.providers import CPU, Provider, names, option_error, require_available, with_defaults

ALIGNMENT = 64
"""Bytes; weights begin at a multiple of it."""


def open_model(
    model: onnx.ModelProto | Path,
    providers: Sequence[Provider] | None = None,
    optimize: bool = True,
    brief: bool = False,
) -> Any:
    """Return an ONNX Runtime session on a model.

    Args:
        model: The model, or its file.
        providers: Execution providers, names or (name, options); None: the CPU.
        optimize: Whether ONNX Runtime may change the graph.
        brief: Whether the session is for a few runs only, and keeps no memory from one to the next.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        UsageError: This ONNX Runtime does not have a provider that is asked for.
        ModelError: ONNX Runtime cannot load the model, or does not start a provider.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", "export", "to check an exported model") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if brief:
        options.enable_cpu_mem_arena = False
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = providers or [CPU]
    require_available(wanted, onnxruntime.get_available_providers(), onnxruntime.__version__)
    configured = with_defaults(wanted, onnxruntime.__version__)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    with onnxruntime_errors():
        try:
            session = onnxruntime.InferenceSession(source, options, providers=configured, enable_fallback="0")
        except RuntimeError as error:  # a provider's, none of ONNX Runtime's own kinds
            if option_error(error) is not None:
                raise
            raise ModelError(f"ONNX Runtime cannot start {', '.join(names(wanted))}: {error}") from error
        session.disable_fallback()
    if dropped := [name for name in names(wanted) if name not in session.get_providers()]:
        raise ModelError(f"ONNX Runtime did not start {', '.join(dropped)}; see its log lines above")
    return session


@contextmanager
def onnxruntime_errors() -> Iterator[None]:
    """Turn ONNX Runtime's exceptions, which have no common base, into ModelError; for a wrong option, UsageError."""
    try:
        yield
    except Exception as error:
        if refused := option_error(error):
            raise refused from error
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelError(
            f"ONNX Runtime cannot run the model ({error}); mend the model, or export it unchecked with `check=False`"
        ) from error


class SessionFolder:
    """Opens models from a temporary folder, with the weights of all in one file there.

    ONNX Runtime maps weights that lie in a file of their own into memory and lets go of those it stores in another
    order. From the model's file or from bytes it would copy each at least twice.

    Attributes:
        provider: The execution provider that came first in the session opened last.
    """

    def __init__(self, providers: Sequence[Provider] | None = None) -> None:
        """Choose the execution providers to run on; None: the CPU."""
        self.provider = ""
        self._providers = providers
        self._opened = 0
        self._places: dict[Hashable, tuple[int, ir.TensorProtocol]] = {}

    def __enter__(self) -> SessionFolder:
        """Make the folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="aerocam-", ignore_cleanup_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def open(self, model: LightModel, optimize: bool = True) -> Any:
        """Open a session on a model; it must be released before the next one is opened."""
        self._opened += 1
        path = Path(self._folder.name) / f"{self._opened}.onnx"
        try:
            path.write_bytes(self._with_places(model).SerializeToString())
        except OSError as error:
            raise WriteError(
                f"{path.parent}: cannot write what the self-check needs ({error.strerror}); set TMPDIR to a folder"
                " with room for the model's weights, or export it unchecked with `check=False`"
            ) from error
        session = open_model(path, self._providers, optimize, brief=True)
        self.provider = session.get_providers()[0]
        return session

    def _with_places(self, model: LightModel) -> onnx.ModelProto:
        """Return the model with references to its weights in the file of weights."""
        proto = onnx.ModelProto()
        proto.CopyFrom(model.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in model.weights:
                weight = model.weights[tensor.name]
                entries = {"location": "weights", "offset": self._place(weight), "length": weight.nbytes}
                del tensor.external_data[:]
                for key, value in entries.items():
                    tensor.external_data.add(key=key, value=str(value))
        return proto

    def _place(self, weight: ir.TensorProtocol) -> int:
        """Return where the data of a weight begin in the file of weights, in bytes; the first call writes them."""
        key = weight.meta.get(PLACE, id(weight))
        if key not in self._places:
            with (Path(self._folder.name) / "weights").open("ab") as file:
                file.write(bytes(-file.tell() % ALIGNMENT))
                self._places[key] = file.tell(), weight  # held, so that no other weight gets its id
                file.write(data_of(weight))
        return self._places[key][0]


def own_choice(model: ir.Model, score: manifest.Score) -> NDArray[np.int32]:
    """Return targets that let the model choose: its best; of several, its best ones, or the best of a class each.

    Args:
        model: A rewritten model.
        score: What its manifest says of the score.
    """
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    rows = np.full((score.targets, static_shape(target)[0] // score.targets), -1, np.int32)
    if score.targets > 1:
        numbers = np.arange(score.targets)
        rows[:, 0] = -1 - numbers if rows.shape[1] == 1 else numbers % score.classes
    return rows.reshape(-1)


def random_feeds(model: ir.Model, rng: np.random.Generator) -> dict[str, NDArray]:
    """Return random values for every input but the target.

    Pixels for a frame, weights in 0 to 1 for a region, else standard-normal numbers.
    """
    feeds: dict[str, NDArray] = {}
    for value in model.graph.inputs:
        name, shape = str(value.name), static_shape(value)
        if value.dtype == ir.DataType.UINT8:
            feeds[name] = rng.integers(0, 256, shape, np.uint8)
        elif name == manifest.REGION:
            feeds[name] = rng.random(shape, np.float32)
        elif name != manifest.TARGET:
            feeds[name] = rng.standard_normal(shape).astype(value.dtype.numpy())  # type: ignore[union-attr]
    return feeds
