"""An export is the same, byte for byte, whenever and wherever it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx

from aerocam.export import export_model
from onnx_graphs import saved
from small_networks import cnn

EXPORTS = """
import hashlib, sys
from pathlib import Path
from aerocam.export import export_model
kinds = [{}, {"packaging": "split", "batch": 4}, {"relevance": True}, {"layers": "x", "guided": True},
         {"head": "cfcam"}, {"head": "eigencam"}, {"head": "gradcam", "frame": (30, 40), "overlay": True},
         {"precision": "float16"}]
for number, how in enumerate(kinds):
    export_model(sys.argv[1], Path(sys.argv[2]) / f"{number}.onnx", check=False, **how)
for path in sorted(Path(sys.argv[2]).iterdir()):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_two_processes_write_the_same(tmp_path: Path) -> None:
    model = saved(tmp_path, cnn(12))
    said = []
    for seed in ("1", "2"):  # of the hashes of strings, and with them of the order of sets
        (folder := tmp_path / seed).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", EXPORTS, str(model), str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.splitlines())
    assert len(said[0]) >= 8
    assert said[0] == said[1]


def test_names_are_words(tmp_path: Path) -> None:
    graph = onnx.load(export_model(saved(tmp_path, cnn(12)), check=False).path).graph
    added = [one.name for one in [*graph.initializer, *graph.node] if one.name.startswith("aerocam")]
    assert added
    known = {one.name for one in cnn(12).graph.initializer}
    for name in {one.name for one in graph.initializer} - known:
        assert name.startswith("aerocam"), name
        assert name.replace("_", "").replace(".", "").isalnum(), name
