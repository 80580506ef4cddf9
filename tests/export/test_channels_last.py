"""Models whose picture is (1, H, W, C), as tf2onnx writes what TensorFlow and Keras have: explained as their twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import checkout
from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.preprocessing import default_preprocess
from aerocam.runtime import Explainer
from onnx_graphs import f32, model, run_ort, saved

node = helper.make_node
GOLDEN = checkout.GOLDEN / "tensorflow"
HEIGHT, WIDTH, CLASSES = 15, 20, 5
LAYERS = [f"cnn/{name}" for name in ("stem/Relu:0", "norm/add_1:0", "dw/depthwise:0", "pool/MaxPool2d__18:0")]


def keras_cnn(last: bool = True, channels: int = 3, opset: int = 15) -> onnx.ModelProto:
    """What tf2onnx makes of a small Keras network; with `last` False its twin that takes (1, C, H, W).

    A Transpose in front, SAME as explicit pads, BatchNormalization as Mul and Add, and in front of the Dense head a
    Transpose back, since Flatten counts channels last.
    """
    nodes = [
        node("Conv", ["nchw:0" if last else "input", "k0"], ["cnn/stem/conv:0"], pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Relu", ["cnn/stem/conv:0"], ["cnn/stem/Relu:0"]),
        node("Mul", ["cnn/stem/Relu:0", "gain"], ["cnn/norm/mul_1:0"]),
        node("Add", ["cnn/norm/mul_1:0", "shift"], ["cnn/norm/add_1:0"]),
        node("Conv", ["cnn/norm/add_1:0", "k1"], ["cnn/dw/depthwise:0"], pads=[1, 1, 1, 1], group=4),
        node("Clip", ["cnn/dw/depthwise:0", "zero", "six"], ["cnn/relu6/Relu6:0"]),
        node("MaxPool", ["cnn/relu6/Relu6:0"], ["cnn/pool/MaxPool2d:0"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", ["cnn/pool/MaxPool2d:0"], ["cnn/pool/MaxPool2d__18:0"], perm=[0, 2, 3, 1]),
        node("Reshape", ["cnn/pool/MaxPool2d__18:0", "rows"], ["cnn/flatten/Reshape:0"]),
        node("MatMul", ["cnn/flatten/Reshape:0", "w"], ["cnn/head/MatMul:0"]),
        node("Add", ["cnn/head/MatMul:0", "b"], ["cnn/head/BiasAdd:0"]),
        node("Softmax", ["cnn/head/BiasAdd:0"], ["Identity:0"], axis=-1),
    ]
    if last:
        nodes.insert(0, node("Transpose", ["input"], ["nchw:0"], perm=[0, 3, 1, 2]))
    weights = {
        "k0": f32(4, channels, 2, 2), "gain": f32(1, 4, 1, 1, seed=2) + 1, "shift": f32(1, 4, 1, 1, seed=3),
        "k1": f32(4, 1, 3, 3, seed=4), "zero": np.float32(0), "six": np.float32(6),
        "rows": np.array([-1, 4 * 5 * 4], np.int64), "w": f32(80, CLASSES, seed=5), "b": f32(CLASSES, seed=6),
    }  # fmt: skip
    shape = (1, HEIGHT, WIDTH, channels) if last else (1, channels, HEIGHT, WIDTH)
    return model(nodes, {"input": f32(*shape)}, weights, ["Identity:0"], opset)


def run(path: Path, x: np.ndarray, target: int = 2) -> dict[str, Any]:
    proto = onnx.load(path)
    names = [item.name for item in proto.graph.output]
    return dict(zip(names, run_ort(proto, {"input": x, manifest.TARGET: np.int32([target])}, names), strict=True))


def test_every_layer_is_that_of_the_twin(tmp_path: Path) -> None:
    layers = ["input", *LAYERS]
    last = export_model(saved(tmp_path, keras_cnn()), tmp_path / "last.onnx", layers=layers)
    (tmp_path / "twin").mkdir()
    twin = export_model(saved(tmp_path / "twin", keras_cnn(last=False)), tmp_path / "twin.onnx", layers=layers)
    assert last.report is not None
    assert max(last.report.gradients.values()) < 0.1
    x = f32(1, 3, HEIGHT, WIDTH, seed=8)
    found, expected = run(last.path, x.transpose(0, 2, 3, 1)), run(twin.path, x)
    np.testing.assert_array_equal(found[manifest.SCORE], expected[manifest.SCORE])
    for ours, theirs in zip(last.manifest.layers, twin.manifest.layers, strict=True):
        assert (ours.name, ours.kind, ours.shape) == (theirs.name, "spatial", theirs.shape)
        np.testing.assert_array_equal(found[ours.activations], expected[theirs.activations])
        np.testing.assert_array_equal(found[ours.gradients], expected[theirs.gradients])
        assert np.abs(found[ours.gradients]).max() > 0


def test_layers_are_listed_as_spatial(tmp_path: Path) -> None:
    known, automatic = list_layers(saved(tmp_path, keras_cnn()))
    assert [(item.name, item.fold.kind, item.shape) for item in known][:2] == [
        ("input", "spatial", (1, 3, HEIGHT, WIDTH)),
        ("nchw:0", "spatial", (1, 3, HEIGHT, WIDTH)),
    ]
    assert set(LAYERS) <= {item.name for item in known}
    assert [item.name for item in automatic] == ["cnn/pool/MaxPool2d__18:0"]


def test_a_dynamic_batch_is_frozen(tmp_path: Path) -> None:
    proto = keras_cnn(opset=13)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "unk__108"
    assert export_model(saved(tmp_path, proto)).manifest.layers[0].shape == (1, 4, 4, 5)


@pytest.mark.parametrize(("channels", "color"), [(3, "RGB"), (1, "GRAY")])
def test_the_manifest_says_how_the_axes_lie(tmp_path: Path, channels: int, color: str) -> None:
    """And -1 to 1 is assumed, as for most of TensorFlow's networks."""
    found = export_model(saved(tmp_path, keras_cnn(channels=channels))).manifest.preprocess
    assert found is not None
    assert (found.layout, found.size, found.color) == ("NHWC", (HEIGHT, WIDTH), color)
    assert found.mean == found.std == (127.5,) * channels
    twin = export_model(saved(tmp_path, keras_cnn(last=False, channels=channels))).manifest.preprocess
    assert twin is not None
    assert (twin.layout, twin.size) == ("NCHW", (HEIGHT, WIDTH))


def test_a_frame_is_explained_as_by_the_twin(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (31, 40, 3), np.uint8)
    found = []
    for last in (True, False):
        path = saved(tmp_path, keras_cnn(last))
        done = export_model(path, layers=LAYERS[1], preprocess=lambda ready: default_preprocess(ready, "tf"))
        with Explainer(done.path) as explainer:
            found.append(explainer(frame))
    assert found[0].target.score == found[1].target.score
    np.testing.assert_array_equal(found[0].map, found[1].map)
    assert found[0].map.std() > 0


@pytest.mark.parametrize(("method", "guided"), [("smoothgrad", False), ("ig", False), ("guided_gradcam", True)])
def test_methods_on_the_picture_explain_as_for_the_twin(tmp_path: Path, method: str, guided: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (31, 40, 3), np.uint8)
    found = []
    options = {"ig": {"steps": 3, "baseline": "blur"}, "smoothgrad": {"samples": 2}}.get(method)
    for last in (True, False):
        layers = ["input", LAYERS[1]] if guided else "input"
        path = saved(tmp_path, keras_cnn(last))
        tf = {"preprocess": lambda ready: default_preprocess(ready, "tf")}
        done = export_model(path, layers=layers, guided=guided, **tf)
        with Explainer(done.path, method=method, options=options) as explainer:
            found.append(explainer(frame, 2).raw)
        assert found[-1].shape == (1, HEIGHT, WIDTH)
    assert np.abs(found[1]).max() > 0
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6 * np.abs(found[1]).max())


def test_channels_first_is_taken_where_both_could_be(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "k"], ["c"]), node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["y"])]
    path = saved(tmp_path, model(nodes, {"x": f32(1, 3, 8, 3)}, {"k": f32(4, 3, 2, 2)}, ["y"]))
    done = export_model(path)
    assert done.manifest.preprocess is not None
    assert (done.manifest.preprocess.layout, done.manifest.preprocess.size) == ("NCHW", (8, 3))


def test_a_preset_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such preset"):
        export_model(saved(tmp_path, keras_cnn()), preprocess=lambda ready: default_preprocess(ready, "keras"))


TENSORS = {
    "classifier": {
        "stem": "stem_1/Relu:0",
        "norm": "norm_1/batchnorm/add_1:0",
        "depthwise": "depthwise_1/depthwise:0",
        "relu6": "relu6_1/Relu6:0",
        "last": "last_1/mul_1:0",
        "pool": "pool_1/MaxPool2d:0",
    },
    "segmenter": {"features": "features_1/Relu:0", "inner": "inner_1/Relu:0", "sum": "sum_1/Add:0"},
}
"""What tf2onnx calls the outputs of Keras' layers, behind the network's own name."""


@pytest.mark.parametrize(("name", "task", "target"), [("classifier", None, 1), ("segmenter", "segment", 2)])
def test_gradients_of_a_keras_network_are_tensorflows(
    tmp_path: Path, name: str, task: manifest.Task | None, target: int
) -> None:
    """File and gradients by golden/tensorflow/make_keras.py; layers named as a user would, by a pattern."""
    golden = np.load(GOLDEN / f"{name}.npz")
    layers = ["input", *(f"functional*/{tensor}" for tensor in TENSORS[name].values())]
    done = export_model(GOLDEN / f"{name}.onnx", tmp_path / "cam.onnx", layers=layers, task=task)
    assert done.manifest.source.producer.startswith("tf2onnx")
    assert done.manifest.score.activation == "softmax"
    found = run(done.path, golden["x"], target)
    np.testing.assert_allclose(found[manifest.SCORE][0], golden["score"], rtol=1e-5)
    for layer, key in zip(done.manifest.layers, ["input", *TENSORS[name]], strict=True):
        expected = golden[key].transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found[layer.gradients], expected, atol=1e-5 * np.abs(expected).max())
