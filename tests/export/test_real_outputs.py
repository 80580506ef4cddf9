"""Real networks: what the original model says is said by the rewritten one too, and by the same names."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import real_models
from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.export.checking.report import HALF_TOLERANCE, OUTPUT_TOLERANCE, CheckReport
from aerocam.export.pipeline import export_model
from aerocam.export.sessions import open_model

NETWORKS = {**real_models.NETWORKS, **real_models.BEYOND_FLOAT64}
SHIPPED = [f"{name} as shipped" for name in zoo.light.LIGHT_NAMES if name != "light_vgg19"]  # 0.5 GB of zeros

ROUNDED = frozenset({"lite0-int8"})
"""Networks that ONNX Runtime fuses into integer operators, which round in other places when a tensor is an output."""

TOLERANCES = {"lite0-half": HALF_TOLERANCE, "ppocr-v4-det": 1e-5, "ppocr-v6-det": 1e-5}
"""Where ONNX Runtime's fusions move more than 1e-6 when a tensor in the middle becomes an output."""

PROBABLE = {"ppocr-v4-det": 0.1, "ppocr-v6-det": 0.1}
"""Least that counts as a network's largest output: where there is no text, all probabilities are next to 0."""


def path_of(network: str, folder: Path) -> Path:
    """The plain file: real weights, random weights, or a light graph untouched, with its weights as ConstantOfShape."""
    name, _, shipped = network.partition(" ")
    return zoo.light.light_path(name) if shipped else real_models.write(name, folder)


CHECKED = frozenset(["ppocr-v2-cls", "ssdlite", "lite0-norms", "lite0-half-weights", *real_models.BEYOND_FLOAT64])
"""Networks whose export checks itself; the gradients of the others are held against float64 elsewhere."""


@pytest.mark.slow
@pytest.mark.parametrize("network", [*NETWORKS, *SHIPPED])
def test_original_outputs_are_kept(network: str) -> None:
    """Within 1e-6 of the largest entry as run by default; to the bit where the runtime does not rewrite the graph.

    ONNX Runtime computes float16 in float32 on the CPU and always rounds less often than the graph says, so that a
    tensor which becomes an output changes what follows: there both are within 4e-3.
    """
    layers, check = NETWORKS[network.partition(" ")[0]], network in CHECKED
    shapes = real_models.INPUT_SHAPES.get(network)
    with TemporaryDirectory() as folder:
        plain = path_of(network, Path(folder))
        task = "segment" if network in real_models.SEGMENTERS else None
        made = export_model(plain, f"{folder}/x.onnx", layers=layers, input_shapes=shapes, task=task, check=check)
        assert len(made.manifest.layers) >= 2
        if check:
            assert_checked(network, made.report)
        for optimize in (False,) if network in ROUNDED else (True, False):
            before, after = open_model(plain, optimize=optimize), open_model(made.path, optimize=optimize)
            (image,) = [item.name for item in before.get_inputs()]
            names = [item.name for item in before.get_outputs()]
            frozen, target = after.get_inputs()
            assert [item.name for item in after.get_outputs()][: len(names)] == names
            assert (frozen.name, target.name) == (image, manifest.TARGET)
            picture = real_models.picture(*frozen.shape[2:])
            expected = before.run(names, {image: picture})
            found = after.run(names, {image: picture, manifest.TARGET: np.full(target.shape, -1, np.int32)})
            for x, y in zip(expected, found, strict=True):
                assert np.isfinite(x).all()
                if optimize or network == "lite0-half":
                    largest = max(np.abs(x).max(), PROBABLE.get(network, 0.0))
                    assert np.abs(x - y).max() <= TOLERANCES.get(network, OUTPUT_TOLERANCE) * largest
                else:
                    np.testing.assert_array_equal(x, y)


def assert_checked(network: str, report: CheckReport | None) -> None:
    """The self-check has passed, at every layer whose gradients can be held against differences."""
    assert report is not None
    checked = 1 if network in ROUNDED else len(NETWORKS[network])  # behind the last rounding
    assert len(report.gradients) == checked
    assert report.tolerance == OUTPUT_TOLERANCE
