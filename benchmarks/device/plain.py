"""The plain model, to compare times with: on what runs the explainable one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.benchmarks.device import inputs
from aerocam.errors import ManifestError, UsageError
from aerocam.providers import CPU, with_defaults
from aerocam.runtime.sessions.session import Session, open_session


def open_plain(
    path: Path, explained: Session, providers: Sequence[Any] | None, opened: ExitStack
) -> Callable[[], object]:
    """A call that runs the plain model once.

    Args:
        path: Of the plain model: the original .onnx file, or a file or engine of a split export that runs on every
            frame.
        explained: What it is compared with; both must run on the same.
        providers: Of ONNX Runtime, where that runs them.
        opened: Closes it.

    Raises:
        UsageError: The one is an engine, the other is not.
    """
    onnx = path.suffix == ".onnx"
    if onnx != (Path(explained.path).suffix == ".onnx"):
        raise UsageError(
            f"{path}: times of an engine and of ONNX Runtime say nothing of what explaining costs; give a plain model"
            f" of the same kind as {explained.path}"
        )
    try:
        session = open_session(path, providers=providers) if onnx else open_session(path)
    except ManifestError:
        if not onnx:
            raise
        return _original(path, providers)  # which no export has touched
    opened.enter_context(session)
    given = inputs.feeds(session, None)
    return lambda: session.run(given)


def _original(path: Path, providers: Sequence[Any] | None) -> Callable[[], object]:
    """A model without a manifest, in ONNX Runtime with the options and providers that sessions have."""
    import onnxruntime

    from aerocam.runtime.sessions.ort import DTYPES, STOP_SPINNING

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*STOP_SPINNING)
    session = onnxruntime.InferenceSession(
        str(path),
        sess_options=options,
        providers=with_defaults(providers or [CPU], onnxruntime.__version__, path),
        enable_fallback="0",
    )
    session.disable_fallback()
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        node.name: rng.random([size if isinstance(size, int) else 1 for size in node.shape]).astype(DTYPES[node.type])
        for node in session.get_inputs()
    }
    return lambda: session.run(None, given)
