"""Open an explainable model in the engine that its file is for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from aerocam.errors import UsageError
from aerocam.files import ENGINE_SUFFIXES
from aerocam.providers import Provider
from aerocam.runtime.sessions.session import Session


def open_session(
    path: str | os.PathLike[str], *, providers: Sequence[Provider] | None = None, threads: int | None = None
) -> Session:
    """Load an explainable model; the suffix of the file picks the engine.

    Example:
        >>> from aerocam.runtime import open_session
        >>> with open_session("model.cam.onnx", threads=1) as session:
        ...     print(session.manifest.task, *session.inputs)
        classify float32 (1, 3, 32, 48) int32 (1)

    Args:
        path: An `.onnx` file written by `aerocam export`, or an engine written by `aerocam build`.
        providers: ONNX Runtime's execution providers by their own names, or (name, options) each, in order of
            preference; None means the CPU. Options that are not given have the defaults of `aerocam.providers`. Not
            for an engine.
        threads: Threads inside an operator; None leaves it to ONNX Runtime (one per core). Not for an engine.

    Raises:
        UsageError: The suffix is not one of an engine that aerocam has, or a provider or one of its options is not
            available.
        ModelError: The file is absent or cannot be read.
        ManifestError: The model was not exported by aerocam.
        EngineError: The engine does not fit this machine, or not its record; see `TensorRtSession`.
        MissingDependencyError: ONNX Runtime, or TensorRT, is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from aerocam.runtime.sessions.ort import OrtSession

        return OrtSession(path, providers=providers, threads=threads)
    if suffix in ENGINE_SUFFIXES:
        for name, value in (("providers", providers), ("threads", threads)):
            if value is not None:
                raise UsageError(
                    f"{path}: {name} were given ({value}), which are ONNX Runtime's; a TensorRT engine has none, leave"
                    " them out"
                )
        from aerocam.runtime.trt.session import TensorRtSession

        return TensorRtSession(path)
    raise UsageError(
        f"{path}: found the suffix '{suffix}', expected .onnx, or {', '.join(ENGINE_SUFFIXES)} of TensorRT;"
        " give a file written by `aerocam export` or `aerocam build`"
    )
