"""Real networks: what the original model says is said by the rewritten one too, and by the same names."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest

import real_models
from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.export.checking.report import HALF_TOLERANCE, OUTPUT_TOLERANCE
from aerocam.export.pipeline import export_model
from aerocam.export.sessions import open_model

NETWORKS = {**real_models.NETWORKS, **real_models.BEYOND_FLOAT64}
SHIPPED = [f"{name} as shipped" for name in zoo.light.LIGHT_NAMES]

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


@pytest.mark.slow
@pytest.mark.parametrize("network", [*NETWORKS, *SHIPPED])
def test_original_outputs_are_kept(network: str) -> None:
    """Within 1e-6 of the largest entry as run by default; to the bit where the runtime does not rewrite the graph.

    ONNX Runtime computes float16 in float32 on the CPU and always rounds less often than the graph says, so that a
    tensor which becomes an output changes what follows: there both are within 4e-3.
    """
    layers = NETWORKS[network.partition(" ")[0]]
    shapes = real_models.INPUT_SHAPES.get(network)
    with TemporaryDirectory() as folder:
        plain = path_of(network, Path(folder))
        task = "segment" if network in real_models.SEGMENTERS else None
        made = export_model(plain, f"{folder}/x.onnx", layers=layers, input_shapes=shapes, task=task, check=False)
        before, after = onnx.load(plain), onnx.load(made.path)
    assert len(made.manifest.layers) >= 2
    frozen = next(item for item in after.graph.input if item.name != manifest.TARGET).type.tensor_type.shape.dim
    picture = real_models.picture(frozen[2].dim_value, frozen[3].dim_value)
    for optimize in (False,) if network in ROUNDED else (True, False):
        session = open_model(before, optimize=optimize)
        names = [item.name for item in session.get_outputs()]
        weights = {tensor.name for tensor in before.graph.initializer}
        (image,) = [item.name for item in session.get_inputs() if item.name not in weights]
        expected = session.run(names, {image: picture})
        session = open_model(after, optimize=optimize)
        assert [item.name for item in session.get_outputs()][: len(names)] == names
        target = next(item for item in session.get_inputs() if item.name == manifest.TARGET)
        found = session.run(names, {image: picture, manifest.TARGET: np.full(target.shape, -1, np.int32)})
        for x, y in zip(expected, found, strict=True):
            assert np.isfinite(x).all()
            if optimize or network == "lite0-half":
                largest = max(np.abs(x).max(), PROBABLE.get(network, 0.0))
                assert np.abs(x - y).max() <= TOLERANCES.get(network, OUTPUT_TOLERANCE) * largest
            else:
                np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", ["ppocr-v2-cls", "ssdlite", "lite0-norms", "lite0-half-weights", *real_models.BEYOND_FLOAT64]
)
def test_the_self_check_passes(network: str) -> None:
    with TemporaryDirectory() as folder:
        path, shapes = path_of(network, Path(folder)), real_models.INPUT_SHAPES.get(network)
        task = "segment" if network in real_models.SEGMENTERS else None
        made = export_model(path, f"{folder}/x.onnx", layers=NETWORKS[network], input_shapes=shapes, task=task)
    assert made.report is not None
    checked = 1 if network in ROUNDED else len(NETWORKS[network])  # behind the last rounding
    assert len(made.report.gradients) == checked
    assert made.report.tolerance == (HALF_TOLERANCE if network == "lite0-half" else OUTPUT_TOLERANCE)
