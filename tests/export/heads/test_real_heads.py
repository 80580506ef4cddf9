"""Every fused head against its NumPy reference on real activations and gradients: networks, layers and photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.export import CAM_HEADS, export_model
from aerocam.export.nodes.builder import Builder
from aerocam.runtime import Explainer
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.methods import CAM_METHODS
from onnx_graphs import run_ort

pytestmark = pytest.mark.slow

CASES = [
    ("lite0", "head/act", "coffee"),
    ("lite0", "blocks.10/add", "astronaut"),
    ("lite0", "blocks.4/add", "chelsea"),
    ("ssdlite", "expanded_conv_13/expand/Relu6", "room"),
    ("ssdlite", "expanded_conv_9/add", "room"),
    ("yolov8n", "/model.21/cv2/act/Mul_output_0", "report"),
    ("yolov8n", "/model.18/cv2/act/Mul_output_0", "report"),
    ("yolov8n", "/model.9/cv1/act/Mul_output_0", "article"),
]
MODELS = {"lite0": zoo.lite0.model, "ssdlite": zoo.ssdlite.model, "yolov8n": zoo.yolov8n_doclaynet}
TOLERANCE = 1e-4

CANCELLING = ("xgradcam", "gradcam++")
"""Methods that divide by a sum of activations: where these have both signs it may cancel, and float32 then holds fewer
digits, in NumPy as well. There the graph has to be about as near to double precision as NumPy is."""


@pytest.mark.parametrize(("network", "layer", "picture"), CASES)
def test_every_head_equals_its_namesake(tmp_path: Path, network: str, layer: str, picture: str) -> None:
    """All heads in one graph, behind the gradients as the exporter leaves them."""
    known = {"preprocess": zoo.lite0.PREPROCESS} if network == "lite0" else {}
    done = export_model(MODELS[network](), tmp_path / "exported.onnx", layers=layer, check=False, **known)
    written = ir.from_proto(onnx.load(done.path))
    tensors = {value.name: value for node in written.graph for value in node.outputs}
    (item,) = done.manifest.layers
    heads = [method for method in CAM_HEADS if method in CAM_METHODS and (method != "cam" or layer == "head/act")]
    op = Builder(written.graph, "heads")
    for method in heads:
        op.output(CAM_HEADS[method](op, tensors[item.activations], tensors[item.gradients]), f"map {method}")
    rule = done.manifest.preprocess
    assert rule is not None
    frame = zoo.page(picture) if network == "yolov8n" else zoo.photograph(picture)
    width = 2 if done.manifest.task == "detect" else 1
    feeds = {rule.input: Preprocessor(rule)(frame)[0], manifest.TARGET: np.full(width, -1, np.int32)}
    names = [item.activations, item.gradients, *(f"map {method}" for method in heads)]
    activations, gradients, *found = run_ort(ir.to_proto(written), feeds, names)
    assert np.abs(gradients).max() > 0
    off = {}
    for method, one in zip(heads, found, strict=True):
        expected = CAM_METHODS[method](activations, gradients)
        off[method] = relative(one, expected)
        if method in CANCELLING and off[method] > TOLERANCE:
            exact = in_float64(method, activations, gradients)
            assert relative(one, exact) < 5 * relative(expected, exact), method
            off[method] = 0.0
    assert {method: value for method, value in off.items() if not value <= TOLERANCE} == {}


@pytest.mark.parametrize("layer", ["head/act", "blocks.10/add"])
def test_a_fused_finercam_equals_the_runtime_s(tmp_path: Path, layer: str) -> None:
    """The head in one pass, the method in four."""
    known = {"layers": layer, "check": False, "preprocess": zoo.lite0.PREPROCESS}
    fused = export_model(zoo.lite0.model(), tmp_path / "fused.onnx", head="finercam", **known)
    plain = export_model(zoo.lite0.model(), tmp_path / "plain.onnx", **known)
    maps = []
    for path in (fused.path, plain.path):
        with Explainer(path, method="finercam") as explain:
            maps.append(explain(zoo.photograph("astronaut")).raw)
            assert explain.raw_maps.runs_again == (path == plain.path)
    assert relative(maps[0], maps[1]) < TOLERANCE


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest entry."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def in_float64(method: str, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The map of a method that weighs, in double precision."""
    a, g = activations.astype(np.float64), gradients.astype(np.float64)
    weights = CAM_METHODS[method].function(a, g)
    return np.asarray(weights[:, :, None, None] * a).sum(axis=1)
