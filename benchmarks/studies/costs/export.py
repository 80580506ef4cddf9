"""What an export takes, its self-check included: seconds, and the peak of memory of a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from aerocam.errors import ModelError


def export_cost(
    path: str | Path, *, task: str | None = None, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Export a model in a process of its own, with every option at its default.

    Args:
        path: The model.
        task: As for `export_model`.
        input_shapes: As for `export_model`.

    Returns:
        `seconds`, `peak MB` and the model's own `MB`.

    Raises:
        ModelError: The export failed.
    """
    job = {"path": str(path), "task": task, "input_shapes": dict(input_shapes or {})}
    done = subprocess.run(
        [sys.executable, "-m", "aerocam.benchmarks.studies.costs.export", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ModelError(f"{path}: its export failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "MB": Path(path).stat().st_size / 1e6}


def main(job: Mapping[str, Any]) -> dict[str, float]:
    """The export itself; imports count for memory, not for time."""
    from aerocam.export import export_model

    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        export_model(job["path"], Path(folder) / "out.onnx", task=job["task"], input_shapes=job["input_shapes"])
        seconds = perf_counter() - started
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return {"seconds": seconds, "peak MB": int(peak[1]) / 1e3}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
