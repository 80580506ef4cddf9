"""Exported gradients against PyTorch's autograd, and which score they are of.

The goldens are made by golden/gradients/make_torch.py from the original models, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import checkout
import real_models
from aerocam import manifest
from aerocam.export.pipeline import export_model
from aerocam.export.sessions import open_model
from onnx_graphs import Float64

GOLDEN = checkout.GOLDEN / "gradients"
IN_FLOAT64 = {"blocks.10/add", "r139"}
"""Layers that are compared in float64, in NumPy: in float32 the masks behind them may come out differently."""


@dataclass(frozen=True)
class Exported:
    """The exported model of a network with the golden's layers, in their order, and the golden."""

    network: str
    proto: onnx.ModelProto
    session: Any
    golden: dict[str, NDArray[Any]]

    def feeds(self, target: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        """The picture that the golden was made with, and a target."""
        image = next(item for item in self.proto.graph.input if item.name != manifest.TARGET)
        picture = real_models.picture(image.type.tensor_type.shape.dim[2].dim_value)
        return {image.name: picture, manifest.TARGET: np.array(target, np.int32)}

    def run(self, target: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        """All outputs in ONNX Runtime."""
        names = [item.name for item in self.proto.graph.output]
        return dict(zip(names, self.session.run(names, self.feeds(target)), strict=True))


@pytest.fixture(scope="module", params=real_models.GOLDEN_GRADIENTS)
def exported(request: pytest.FixtureRequest) -> Exported:
    layers = [layer for layer, _ in real_models.GOLDEN_GRADIENTS[request.param]]
    with TemporaryDirectory() as folder:
        path = real_models.write(request.param, Path(folder))
        proto = onnx.load(export_model(path, f"{folder}/explained.onnx", layers=layers, check=False).path)
    name = logits_name(proto)
    if all(item.name != name for item in proto.graph.output):
        proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    with np.load(GOLDEN / f"{request.param}.npz") as stored:
        return Exported(request.param, proto, open_model(proto), dict(stored))


def logits_name(proto: onnx.ModelProto) -> str:
    """The input of the last Softmax or Sigmoid, or the first output where there is none."""
    producers = {name: node for node in proto.graph.node for name in node.output}
    last = producers[proto.graph.output[0].name]
    if last.op_type == "Concat":
        last = producers[last.input[1]]
    return last.input[0] if last.op_type in ("Softmax", "Sigmoid") else proto.graph.output[0].name


@pytest.mark.slow
def test_gradients_are_pytorch_s(exported: Exported) -> None:
    for i, (layer, target) in enumerate(real_models.GOLDEN_GRADIENTS[exported.network]):
        wanted = [manifest.SCORE, manifest.CHOSEN, f"aerocam_gradients_{i}"]
        if layer in IN_FLOAT64:
            (score, chosen, gradients), tolerance = Float64(exported.proto)(exported.feeds(target), wanted), 1e-6
        else:
            outputs, tolerance = exported.run(target), 1e-4
            score, chosen, gradients = (outputs[name] for name in wanted)
        assert tuple(chosen) == target
        np.testing.assert_allclose(score, [exported.golden[f"{layer}:score"]], rtol=tolerance)
        for key, value in real_models.sample(gradients.astype(np.float64)).items():
            golden = exported.golden[f"{layer}:{key}"]
            assert np.abs(value - golden).max() <= tolerance * np.abs(golden).max(), f"{layer} {key}"


@pytest.mark.slow
def test_what_is_left_open_is_the_model_s_own_choice(exported: Exported) -> None:
    """-1: the largest logit of those the target allows; what is explained then is what its numbers would explain."""
    _, target = real_models.GOLDEN_GRADIENTS[exported.network][-1]
    for asked in product(*((-1, wanted) for wanted in target)):
        own = exported.run(asked)
        logits = own[logits_name(exported.proto)][0]
        fixed = tuple(slice(None) if i < 0 else slice(i, i + 1) for i in asked)
        allowed = np.full(logits.shape, -np.inf)
        allowed[fixed] = logits[fixed]
        best = tuple(int(i) for i in np.unravel_index(allowed.argmax(), allowed.shape))
        assert tuple(own[manifest.CHOSEN]) == best
        assert own[manifest.SCORE] == logits[best]
        assert (best == target) == (asked == target)
        for name, array in exported.run(best).items():
            np.testing.assert_array_equal(array, own[name], err_msg=name)
