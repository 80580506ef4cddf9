"""Real networks: what the original model says is said by the rewritten one too, and by the same names."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest

import real_models
from aerocam import manifest
from aerocam.export.check import open_model
from aerocam.export.pipeline import export_model

SHIPPED = [f"{name} as shipped" for name in real_models.LIGHT_NAMES]


def path_of(network: str, folder: Path) -> Path:
    """The plain file: real weights, random weights, or a light graph untouched, with its weights as ConstantOfShape."""
    name, _, shipped = network.partition(" ")
    return real_models.light_path(name) if shipped else real_models.write(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("network", [*real_models.NETWORKS, *SHIPPED])
def test_original_outputs_are_kept(network: str) -> None:
    """Within 1e-6 of the largest entry as run by default; to the bit where the runtime does not rewrite the graph."""
    layers = real_models.NETWORKS[network.partition(" ")[0]]
    with TemporaryDirectory() as folder:
        plain = path_of(network, Path(folder))
        made = export_model(plain, f"{folder}/explained.onnx", layers=layers, check=False)
        before, after = onnx.load(plain), onnx.load(made.path)
    assert len(made.manifest.layers) >= 2
    size = next(item for item in after.graph.input if item.name != manifest.TARGET).type.tensor_type.shape.dim[2]
    picture = real_models.picture(size.dim_value)
    for optimize in (True, False):
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
            if optimize:
                assert np.abs(x - y).max() <= 1e-6 * np.abs(x).max()
            else:
                np.testing.assert_array_equal(x, y)
