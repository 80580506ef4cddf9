"""What ScoreCAM costs against as many plain forward passes as the layer has channels."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from aerocam import manifest
from aerocam.benchmarks.latency.timing import Protocol, alternate, open_plain, ratio, timed
from aerocam.export import export_model
from aerocam.runtime import open_session
from aerocam.runtime.methods import FORWARD_METHODS, Scorer

CHANNELS = 16
"""Channels of the layer that are timed together; all take the same time."""


def measure(path: Path, *, threads: int, protocol: Protocol, packaging: manifest.Packaging = "fused") -> dict[str, Any]:
    """Measure ScoreCAM over `CHANNELS` channels of the last layer against as many plain passes, round by round.

    Args:
        path: A plain ONNX model of one picture.
        threads: Threads inside an operator.
        protocol: How to measure.
        packaging: Of the export that ScoreCAM runs; of a split one it runs the forward file and the explaining one.
    """
    plain = open_plain(path, threads)
    (item,) = plain.get_inputs()
    picture = np.random.default_rng(0).standard_normal(item.shape, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        done = export_model(path, Path(folder) / "model.onnx", check=False, packaging=packaging)
        session = open_session(done.path, threads=threads)
    layer = done.manifest.layers[0]
    feeds = {manifest.TARGET: np.zeros(1, np.int32)}
    activations = session.run({item.name: picture, **feeds}, [str(layer.activations)])[str(layer.activations)].copy()

    def scores(pictures: np.ndarray) -> np.ndarray:
        return np.stack(
            [session.run({item.name: one[None], **feeds}, [manifest.SCORE])[manifest.SCORE] for one in pictures]
        )

    method = FORWARD_METHODS["scorecam"]
    some = np.ascontiguousarray(activations[:, :CHANNELS])

    def passes() -> None:
        for _ in range(CHANNELS):
            plain.run(None, {item.name: picture})

    calls = {"plain": passes, "scorecam": lambda: method(Scorer(scores), picture, some)}
    samples = alternate({name: timed(call) for name, call in calls.items()}, protocol)
    times = {name: one.total() for name, one in samples.items()}
    return {
        "settings": {"layer": layer.name, "channels": CHANNELS, "threads": threads, "protocol": asdict(protocol)},
        "milliseconds": {name: float(np.median(values)) for name, values in times.items()},
        "to plain": ratio(times["scorecam"], times["plain"]),
    }
