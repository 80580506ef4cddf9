"""An engine against ONNX Runtime on the CPU: outputs, gradients, maps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.benchmarks.device import inputs
from aerocam.benchmarks.device.differences import Difference, Tolerance, clear_enough, compare, compare_outputs
from aerocam.runtime import Explainer, Explanation
from aerocam.runtime.predictions.targets import TargetLike
from aerocam.runtime.sessions.session import Session

SEEDS = (0, 1)
"""Seeds of the noise for models that take no pictures."""


def compare_sessions(
    reference: Session, engine: Session, picture: Path | None, bounds: Tolerance, method: str | None
) -> list[dict[str, Any]]:
    """Run both on the same inputs.

    Args:
        reference: ONNX Runtime's session on the CPU.
        engine: The other one.
        picture: To run on besides noise.
        bounds: What is near enough.
        method: For the maps; None: the model's own.

    Returns:
        For every input its name and its differences, JSON-able; see `Difference`.
    """
    frames = inputs.frames(reference, picture)
    cases: dict[str, NDArray[np.uint8] | None] = dict(frames) or {f"noise {seed}": None for seed in SEEDS}
    records: list[dict[str, Any]] = []
    for seed, (name, frame) in enumerate(cases.items()):
        feeds = inputs.feeds(reference, frame, seed)
        differences = _outputs(reference, engine, feeds, bounds)
        record: dict[str, Any] = {"input": name, "differences": [asdict(one) for one in differences]}
        records.append(record | _own_choices(reference, engine, feeds))
    if frames:
        with Explainer(reference, method=method) as one, Explainer(engine, method=method) as other:
            for record, frame in zip(records, frames.values(), strict=True):
                record["differences"] += [asdict(difference) for difference in _maps(one, other, frame, bounds)]
    return records


def _own_choices(reference: Session, engine: Session, feeds: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Record what each explains by default; not judged, because it may differ if two classes are nearly equal."""
    if contract.CHOSEN not in {spec.name for spec in reference.outputs}:
        return {}
    chosen = [session.run(feeds, (contract.CHOSEN,))[contract.CHOSEN].tolist() for session in (reference, engine)]
    return {"own choice": dict(zip(("reference", "engine"), chosen, strict=True))}


def _outputs(
    reference: Session, engine: Session, feeds: dict[str, NDArray[Any]], bounds: Tolerance
) -> list[Difference]:
    """Compare all outputs for the targets that the reference chooses."""
    feeds = inputs.with_choice(feeds, reference.run(feeds))
    expected = {name: array.copy() for name, array in reference.run(feeds).items()}
    return compare_outputs(expected, engine.run(feeds), reference.manifest, bounds)


def _maps(reference: Explainer, engine: Explainer, frame: NDArray[np.uint8], bounds: Tolerance) -> list[Difference]:
    """Compare raw maps, and maps in [0, 1], for the target that the reference chooses."""
    if reference.manifest.task == "embed":
        other = frame[::-1].copy()
        reference.compare_with(other)
        engine.compare_with(other)
    expected = reference(frame)
    target = (expected.target.index, expected.target.anchor)
    chosen: TargetLike = target[0] if target[1] is None else target
    explanation = engine(frame, None if reference.manifest.task in ("embed", "scalar") else chosen)
    return _map_differences(expected, explanation, bounds)


def _map_differences(expected: Explanation, explanation: Explanation, bounds: Tolerance) -> list[Difference]:
    """Compare two explanations of one frame and one target."""
    raws = [
        compare(f"{expected.method}, raw map of {layer}", "raw", one, other, bounds)
        for layer, one, other in zip(expected.layers, expected.raws, explanation.raws, strict=False)
    ]
    if not all(clear_enough(raw) for raw in expected.raws):
        return raws
    return [*raws, compare(f"{expected.method}, map", "map", expected.map, explanation.map, bounds)]
