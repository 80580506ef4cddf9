"""Relevance in exported graphs: LRP-epsilon by its definition, conservation, gates, seeds, packagings, refusals."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import checkout
import tiny_detectors as tiny
from aerocam import manifest
from aerocam.errors import CheckError, UnsupportedOperatorError, UsageError
from aerocam.export import check_export, export_model
from aerocam.export.checking.gradients import check_finite
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.relevance import EPSILON, RELEVANCE
from aerocam.export.nodes.builder import Builder
from aerocam.runtime import Explainer
from detector_cases import CASES as DETECTORS
from detector_cases import TOKENS
from onnx_graphs import f32, model, run_ort, saved
from relevance_networks import BODIES, CONV, NUMBERS, X, explained, network

node = helper.make_node
Array = NDArray[Any]
GOLDEN = checkout.GOLDEN / "relevance"
RULE = manifest.Preprocess("images", (24, 24), mean=(127.0,) * 3, std=(64.0,) * 3)


def share(z: Array, r: Array) -> Array:
    """R_j / (z_j + ε sign z_j)."""
    return r / (z + EPSILON * np.where(z < 0, -1, 1))


def test_a_network_of_layers_by_the_definition(tmp_path: Path) -> None:
    """Three 1x1 convolutions with biases, ReLU, tanh and ReLU6 between: R_i = Σ_j a_i w_ij / (z_j + ε sign z_j) R_j."""
    w = [f32(6, 3, seed=1), f32(5, 6, seed=2), 4 * f32(4, 5, seed=3), f32(3, 4, seed=4)]
    b = [f32(len(item), seed=i + 5) for i, item in enumerate(w)]
    nodes, acts = [], ["Relu", "Tanh", "Clip"]
    for i, act in enumerate(acts):
        nodes += [
            node("Conv", ["x" if i == 0 else f"a{i}", f"w{i}", f"b{i}"], [f"z{i}"]),
            node(act, [f"z{i}", *(["zero", "six"] if act == "Clip" else [])], [f"a{i + 1}"]),
        ]
    nodes += [
        node("Conv", ["a3", "w3", "b3"], ["z3"]),
        node("GlobalAveragePool", ["z3"], ["p"]),
        node("Flatten", ["p"], ["y"]),
    ]
    weights: dict[str, Array] = {f"w{i}": item[:, :, None, None] for i, item in enumerate(w)}
    weights |= {f"b{i}": item for i, item in enumerate(b)} | {"zero": np.float32(0), "six": np.float32(6)}
    x = 4 * f32(1, 3, 4, 4, seed=9)
    path = saved(tmp_path, model(nodes, {"x": x}, weights, ["y"]))
    done = export_model(path, layers=["x", "z0", "a1", "a2", "z2", "a3"], relevance=True)
    found, score = explained(done.path, x, 1)
    acts_, zs = [x[0].reshape(3, -1).astype(np.float64)], []
    for i in range(4):
        zs.append(w[i].astype(np.float64) @ acts_[-1] + b[i][:, None])
        acts_.append([np.maximum, lambda z, _: np.tanh(z), lambda z, _: np.clip(z, 0, 6)][i](zs[-1], 0) if i < 3 else 0)
    assert (zs[2] > 6).any()
    r = np.zeros_like(zs[3])
    r[1] = zs[3][1] / zs[3].shape[1]  # the mean of class 1 over the positions
    assert score == pytest.approx(r.sum(), rel=1e-5)
    for i in reversed(range(4)):
        if f"z{i}" in found:
            np.testing.assert_allclose(found[f"z{i}"][0].reshape(r.shape), r, atol=1e-5 * np.abs(r).max())
        r = acts_[i] * (w[i].T.astype(np.float64) @ share(zs[i], r))
        name = "x" if i == 0 else f"a{i}"
        np.testing.assert_allclose(found[name][0].reshape(r.shape), r, atol=1e-5 * np.abs(r).max())


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The golden network with its batch normalisation in the convolution before it."""
    arrays = {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer}
    gain = arrays["norm.weight"] / np.sqrt(arrays["norm.running_var"] + 1e-5)
    arrays["first.weight"] = arrays["first.weight"] * gain[:, None, None, None]
    arrays["first.bias"] = (arrays["first.bias"] - arrays["norm.running_mean"]) * gain + arrays["norm.bias"]
    for item in proto.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(arrays[item.name].astype(np.float32), item.name))
    (norm,) = [item for item in proto.graph.node if item.op_type == "BatchNormalization"]
    norm.CopyFrom(node("Identity", norm.input[:1], norm.output))
    return proto


@pytest.mark.parametrize("fold", [False, True])
def test_equals_captum(tmp_path: Path, fold: bool) -> None:
    """At the input and at a layer, for two classes, with a batch normalisation of its own or folded."""
    proto = onnx.load(GOLDEN / "network.onnx")
    path = saved(tmp_path, folded(proto) if fold else proto)
    done = export_model(path, layers=["images", "features"], relevance=True, preprocess=RULE)
    with np.load(GOLDEN / "captum.npz") as golden:
        x = ((golden["rgb"].astype(np.float32) - 127) / 64).transpose(2, 0, 1)[None]
        for name, target in (("target", 2), ("other", 4)):
            found, score = explained(done.path, x, target)
            assert score == pytest.approx(golden["logits"][0, target], rel=1e-5)
            for layer, r in found.items():
                expected = golden[f"{name}/{layer}"]
                assert np.abs(r - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("rectified", [False, True])
def test_sums_as_small_as_the_stabiliser_give_on_their_share(rectified: bool) -> None:
    """|z| near ε: z / (z + ε sign z) of the relevance passes, also where a ReLU reads z."""
    x, w, m = 2 * np.float32(EPSILON) * f32(1, 4, 2, 2, seed=1), f32(3, 4, 1, 1, seed=2), f32(1, 3, 2, 2, seed=3)
    nodes = [node("Conv", ["x", "w"], ["z"]), node("Relu" if rectified else "Identity", ["z"], ["y"])]
    graph = ir.from_proto(model(nodes, {"x": x}, {"w": w}, ["y"])).graph
    op = Builder(graph)
    score = op.sum(op.Mul(graph.outputs[0], m), [0, 1, 2, 3], keepdims=False)
    (found,) = differentiate(op, score, op.constant(np.float32(1)), list(graph.inputs), RELEVANCE)
    op.output(found, "m")
    _, multiplier = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": x})
    z = np.einsum("oi,ip->op", w[:, :, 0, 0].astype(np.float64), x[0].reshape(4, -1))
    r = (np.maximum(z, 0) if rectified else z) * m[0].reshape(3, -1)
    expected = x[0].reshape(4, -1) * (w[:, :, 0, 0].T @ share(z, r))
    absorbed = 1 - np.abs(share(z, r) * z).sum() / np.abs(r).sum()
    assert 0.1 < absorbed < 0.9
    np.testing.assert_allclose((x * multiplier)[0].reshape(4, -1), expected, rtol=1e-4)


@pytest.mark.parametrize("name", BODIES)
def test_relevance_adds_up_to_the_score_at_every_layer(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, network(*BODIES[name], **NUMBERS))
    found, score = explained(export_model(path, layers=["x", "z", "a", "b", "c"], relevance=True).path, X, 3)
    assert abs(score) > 0.01
    for layer, r in found.items():
        assert r.sum(dtype=np.float64) == pytest.approx(score, abs=1e-4 * float(np.abs(r).sum())), layer


@pytest.mark.parametrize("name", [name for name, case in DETECTORS.items() if case.layers != TOKENS])
def test_relevance_of_a_detector_starts_with_its_logit(tmp_path: Path, name: str) -> None:
    """Whether that is a tensor of the graph, or a probability's; biases set to 0."""
    proto = DETECTORS[name].file()
    biases = {item.input[2] for item in proto.graph.node if item.op_type == "Conv" and len(item.input) > 2}
    for item in proto.graph.initializer:
        if item.name in biases:
            item.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(item), item.name))
    done = export_model(saved(tmp_path, proto), layers="p0", task="detect", relevance=True, check=False)
    found, score = explained(done.path, f32(*tiny.IMAGE, seed=3), [1, 2])
    assert abs(score) > 0.1
    assert found["p0"].sum() == pytest.approx(score, rel=1e-4)


def test_relevance_of_an_embedding_adds_up_to_its_cosine(tmp_path: Path) -> None:
    """Its length counts as a constant, or all would cancel out."""
    path = saved(tmp_path, network(*BODIES["residual"]))
    done = export_model(path, layers=["x", "b"], relevance=True, task="embed")
    frame = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    with Explainer(done.path) as explainer:
        explainer.compare_with(f32(5, seed=1))
        found = explainer(frame)
    assert abs(found.target.logit) > 0.05
    for raw in found.raws:
        assert raw.sum() == pytest.approx(found.target.logit, rel=1e-3)


@pytest.mark.parametrize("packaging", ["fused", "split"])
@pytest.mark.parametrize("body", ["squeeze-and-excitation", "layer norm written out", "quantised"])
def test_several_targets_in_one_pass(tmp_path: Path, body: str, packaging: manifest.Packaging) -> None:
    """Each as if it were alone, in both packagings."""
    path = saved(tmp_path, network(*BODIES[body], **NUMBERS))
    export_model(path, tmp_path / "one.onnx", layers=["a", "c"], relevance=True)
    export_model(path, tmp_path / "three.onnx", layers=["a", "c"], relevance=True, targets=3, packaging=packaging)
    frame = np.random.default_rng(4).integers(0, 256, (12, 12, 3), np.uint8)
    with Explainer(tmp_path / "one.onnx") as explain:
        expected = [[raw[0] for raw in explain(frame, target).raws] for target in (3, 1, 0)]
    with Explainer(tmp_path / "three.onnx") as explain:
        found = explain(frame, [3, 1, 0])
    assert found.method == "relevance"
    for i, raw in enumerate(found.raws):
        for target in range(3):
            wanted = expected[target][i]
            np.testing.assert_allclose(raw[target], wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.corrcoef(found.raws[0][0].ravel(), found.raws[0][1].ravel())[0, 1] < 0.9


def test_a_head_asks_for_relevance_by_itself(tmp_path: Path) -> None:
    path = saved(tmp_path, network(*BODIES["silu"]))
    tensors = export_model(path, tmp_path / "tensors.onnx", layers="b", relevance=True)
    fused = export_model(path, tmp_path / "fused.onnx", layers="b", head="relevance")
    assert fused.manifest.layers == (manifest.Layer("b", "spatial", (1, 6, 12, 12), None, None, "relevance"),)
    assert (fused.report and fused.report.gradients, check_export(path, fused.path).gradients) == ({}, {})
    frame = np.random.default_rng(4).integers(0, 256, (12, 12, 3), np.uint8)
    with Explainer(tensors.path) as computed, Explainer(fused.path) as ready:
        expected, found = computed(frame, 2).raw, ready(frame, 2).raw
    assert (computed.method, ready.method) == ("relevance", "relevance")
    with Explainer(fused.path, counterfactual=True) as against:
        np.testing.assert_array_equal(against(frame, 2).raw, -found)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_check_says_what_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aerocam")
    path = saved(tmp_path, network(*BODIES["silu"]))
    done = export_model(path, layers=["a", "b"], relevance=True)
    assert [layer.rule for layer in done.manifest.layers] == ["relevance", "relevance"]
    assert (done.report and done.report.gradients, done.report and done.report.outputs) == ({}, 0)
    assert "aerocam_gradients_1: multipliers of relevance are no derivative; finite, and not compared" in caplog.text
    broken = ir.load(done.path)
    op = Builder(broken.graph)
    op.output(op.Div(next(v for v in broken.graph.outputs if v.name == "aerocam_gradients_0"), 0.0), "broken")
    with pytest.raises(CheckError, match="broken: the multipliers of relevance are not finite on CPUExecutionProv"):
        check_finite(broken, {"broken": "relevance"})


def test_a_float16_model_has_finite_relevance(tmp_path: Path) -> None:
    """Its ε of 1e-9 would be 0 there."""
    proto = network(*BODIES["relu6"], **NUMBERS)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    done = export_model(saved(tmp_path, proto), layers=["a", "b"], relevance=True)
    found, score = explained(done.path, X.astype(np.float16), 3)
    for r in found.values():
        true = r.astype(np.float32) / np.float32(done.manifest.seed_scale)
        assert true.sum() == pytest.approx(score, rel=2e-2, abs=2e-2)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    (
        {"relevance": True, "head": "gradcam"},
        "`relevance`: not with `head='gradcam'`, which takes gradients; try `head=",
    ),
    ({"relevance": True, "guided": True}, "`guided`: not with relevance, which has rules of its own; export two files"),
    ({"head": "relevance", "guided": True}, "`guided`: not with relevance, which has rules of its own"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS)
def test_what_takes_gradients_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, network(*BODIES["silu"]))
    with pytest.raises(UsageError, match=message):
        export_model(path, tmp_path / "out.onnx", layers="b", **options)
    assert not (tmp_path / "out.onnx").exists()


def test_a_softmax_that_weighs_constants_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, network(CONV, node("Softmax", ["s"], ["b"], name="share", axis=1)))
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"operator Softmax \(node 'share'\): relevance has no rule for it \(what it weighs takes the relevance,"
        r" .*\); export without `relevance`; choose a target layer behind it, the nearest is 'b'",
    ):
        export_model(path, layers="a", relevance=True)
    assert export_model(path, layers="b", relevance=True).manifest.layers[0].rule == "relevance"
