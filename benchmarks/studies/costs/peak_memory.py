"""How much memory a process takes at its peak that runs the plain model, or explains: one new process each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.errors import AerocamError

_PLAIN = """
from aerocam.runtime import read_picture
from aerocam.runtime.sessions.ort import STOP_SPINNING
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = told["threads"]
options.log_severity_level = 3
options.add_session_config_entry(*STOP_SPINNING)
from aerocam.runtime.sessions.ort import blocks_given_back
with blocks_given_back():  # as the runtime loads
    session = onnxruntime.InferenceSession(told["model"], options, providers=["CPUExecutionProvider"])
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

REPORT = """
import re
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1e3)
"""
"""Prints the peak of the process's own memory, in MB; `getrusage` would count that of the process that started it."""


def peak_of_plain(model: Path, rule: dict[str, Any], picture: Path, *, threads: int = 1, frames: int = 20) -> float:
    """MB at the peak of a process that preprocesses a picture and runs the plain model on it, again and again.

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
    """MB at the peak of a process that explains a picture with an exported model, map and all, again and again.

    Args:
        model: The exported model.
        picture: The file.
        method: As for `Explainer`.
        threads: Threads inside an operator.
        frames: How often.
    """
    return _peak(_EXPLAIN, model=str(model), method=method, picture=str(picture), threads=threads, frames=frames)


def _peak(program: str, **told: Any) -> float:
    """The median of three processes."""
    code = f"import json\ntold = json.loads({json.dumps(told)!r})\n{program}{REPORT}"
    found = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode != 0:
            raise AerocamError(f"peak memory: the process failed: {done.stderr.strip().splitlines()[-1]}")
        found.append(float(done.stdout))
    return float(np.median(found))
