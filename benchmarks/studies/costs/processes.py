"""What new processes take: memory of one that runs the plain model, or explains; time and memory of an export."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.errors import AerocamError, ModelError

_PLAIN = """
from aerocam.runtime import read_picture
from aerocam.benchmarks.latency.timing import open_plain
from aerocam.runtime.sessions.ort import blocks_given_back
with blocks_given_back():  # as the runtime loads
    session = open_plain(told["model"], told["threads"])
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.preprocess import Preprocessor
rule = dict(told["rule"])
preprocess = Preprocessor(Preprocess(**{k: tuple(v) if isinstance(v, list) else v for k, v in rule.items()}))
frame = read_picture(told["picture"])
for _ in range(told["frames"]):
    session.run(None, {rule["input"]: preprocess(frame)[0]})
"""

_EXPLAIN = """
from aerocam.runtime import Explainer, read_picture
explain = Explainer(told["model"], method=told["method"], threads=told["threads"])
frame = read_picture(told["picture"])
for _ in range(told["frames"]):
    explain(frame).tensor_map
"""

_EXPORT = """
import os
import tempfile
from time import perf_counter
from aerocam.export import export_model
with tempfile.TemporaryDirectory() as folder:
    started = perf_counter()
    path = os.path.join(folder, "out.onnx")
    export_model(told["path"], path, task=told["task"], input_shapes=told["input_shapes"])
    print(perf_counter() - started)
"""
"""Exports and prints the seconds; imports count for memory, not for time."""

REPORT = """
import re
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1e3)
"""
"""Prints the peak of the process's own memory, in MB; `getrusage` would count that of the process that started it."""


def peak_of_plain(model: Path, rule: dict[str, Any], picture: Path, *, threads: int = 1, frames: int = 20) -> float:
    """Return the peak in MB of a process that preprocesses a picture and runs the plain model on it repeatedly.

    Args:
        model: The plain model.
        rule: Fields of its `manifest.Preprocess`.
        picture: The file.
        threads: Threads inside an operator.
        frames: How often.
    """
    return _peak(_PLAIN, model=str(model), rule=rule, picture=str(picture), threads=threads, frames=frames)


def peak_of_explaining(
    model: Path, picture: Path, method: str | None = None, *, threads: int = 1, frames: int = 20
) -> float:
    """Return the peak in MB of a process that explains a picture with an exported model repeatedly, map and all.

    Args:
        model: The exported model.
        picture: The file.
        method: As for `Explainer`.
        threads: Threads inside an operator.
        frames: How often.
    """
    return _peak(_EXPLAIN, model=str(model), method=method, picture=str(picture), threads=threads, frames=frames)


def export_cost(
    path: str | Path, *, task: str | None = None, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Export a model in a process of its own, with every option at its default and the self-check.

    Args:
        path: The model.
        task: As for `export_model`.
        input_shapes: As for `export_model`.

    Returns:
        `seconds`, `peak MB` and the model's own `MB`.

    Raises:
        ModelError: The export failed.
    """
    done = run(_EXPORT, path=str(path), task=task, input_shapes=dict(input_shapes or {}))
    if done.returncode:
        raise ModelError(f"{path}: its export failed: {_last_line(done.stderr)}")
    seconds, peak = map(float, done.stdout.split())
    return {"seconds": seconds, "peak MB": peak, "MB": Path(path).stat().st_size / 1e6}


def _peak(program: str, **told: Any) -> float:
    """Return the median of three processes."""
    peaks = []
    for _ in range(3):
        done = run(program, **told)
        if done.returncode:
            raise AerocamError(f"peak memory: the process failed: {_last_line(done.stderr)}")
        peaks.append(float(done.stdout))
    return float(np.median(peaks))


def run(program: str, **told: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process; `told` is what it reads, the last line of its output its peak in MB."""
    code = f"import json\ntold = json.loads({json.dumps(told)!r})\n{program}{REPORT}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]
