"""How long things take, measured so that a ratio near 1 means something.

Candidates run in turn in one process, forwards and then backwards, so that a drift of the machine hits all alike. A
ratio is taken pair by pair within a round, and its median and quartiles are quoted. Before each timed call its
candidate runs once untimed, after a pause; sessions are told to stop spinning when a run is done, or the threads of one
would take the other's cores.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aerocam
from aerocam.errors import UsageError
from aerocam.manifest import TARGET
from aerocam.providers import CPU, Provider

PERCENTILES = (50, 90, 99)
QUARTILES = (25, 50, 75)

Stages = Mapping[str, float]
"""Milliseconds by stage of one call."""


@dataclass(frozen=True)
class Protocol:
    """How to measure.

    Attributes:
        iterations: Timed rounds; each times every candidate once.
        warmup: Untimed rounds before them.
        pause: Seconds to wait before a candidate's turn.
    """

    iterations: int = 50
    warmup: int = 3
    pause: float = 0.005

    def __post_init__(self) -> None:
        """Check the numbers; raise UsageError if they are impossible."""
        if self.iterations < 4 or self.warmup < 0 or self.pause < 0:
            raise UsageError(
                f"iterations {self.iterations}, warmup {self.warmup}, pause {self.pause}:"
                " at least 4, 0 and 0 are expected (quartiles need 4 rounds)"
            )


@dataclass
class Samples:
    """What one candidate took, round by round, in milliseconds by stage."""

    rounds: list[dict[str, float]] = field(default_factory=list)

    def total(self, stages: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return per round the sum over `stages` (None: all of them)."""
        return np.array(
            [sum(ms for name, ms in one.items() if stages is None or name in stages) for one in self.rounds]
        )

    def stages(self) -> dict[str, NDArray[np.float64]]:
        """Return the rounds by stage."""
        names = list(dict.fromkeys(name for one in self.rounds for name in one))
        return {name: np.array([one.get(name, 0.0) for one in self.rounds]) for name in names}


def timed(call: Callable[[], object]) -> Callable[[bool], Stages]:
    """Return a candidate of one stage, `infer`."""

    def run(timed: bool) -> Stages:
        started = time.perf_counter()
        call()
        return {"infer": 1e3 * (time.perf_counter() - started)}

    return run


def alternate(
    candidates: Mapping[str, Callable[[bool], Stages]],
    protocol: Protocol,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Samples]:
    """Time the candidates in turn.

    Args:
        candidates: Each a call that does its work once and says what each stage took. Its argument says whether the
            call is timed: what only follows the work that is compared need not be done in the other.
        protocol: How often, and with what pauses.
        progress: Told the number of finished rounds.
    """
    samples = {name: Samples() for name in candidates}
    for turn in range(-protocol.warmup, protocol.iterations):
        order = list(candidates) if turn % 2 == 0 else list(candidates)[::-1]
        for name in order:
            time.sleep(protocol.pause)
            candidates[name](False)
            stages = dict(candidates[name](True))
            if turn >= 0:
                samples[name].rounds.append(stages)
        progress(max(turn + 1, 0))
    return samples


def open_plain(
    model: str | Path | bytes, threads: int = 0, providers: Sequence[Provider] | None = None, **options: Any
) -> Any:
    """Open a model in ONNX Runtime, as the runtime's own sessions are opened.

    Args:
        model: A file, or a serialised model.
        threads: Threads inside an operator; 0: as many as there are cores.
        providers: Execution providers, with their options; None: the CPU.
        options: Further fields of ONNX Runtime's `SessionOptions`.
    """
    import onnxruntime

    from aerocam.runtime.sessions.ort import STOP_SPINNING

    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry(*STOP_SPINNING)
    for name, value in {"intra_op_num_threads": threads, "log_severity_level": 3, **options}.items():
        setattr(settings, name, value)
    given = {"sess_options": settings, "providers": providers or [CPU], "enable_fallback": "0"}
    session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), **given)
    session.disable_fallback()
    return session


def noise(session: Any) -> dict[str, NDArray[Any]]:
    """Return an array for each input of ONNX Runtime's session: normal noise; its own choice as the target, else 0."""
    from aerocam.runtime.sessions.ort import DTYPES

    feeds: dict[str, NDArray[Any]] = {}
    for node in session.get_inputs():
        shape, dtype = [size if isinstance(size, int) else 1 for size in node.shape], np.dtype(DTYPES[node.type])
        drawn = np.random.default_rng(0).standard_normal(shape) if dtype.kind == "f" else np.zeros(shape)
        feeds[node.name] = (drawn - (node.name == TARGET)).astype(dtype)
    return feeds


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Return p50, p90 and p99."""
    return {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}


def ratio(ours: NDArray[np.float64], base: NDArray[np.float64]) -> dict[str, float]:
    """Return the quartiles of the ratios taken round by round."""
    low, median, high = np.percentile(ours / base, QUARTILES)
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def machine() -> dict[str, Any]:
    """Describe processor, cores and versions, JSON-able."""
    import onnxruntime

    from aerocam.runtime.doctor import Machine
    from aerocam.runtime.doctor.registry import PROBES, run_probe

    return {
        "processor": run_probe(PROBES["board"], Machine()).get("processor") or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "aerocam": aerocam.__version__,
    }
