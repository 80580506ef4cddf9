"""EfficientNet-Lite0 as `aerocam export` writes it, and photographs, for tests of the runtime on the real thing.

An environment without onnx cannot export: there the folder that `python tests/exported_models.py DIR` wrote is read,
named by AEROCAM_TEST_MODELS.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

TENSORS, FUSED = "lite0.cam.onnx", "lite0.gradcam.onnx"
PHOTOGRAPHS = ("coffee", "astronaut")


@cache
def folder() -> Path:
    """Where the files lie; made at the first use where they can be."""
    ready = os.environ.get("AEROCAM_TEST_MODELS")
    return Path(ready) if ready else write(Path(tempfile.mkdtemp(prefix="aerocam-test-")))


def write(target: Path) -> Path:
    """Export the models and copy the photographs."""
    from aerocam.benchmarks import zoo
    from aerocam.export import export_model

    target.mkdir(parents=True, exist_ok=True)
    known = {"preprocess": zoo.lite0.PREPROCESS, "labels": zoo.lite0.labels()}
    export_model(zoo.lite0.model(), target / TENSORS, **known)
    export_model(zoo.lite0.model(), target / FUSED, head="gradcam", check=False, **known)
    for name in PHOTOGRAPHS:
        shutil.copy(zoo.photograph_file(name), target / f"{name}.png")
    return target


if __name__ == "__main__":
    write(Path(sys.argv[1]))
