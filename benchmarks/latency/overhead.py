"""What explaining costs: the plain model against its exported forms, on the real runtime."""

from __future__ import annotations

import contextlib
import logging
import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.latency import timing
from aerocam.benchmarks.latency.timing import Protocol, Samples, Stages, alternate, machine, percentiles, ratio
from aerocam.errors import AerocamError, UsageError
from aerocam.manifest import Manifest, Preprocess
from aerocam.providers import CPU, Provider, described, require_available, with_defaults
from aerocam.runtime import Explainer
from aerocam.runtime.frames.inputs import in_type
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.methods import Method, find
from aerocam.runtime.sessions.ort import DTYPES

PLAIN, FUSED, RUNTIME = "plain", "fused", "runtime"
EXPLAIN_STAGES = ("infer", "explain", "cam")
"""What an explanation adds to: the ratio compares these with the plain model's inference."""


def measure_overhead(
    path: str | Path,
    *,
    layers: str | Sequence[str] = "auto",
    method: str = "gradcam",
    threads: int = 1,
    providers: Sequence[Provider] | None = None,
    protocol: Protocol | None = None,
    picture: NDArray[np.uint8] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fix: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Time the plain model, the model with a fused head, and the model with the map computed by the runtime.

    The fused form is left out where the head is refused, with the reason, or there are several layers.

    Args:
        path: A plain ONNX model.
        layers: As for `export_model`.
        method: CAM method.
        threads: Threads inside an operator, the same for every form.
        providers: Execution providers; None: the CPU.
        protocol: How to measure.
        picture: uint8 (H, W, 3) BGR frame to run on; None: noise of the input's size.
        input_shapes: As for `export_model`.
        fix: Array or number per input beside the picture: a constant in the exported forms, given to the plain model.
        progress: Told the number of finished rounds.

    Returns:
        A JSON-able record: settings, machine, per form the percentiles by stage, ratios to the plain model.

    Raises:
        UsageError: The model takes several pictures at once, or has an input that `fix` does not give.
    """
    import onnxruntime

    protocol, called = protocol or Protocol(), find(method)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        asked = providers or [CPU]
        require_available(asked, onnxruntime.get_available_providers(), onnxruntime.__version__)
        forms = _export(path, Path(folder), called, {"layers": layers, "input_shapes": input_shapes, "fix": fix})
        rule = forms.manifest.preprocess
        assert rule is not None  # or the explainer below refuses the file
        frame = picture if picture is not None else _noise(rule)
        complete = with_defaults(asked, onnxruntime.__version__)
        plain, preprocess = timing.open_plain(path, threads, complete), Preprocessor(rule)
        dtype, given = _feeds(plain, rule.input, fix or {})
        candidates: dict[str, Callable[[bool], Stages]] = {
            PLAIN: lambda timed: _run_plain(plain, given, rule.input, lambda: in_type(preprocess(frame)[0], dtype))
        }
        for name, form in sorted(forms.paths.items()):
            wanted = called.name if name == RUNTIME else None
            explainer = stack.enter_context(Explainer(form, method=wanted, providers=providers, threads=threads))
            candidates[name] = partial(_explain, explainer, frame)
        samples = alternate(candidates, protocol, progress)
    settings = {
        "model": Path(path).name,
        "layers": tuple(layer.name for layer in forms.manifest.layers),
        "method": called.name,
        "threads": threads,
        "providers": tuple(described(complete, plain.get_providers())),
        "protocol": asdict(protocol),
    }
    return _record(settings, samples) | ({"refused": forms.refused} if forms.refused else {})


@dataclass(frozen=True)
class _Forms:
    """The exported files by form, the manifest of the one without a head, and why a form is missing."""

    paths: dict[str, Path]
    manifest: Manifest
    refused: dict[str, str]


def _export(path: str | Path, folder: Path, method: Method, common: Mapping[str, Any]) -> _Forms:
    """Export a model for the method in the runtime, and with its head, if it has one and the layer takes it."""
    from aerocam.export import export_model

    with _silent(logging.getLogger("aerocam.export")):
        done = export_model(path, folder / "runtime.onnx", check=False, **common, **method.facts.export_arguments)
        forms = _Forms({RUNTIME: done.path}, done.manifest, {})
        if method.facts.headless is None and len(done.manifest.layers) == 1:
            try:
                fused = export_model(path, folder / "fused.onnx", check=False, head=method.name, **common)
                forms.paths[FUSED] = fused.path
            except AerocamError as error:
                forms.refused[FUSED] = str(error)
    return forms


@contextlib.contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Silence the logger's choices, which the record names anyway."""
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _noise(rule: Preprocess) -> NDArray[np.uint8]:
    channels = len(rule.mean) if rule.color == "BANDS" else 3
    return np.random.default_rng(0).integers(0, 256, (*rule.size, channels), np.uint8)


def _feeds(session: Any, name: str, fix: Mapping[str, Any]) -> tuple[np.dtype[Any], dict[str, NDArray[Any]]]:
    """Return the element type of the picture and what the plain model's other inputs are given.

    Raises:
        UsageError: The model takes several pictures at once, or has an input that `fix` does not give.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    picture = inputs.pop(name)
    if isinstance(batch := picture.shape[0], int) and batch > 1:
        raise UsageError(f"input {name!r} takes {batch} pictures at once; one made for a batch of 1 is compared")
    if missing := [other for other in inputs if other not in fix]:
        raise UsageError(f"input {missing[0]!r} is no picture; give it a value by `fix`")
    given = {}
    for other, node in inputs.items():
        array = np.asarray(fix[other], DTYPES[node.type])
        shape = [size if isinstance(size, int) else 1 for size in node.shape]
        given[other] = np.broadcast_to(array, shape) if array.ndim == 0 else array
    return np.dtype(DTYPES[picture.type]), given


def _run_plain(
    session: Any, given: Mapping[str, NDArray[Any]], name: str, prepare: Callable[[], NDArray[Any]]
) -> Stages:
    started = perf_counter()
    tensor = prepare()
    prepared = perf_counter()
    session.run(None, {**given, name: tensor})
    return {"preprocess": 1e3 * (prepared - started), "infer": 1e3 * (perf_counter() - prepared)}


def _explain(explainer: Explainer, frame: NDArray[np.uint8], timed: bool) -> Stages:
    """Explain a frame, and draw the overlay if timed: drawn before, it would warm caches and OpenCV's threads."""
    explanation = explainer(frame)
    if not timed:
        return {}
    started = perf_counter()
    explanation.overlay()
    return {**explanation.timings, "overlay": 1e3 * (perf_counter() - started)}


def _record(settings: Mapping[str, Any], samples: Mapping[str, Samples]) -> dict[str, Any]:
    base = samples[PLAIN].total(["infer"])
    return {
        "settings": settings,
        "machine": machine(),
        "milliseconds": {
            name: {stage: percentiles(values) for stage, values in one.stages().items()}
            for name, one in samples.items()
        },
        "ratio to plain": {
            name: ratio(one.total(EXPLAIN_STAGES), base) for name, one in samples.items() if name != PLAIN
        },
        "peak memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
