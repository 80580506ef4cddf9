"""Models as `aerocam export` writes them, and photographs, for tests of the runtime on the real thing.

EfficientNet-Lite0, also with relevance and with fused ends for frames of two sizes; the small network of golden/input
at its input, with true and with guided gradients; that of golden/relevance with relevance, at a layer and at its input;
that of golden/forward at both its layers.

An environment without onnx cannot export: there the folder that `python tests/helpers/exported_models.py DIR` wrote is
read, named by AEROCAM_TEST_MODELS.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from checkout import GOLDEN

TENSORS, FUSED, INPUT = "lite0.cam.onnx", "lite0.gradcam.onnx", "lite0.input.cam.onnx"
ENDS, WIDE_ENDS = "lite0.ends.cam.onnx", "lite0.wide-ends.cam.onnx"
SMALL, SMALL_GUIDED, SMALL_FINER = "small.input.cam.onnx", "small.guided.cam.onnx", "small.finer.cam.onnx"
RELEVANCE, RELEVANCE_INPUT = "relevance.cam.onnx", "relevance.input.cam.onnx"
LITE0_RELEVANCE = "lite0.relevance.cam.onnx"
FORWARD, FORWARD_NEGATIVE = "forward.features.cam.onnx", "forward.negative.cam.onnx"
TAIL, TAIL_NEGATIVE = "tail.features.cam.onnx", "tail.negative.cam.onnx"
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
    from aerocam.manifest import Preprocess

    target.mkdir(parents=True, exist_ok=True)
    known = {"preprocess": zoo.lite0.PREPROCESS, "labels": zoo.lite0.labels()}
    export_model(zoo.lite0.model(), target / TENSORS, **known)
    export_model(zoo.lite0.model(), target / FUSED, head="gradcam", check=False, **known)
    ends = {"head": "gradcam", "overlay": True}
    export_model(zoo.lite0.model(), target / ENDS, frame=(224, 224), **ends, **known)
    wide = {**known, "preprocess": replace(zoo.lite0.PREPROCESS, interpolation="linear")}
    export_model(zoo.lite0.model(), target / WIDE_ENDS, frame=(300, 451), map_form="frame", targets=2, **ends, **wide)
    export_model(zoo.lite0.model(), target / INPUT, layers="images", check=False, **known)
    small = GOLDEN / "input/network.onnx"
    rule = Preprocess("images", (24, 24), mean=(127.0,) * 3, std=(64.0,) * 3)
    export_model(small, target / SMALL, layers="images", preprocess=rule)
    export_model(small, target / SMALL_GUIDED, layers="features", guided=True, preprocess=rule)
    export_model(small, target / SMALL_FINER, layers="features", contrast="finer", preprocess=rule)
    small = small.parents[1] / "relevance/network.onnx"
    export_model(small, target / RELEVANCE, layers="features", relevance=True, preprocess=rule)
    export_model(small, target / RELEVANCE_INPUT, layers="images", relevance=True, preprocess=rule)
    export_model(
        zoo.lite0.model(), target / LITE0_RELEVANCE, layers="blocks.10/add", relevance=True, check=False, **known
    )
    forward = GOLDEN / "forward/network.onnx"
    rule = Preprocess("images", (26, 22), mean=(127.0,) * 3, std=(64.0,) * 3)
    for name, layer in ((FORWARD, "features"), (FORWARD_NEGATIVE, "negative")):
        export_model(forward, target / name, layers=layer, preprocess=rule)
    for name, layer in ((TAIL, "features"), (TAIL_NEGATIVE, "negative")):
        export_model(forward, target / name, layers=layer, packaging="split", batch=5, targets=2, preprocess=rule)
    for name in PHOTOGRAPHS:
        shutil.copy(zoo.photograph_file(name), target / f"{name}.png")
    return target


if __name__ == "__main__":
    write(Path(sys.argv[1]))
