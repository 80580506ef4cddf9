"""What explaining costs on a device: one run after the other, beside the plain model, and two under way at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.latency.timing import Protocol, Stages, alternate, percentiles, ratio, timed
from aerocam.runtime import Explainer
from aerocam.runtime.sessions.session import Run, Session

Feeds = Mapping[str, NDArray[Any]]
Candidate = Callable[[bool], Stages]

DEPTHS = (1, 2)


def measure(
    session: Session,
    feeds: Feeds,
    frame: NDArray[np.uint8] | None,
    plain: Callable[[], object] | None,
    protocol: Protocol,
    method: str | None,
) -> dict[str, Any]:
    """Time a session.

    Args:
        session: What is measured.
        feeds: Its feeds.
        frame: For the whole way from a frame to a map; None: not measured.
        plain: Runs the plain model once; None: there is none to compare with.
        protocol: How often, and with what pauses.
        method: For the maps; None: the model's own.

    Returns:
        JSON-able: milliseconds of `model` (all its outputs), `frame` by stage and `plain`; the ratio of `model` to
        `plain` taken round by round; runs per second with one and with two under way.
    """
    candidates: dict[str, Candidate] = {"model": timed(lambda: session.run(feeds))}
    if plain is not None:
        candidates["plain"] = timed(plain)
    explainer = Explainer(session, method=method) if frame is not None else None
    try:
        if explainer is not None and frame is not None:
            candidates["frame"] = _whole(explainer, frame)
        samples = alternate(candidates, protocol)
    finally:
        if explainer is not None:
            explainer.close()
    record: dict[str, Any] = {
        "settings": {"iterations": protocol.iterations, "warmup": protocol.warmup, "pause": protocol.pause},
        "milliseconds": {
            name: {stage: percentiles(values) for stage, values in taken.stages().items()}
            | {"all": percentiles(taken.total())}
            for name, taken in samples.items()
        },
        "throughput": {
            str(depth): throughput(session, feeds, depth, protocol.iterations)
            for depth in DEPTHS
            if depth <= session.depth
        },
    }
    if plain is not None:
        record["ratio to plain"] = ratio(samples["model"].total(), samples["plain"].total())
    return record


def _whole(explainer: Explainer, frame: NDArray[np.uint8]) -> Candidate:
    """Return a candidate that goes from a frame to its map, timed by stage."""
    if explainer.manifest.task == "embed":
        explainer.compare_with(frame[::-1].copy())
    return lambda timed: explainer(frame).timings


def throughput(session: Session, feeds: Feeds, depth: int, count: int) -> float:
    """Return runs per second with `depth` of them under way at once; all results are waited for."""
    under_way: deque[Run] = deque()
    started = time.perf_counter()
    for _ in range(count):
        if len(under_way) == depth:
            under_way.popleft().result()
        under_way.append(session.submit(feeds))
    while under_way:
        under_way.popleft().result()
    return count / (time.perf_counter() - started)
