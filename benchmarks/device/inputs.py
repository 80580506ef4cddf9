"""What an engine and the plain model are run on: noise that is the same everywhere, and a picture if there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.benchmarks.latency import timing
from aerocam.errors import ManifestError, UsageError
from aerocam.providers import CPU, Provider, with_defaults
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.session import Session

NOISE_SIZE = (480, 640)
"""(H, W) of a noise frame for a model that takes frames of any size, px."""


def frames(session: Session, picture: Path | None, count: int = 2) -> dict[str, NDArray[np.uint8]]:
    """Return frames by name, uint8 (H, W, 3) in BGR; none for a model that takes no pictures."""
    rule = session.manifest.preprocess
    if rule is None:
        return {}
    size = rule.frame or NOISE_SIZE
    made = {
        f"noise {seed}": np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8) for seed in range(count)
    }
    if picture is None:
        return made
    from aerocam.runtime.frames.pictures import read_picture

    return {picture.name: read_picture(picture), **made}


def feeds(session: Session, frame: NDArray[np.uint8] | None, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return one array for every input of a model.

    Args:
        session: The model.
        frame: What becomes its image; None: noise.
        seed: Of what is drawn: the image where there is no frame, an embedding that is compared with.
    """
    rule, rng = session.manifest.preprocess, np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for spec in session.inputs:
        shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
        if spec.name == contract.TARGET:
            arrays[spec.name] = np.full(shape, -1, spec.dtype)
        elif spec.dtype.kind == "f":
            arrays[spec.name] = rng.random(shape).astype(spec.dtype)
        else:
            arrays[spec.name] = rng.integers(0, 256, shape).astype(spec.dtype)
    if frame is not None and rule is not None:
        from aerocam.runtime.frames.inputs import preparation

        name = rule.input if rule.frame is None else contract.FRAME
        arrays[name] = preparation(rule)(frame)[0]
    return arrays


def with_choice(arrays: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the same feeds with the targets that a run chose, so that another run explains the same."""
    fixed = dict(arrays)
    if contract.TARGET in fixed and contract.CHOSEN in outputs:
        fixed[contract.TARGET] = outputs[contract.CHOSEN].reshape(fixed[contract.TARGET].shape).copy()
    return fixed


def open_plain(
    path: Path, explained: Session, providers: Sequence[Provider] | None, opened: ExitStack
) -> Callable[[], object]:
    """Open the plain model, and return a call that runs it once.

    Args:
        path: Of the plain model: the original .onnx file, or a file or engine of a split export that runs on every
            frame.
        explained: What it is compared with; both must run on the same.
        providers: Of ONNX Runtime, where that runs them.
        opened: Closes it.

    Raises:
        UsageError: One of the two is an engine and the other is not.
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
        import onnxruntime

        complete = with_defaults(providers or [CPU], onnxruntime.__version__, path)
        original = timing.open_plain(path, providers=complete, log_severity_level=2)  # which no export has touched
        return partial(original.run, None, timing.noise(original))
    opened.enter_context(session)
    arrays = feeds(session, None)
    return lambda: session.run(arrays)
