"""Guided backpropagation in an exported graph: what its rules give, which layers they are for, and the self-check."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from aerocam import manifest
from aerocam.errors import CheckError, UsageError
from aerocam.export import check_export, export_model
from aerocam.export.checking.gradients import check_finite
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.rule_tables import GUIDED
from aerocam.export.nodes.builder import Builder
from aerocam.runtime.explainer import Explainer
from aerocam.runtime.sessions.opening import open_session
from checkout import GOLDEN
from onnx_graphs import node_model, run_ort, saved
from small_networks import cnn

NETWORK = GOLDEN / "input/network.onnx"
RULE = manifest.Preprocess("images", (24, 24), mean=(127.0,) * 3, std=(64.0,) * 3)
X = np.float32([[-2, -0.5, 0.5, 2, 7], [-2, -0.5, 0.5, 2, 7]])
DY = np.float32([[1, 2, 3, 4, 5], [-1, -2, -3, -4, -5]])

RULES: dict[str, tuple[str, list[Any], dict[str, Any], list[list[float]]]] = {
    "Relu": ("Relu", [], {}, [[0, 0, 3, 4, 5], [0, 0, 0, 0, 0]]),
    "ReLU6": ("Clip", [0.0, 6.0], {}, [[0, 0, 3, 4, 0], [0, 0, 0, 0, 0]]),
    "Clip from 0": ("Clip", [0.0], {}, [[0, 0, 3, 4, 5], [0, 0, 0, 0, 0]]),
    "Clip from -1": ("Clip", [-1.0, 6.0], {}, [[0, 2, 3, 4, 0], [0, -2, -3, -4, 0]]),
    "Clip from nothing": ("Clip", [], {}, [[1, 2, 3, 4, 5], [-1, -2, -3, -4, -5]]),
    "LeakyRelu": ("LeakyRelu", [], {"alpha": 0.5}, [[0.5, 1, 3, 4, 5], [-0.5, -1, -3, -4, -5]]),
}


@pytest.mark.parametrize("case", RULES)
def test_what_passes_a_rectifier(case: str) -> None:
    op_type, bounds, attributes, expected = RULES[case]
    constants = {f"c{i}": np.float32(bound) for i, bound in enumerate(bounds)}
    graph = ir.from_proto(node_model(op_type, {"x": X}, constants, ["x", *constants], attributes)).graph
    op = Builder(graph)
    score = op.sum(op.Mul(graph.outputs[0], DY), [0, 1], keepdims=False)
    found = differentiate(op, score, op.constant(np.float32(1)), [graph.inputs[0]], GUIDED)
    op.output(found[0], "dx")
    np.testing.assert_array_equal(run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": X}, ["dx"])[0], expected)


def test_the_table_is_the_adjoints_but_for_two() -> None:
    assert GUIDED.keys() == ADJOINTS.keys()
    assert {name for name in GUIDED if GUIDED[name] is not ADJOINTS[name]} == {"Relu", "Clip"}


def layers_of(tmp_path: Path, **options: Any) -> list[tuple[str, manifest.Rule]]:
    done = export_model(NETWORK, tmp_path / "out.onnx", preprocess=RULE, **options)
    return [(layer.name, layer.rule) for layer in done.manifest.layers]


def test_only_the_input_is_guided_and_it_is_added_where_it_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aerocam")
    assert layers_of(tmp_path, guided=True) == [("images", "guided"), ("i", "gradient")]
    assert "guided gradients at the input images, through 3 ReLUs" in caplog.text
    assert "aerocam_gradients_0: guided gradients are no derivative; finite" in caplog.text
    assert layers_of(tmp_path, guided=True, layers="images") == [("images", "guided")]
    assert layers_of(tmp_path, guided=True, layers=["features", "images"]) == [
        ("features", "gradient"),
        ("images", "guided"),
    ]
    assert layers_of(tmp_path, layers=["features", "images"]) == [("features", "gradient"), ("images", "gradient")]


def test_the_other_layers_keep_their_gradients(tmp_path: Path) -> None:
    feeds = {"images": np.random.default_rng(1).standard_normal((1, 3, 24, 24)).astype(np.float32)}
    found = []
    for guided in (True, False):
        export_model(NETWORK, tmp_path / "out.onnx", layers=["images", "features"], guided=guided, preprocess=RULE)
        with open_session(tmp_path / "out.onnx") as session:
            found.append(session.run({**feeds, manifest.TARGET: np.int32([-1])}))
    np.testing.assert_array_equal(found[0]["aerocam_gradients_1"], found[1]["aerocam_gradients_1"])
    np.testing.assert_array_equal(found[0]["logits"], found[1]["logits"])
    assert np.abs(found[0]["aerocam_gradients_0"] - found[1]["aerocam_gradients_0"]).max() > 0.01


def test_the_check_compares_what_is_a_derivative(tmp_path: Path) -> None:
    done = export_model(NETWORK, tmp_path / "out.onnx", layers="features", guided=True, preprocess=RULE)
    assert done.report is not None
    assert done.report.gradients.keys() == {"features"}
    assert done.report.gradients["features"] < 0.1
    assert check_export(NETWORK, done.path).gradients.keys() == {"features"}
    alone = export_model(NETWORK, tmp_path / "alone.onnx", layers="images", guided=True, preprocess=RULE)
    assert (alone.report and alone.report.gradients, alone.report and alone.report.outputs) == ({}, 0)


def test_guided_gradients_that_are_not_finite_are_found(tmp_path: Path) -> None:
    done = export_model(NETWORK, tmp_path / "out.onnx", layers="images", guided=True, preprocess=RULE)
    model = ir.load(done.path)
    check_finite(model, {"aerocam_gradients_0": "guided"})
    op = Builder(model.graph)
    gradients = next(value for value in model.graph.outputs if value.name == "aerocam_gradients_0")
    op.output(op.Div(gradients, 0.0), "broken")
    with pytest.raises(CheckError, match="broken: the guided gradients are not finite on CPUExecutionProvider"):
        check_finite(model, {"aerocam_gradients_0": "guided", "broken": "guided"})


def test_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`guided`: not with `head='gradcam'`"):
        export_model(NETWORK, tmp_path / "out.onnx", guided=True, head="gradcam", preprocess=RULE)
    assert not list(tmp_path.iterdir())


def test_a_network_without_relu_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    proto = cnn()
    for node in proto.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    export_model(saved(tmp_path, proto), guided=True)
    assert "no ReLU lies between input and score: the guided gradients are the gradients" in caplog.text


@pytest.mark.parametrize("packaging", ["fused", "split"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("guided_backprop", {}),
        ("guided_gradcam", {}),
        ("smoothgrad", {"samples": 3}),
        ("integrated_gradients", {"steps": 4}),
    ],
)
def test_several_targets_share_noise_and_way(
    tmp_path: Path, method: str, options: dict[str, Any], packaging: manifest.Packaging
) -> None:
    """Each as if it were alone."""
    guided = method.startswith("guided")
    layers = "features" if guided else "images"
    for name, targets in (("two", 2), ("one", 1)):
        export_model(
            NETWORK,
            tmp_path / f"{name}.onnx",
            layers=layers,
            guided=guided,
            targets=targets,
            packaging=packaging if targets == 2 else "fused",
            preprocess=RULE,
        )
    frame = np.random.default_rng(4).integers(0, 256, (24, 24, 3), np.uint8)
    with Explainer(tmp_path / "one.onnx", method=method, options=options) as explain:
        expected = [explain(frame, target).raw[0] for target in (3, 1, 0)]
    with Explainer(tmp_path / "two.onnx", method=method, options=options) as explain:
        found = explain(frame, [3, 1, 0])
    assert [target.index for target in found.targets] == [3, 1, 0]
    np.testing.assert_allclose(found.raw, expected, rtol=1e-4, atol=1e-6)


def test_guided_gradients_have_no_counterfactual(tmp_path: Path) -> None:
    path = export_model(NETWORK, tmp_path / "g.onnx", layers="images", guided=True, preprocess=RULE).path
    with pytest.raises(UsageError, match="guided gradients of the negative score are not the negative ones"):
        Explainer(path, method="guided_backprop", counterfactual=True)
