"""What each fused head costs, against the plain model and against the part of it behind the layer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.latency.timing import Protocol, Stages, alternate, noise, open_plain, ratio, timed
from aerocam.benchmarks.studies.costs.tail import PLAIN, TAIL, find_tail
from aerocam.errors import UsageError
from aerocam.export import export_model

FUSED = "fused"


def measure_heads(
    path: Path, layer: str, methods: Sequence[str], *, threads: int, protocol: Protocol, tail: bool = False
) -> dict[str, Any]:
    """Time a model with each head, head by head in turn with the plain model, on noise.

    Each head has rounds of its own: with all of them in one round, the plain model would run seconds before.

    Args:
        path: A plain ONNX model.
        layer: The target layer.
        methods: Of `aerocam.export.CAM_HEADS` or `TAIL_HEADS`.
        threads: Threads inside an operator.
        protocol: How to measure each head.
        tail: Whether the part of the model behind the layer is timed too.

    Returns:
        A JSON-able record: settings; medians over all rounds in ms of the plain model and the tail; per method the
        nodes added, the quartiles of the ratio to plain, and with `tail` those of what is added over the tail, round by
        round. A method that is refused at this layer has the reason instead.
    """
    base: dict[str, Callable[[bool], Stages]] = {PLAIN: _timed(open_plain(path, threads))}
    if tail:
        base[TAIL] = _timed(open_plain(find_tail(path, layers=layer).proto.SerializeToString(), threads))
    rows: dict[str, dict[str, Any]] = {}
    all_rounds: dict[str, list[NDArray[np.float64]]] = {name: [] for name in base}
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            try:
                done = export_model(path, Path(folder) / "fused.onnx", layers=layer, head=method, check=False)
            except UsageError as error:
                rows[method] = {"refused": str(error)}
                continue
            samples = alternate({**base, FUSED: _timed(open_plain(done.path, threads))}, protocol)
            times = {name: one.total() for name, one in samples.items()}
            rows[method] = {
                "nodes": done.nodes_after - done.nodes_before,
                "to plain": ratio(times[FUSED], times[PLAIN]),
            }
            if tail:
                rows[method]["added to tail"] = ratio(times[FUSED] - times[PLAIN], times[TAIL])
            for name in base:
                all_rounds[name].append(times[name])
    middle = {name: float(np.median(np.concatenate(rounds))) for name, rounds in all_rounds.items()}
    settings = {"layer": layer, "threads": threads, "protocol": asdict(protocol)}
    return {"settings": settings, "milliseconds": middle, "methods": rows}


def _timed(session: Any) -> Callable[[bool], Stages]:
    """Return a candidate that runs a model on noise, for its own top choice."""
    return timed(partial(session.run, None, noise(session)))
