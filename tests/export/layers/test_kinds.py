"""Layers that are no (N, C, H, W): tokens, channels last, sequences, volumes, and the input itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export import check_export, export_model, list_layers
from aerocam.runtime import Explainer, open_session
from aerocam.runtime.methods import get
from onnx_graphs import f32, model, run_ort, saved
from small_networks import TOKEN_CHANNELS, TOKEN_SIDE, transformer

node = helper.make_node
C, SIDE = TOKEN_CHANNELS, TOKEN_SIDE
T = SIDE * SIDE


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def run(path: Path, x: np.ndarray) -> dict[str, Any]:
    proto = onnx.load(path)
    names = [item.name for item in proto.graph.output]
    return dict(zip(names, run_ort(proto, {"x": x, manifest.TARGET: np.int32([2])}, names), strict=True))


X = f32(1, 3, 2 * SIDE, 2 * SIDE, seed=8)


@pytest.mark.parametrize("class_token", [True, False])
def test_tokens_leave_as_the_grid_they_come_from(tmp_path: Path, class_token: bool) -> None:
    """The patches before they become tokens, and the tokens folded back, are the same numbers and gradients."""
    path = saved(tmp_path, transformer(class_token))
    grid = run(export_model(path, tmp_path / "grid.onnx", layers="patches").path, X)
    for layer in ("rows", "tokens", *(["all"] if class_token else [])):
        done = export_model(path, tmp_path / "tokens.onnx", layers=layer)
        assert done.manifest.layers[0] == manifest.Layer(
            layer, "tokens", (1, C, SIDE, SIDE), "aerocam_activations_0", "aerocam_gradients_0"
        )
        assert done.report is not None
        assert done.report.gradients[layer] < 0.1
        assert check_export(path, done.path).gradients[layer] == done.report.gradients[layer]
        found = run(done.path, X)
        assert list(found) == ["y", manifest.CHOSEN, manifest.SCORE, "aerocam_activations_0", "aerocam_gradients_0"]
        np.testing.assert_array_equal(found["aerocam_activations_0"], grid["patches"])
        np.testing.assert_allclose(found["aerocam_gradients_0"], grid["aerocam_gradients_0"], rtol=1e-5, atol=1e-7)


def test_auto_takes_what_the_last_attention_reads_where_a_class_token_is_explained(tmp_path: Path) -> None:
    """Behind it the score depends on the class token alone, and a map would be empty."""
    _, automatic = list_layers(saved(tmp_path, transformer(True)))
    assert [item.name for item in automatic] == ["normed"]
    _, automatic = list_layers(saved(tmp_path, transformer(False)))
    assert [item.name for item in automatic] == ["out"]


def test_a_fused_map_of_tokens(tmp_path: Path) -> None:
    path = saved(tmp_path, transformer(True))
    both = run(export_model(path, layers="normed", head="gradcam", tensors=True).path, X)
    expected = get("gradcam")(both["aerocam_activations_0"], both["aerocam_gradients_0"])
    assert expected.shape == (1, SIDE, SIDE)
    np.testing.assert_allclose(both[manifest.MAP], expected, rtol=1e-4, atol=1e-6)
    done = export_model(path, layers="normed", head="gradcam")
    assert [item.name for item in onnx.load(done.path).graph.output] == [
        "y", manifest.CHOSEN, manifest.SCORE, manifest.MAP,
    ]  # fmt: skip
    np.testing.assert_allclose(run(done.path, X)[manifest.MAP], expected, rtol=1e-4, atol=1e-6)


def test_channels_last(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Transpose", ["c"], ["last"], perm=[0, 2, 3, 1]),
        node("MatMul", ["last", "w"], ["wide"]),
        node("Relu", ["wide"], ["r"]),
        node("ReduceMean", ["r"], ["y"], axes=[1, 2], keepdims=0),
    ]
    path = saved(tmp_path, model(nodes, {"x": X}, {"k": f32(C, 3, 2, 1), "w": f32(C, 5, seed=2)}, ["y"]))
    first = run(export_model(path, tmp_path / "first.onnx", layers="c").path, X)
    done = export_model(path, tmp_path / "last.onnx", layers="last")
    assert done.manifest.layers[0].kind == "spatial"
    last = run(done.path, X)
    np.testing.assert_array_equal(last["aerocam_activations_0"], first["c"])
    np.testing.assert_allclose(last["aerocam_gradients_0"], first["aerocam_gradients_0"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("shape", "kernel", "kind", "folded"),
    [((1, 2, 12), (3,), "sequence", (1, C, 1, 10)), ((1, 2, 4, 5, 6), (2, 2, 2), "volume", (1, C, 12, 5))],
)
def test_sequences_and_volumes(
    tmp_path: Path, shape: tuple[int, ...], kernel: tuple[int, ...], kind: str, folded: tuple[int, ...]
) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("Sigmoid", ["c"], ["s"]),
        node("GlobalAveragePool", ["s"], ["p"]),
        node("Flatten", ["p"], ["y"]),
    ]
    x = f32(*shape)
    path = saved(tmp_path, model(nodes, {"x": x}, {"k": f32(C, 2, *kernel)}, ["y"]))
    done = export_model(path, layers="c", activation="none")
    assert (done.manifest.layers[0].kind, done.manifest.layers[0].shape) == (kind, folded)
    assert done.manifest.preprocess is None
    found = run(done.path, x)
    a = found["aerocam_activations_0"]
    s = 1 / (1 + np.exp(-a[:, 2]))
    expected = np.zeros_like(a)
    expected[:, 2] = s * (1 - s) / s.size
    np.testing.assert_allclose(found["aerocam_gradients_0"], expected, rtol=1e-4, atol=1e-8)
    with pytest.raises(UsageError, match=r"a sequence or a volume, frames are expected; run it with .*open_session"):
        Explainer(done.path)
    with open_session(done.path) as session:
        outputs = session.run({"x": x, manifest.TARGET: np.int32([2])})
        layer = session.manifest.layers[0]
        assert get("gradcam")(outputs[str(layer.activations)], outputs[str(layer.gradients)]).shape == (1, *folded[2:])


def test_the_input_is_a_layer(tmp_path: Path) -> None:
    path = saved(tmp_path, transformer(False))
    done = export_model(path, layers="x")
    assert done.manifest.layers[0].activations == "aerocam_activations_0"
    assert done.report is not None
    assert done.report.gradients["x"] < 0.1
    found = run(done.path, X)
    np.testing.assert_array_equal(found["aerocam_activations_0"], X)
    patches = run(export_model(path, tmp_path / "p.onnx", layers="patches").path, X)["aerocam_gradients_0"]
    kernel = f32(C, 3, 2, 2)
    expected = np.einsum("nchw,cdij->ndhiwj", patches, kernel).reshape(X.shape)
    np.testing.assert_allclose(found["aerocam_gradients_0"], expected, rtol=1e-4, atol=1e-7)
