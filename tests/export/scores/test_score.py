"""The explained score: found before softmax and sigmoid, chosen at run time, and its gradient that of one logit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from aerocam import manifest
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.export.reading.graph import load_model
from aerocam.export.scores import find_score
from onnx_graphs import f32, in_float64, model, run_ort, run_reference, saved
from two_scale_detector import ANCHORS, IMAGE, LABELS, STEM, STEM_WEIGHTS, WIRINGS, detector, detector_head

node = helper.make_node
CLASSES = 5
TAIL = [node("Sigmoid", ["a"], ["s"]), node("GlobalAveragePool", ["s"], ["p"])]
DENSE = [*TAIL, node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "w", "b"], ["logits"], transB=1)]
POINT = [*TAIL, node("Conv", ["p", "k", "b"], ["logits"])]
WEIGHTS = {"w": 9 * f32(CLASSES, 4), "k": 9 * f32(CLASSES, 4, 1, 1), "b": f32(CLASSES)}
VIEW = {"view": np.array([1, CLASSES])}

CLASSIFIERS: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "plain": ([*DENSE, node("Identity", ["logits"], ["y"])], "none"),
    "softmax": ([*DENSE, node("Softmax", ["logits"], ["y"], axis=1)], "softmax"),
    "sigmoid": ([*DENSE, node("Sigmoid", ["logits"], ["y"])], "sigmoid"),
    "points": ([*POINT, node("Identity", ["logits"], ["y"])], "none"),
    "points-reshape": ([*POINT, node("Reshape", ["logits", "view"], ["y"])], "none"),
    "points-softmax": ([*POINT, node("Softmax", ["logits"], ["y"], axis=1)], "softmax"),
    "points-softmax-reshape": (
        [*POINT, node("Softmax", ["logits"], ["q"], axis=1), node("Reshape", ["q", "view"], ["y"])],
        "softmax",
    ),
    "points-reshape-softmax": (
        [*POINT, node("Reshape", ["logits", "view"], ["q"]), node("Softmax", ["q"], ["y"], axis=-1)],
        "softmax",
    ),
    "points-sigmoid-flatten": ([*POINT, node("Sigmoid", ["logits"], ["q"]), node("Flatten", ["q"], ["y"])], "sigmoid"),
}


def network(tail: Sequence[onnx.NodeProto], constants: dict[str, Any], outputs: Sequence[str]) -> onnx.ModelProto:
    """The stem, then a tail from its output `a`; constants that the tail does not read are left out."""
    nodes = [*STEM, *tail]
    read = {name for item in nodes for name in item.input}
    weights = {name: array for name, array in {**STEM_WEIGHTS, **constants}.items() if name in read}
    return model(nodes, {"x": IMAGE}, weights, outputs)


def jacobian(
    tail: Sequence[onnx.NodeProto], constants: dict[str, Any], layer: str, value: NDArray[Any], output: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`output` and d output / d layer by central differences in float64, in onnx's reference implementation.

    The derivative has the output's axes first, then the layer's. `tail` holds the nodes behind the layer only.
    """
    read = {name for item in tail for name in item.input}
    used = {name: array for name, array in constants.items() if name in read}
    double = in_float64(model(tail, {layer: value.astype(np.float32)}, used, [output]))
    (at,) = run_reference(double, {layer: value.astype(np.float64)})
    columns = []
    for place in np.ndindex(value.shape):
        step = np.zeros(value.shape)
        step[place] = 1e-4
        ahead, behind = (run_reference(double, {layer: value.astype(np.float64) + s * step})[0] for s in (1, -1))
        columns.append((ahead - behind) / 2e-4)
    return at, np.stack(columns, axis=-1).reshape(*at.shape, *value.shape)


def explain(path: Path, *target: int) -> dict[str, NDArray[Any]]:
    """All outputs of an exported file."""
    proto = onnx.load(path)
    names = [item.name for item in proto.graph.output]
    feeds = {"x": f32(*IMAGE.shape, seed=5), manifest.TARGET: np.array(target, np.int32)}
    return dict(zip(names, run_ort(proto, feeds, names), strict=True))


@pytest.mark.parametrize("form", CLASSIFIERS)
def test_a_class_is_chosen_and_differentiated_before_the_activation(tmp_path: Path, form: str) -> None:
    tail, activation = CLASSIFIERS[form]
    constants = {**WEIGHTS, **VIEW}
    proto = network(tail, constants, ["y"])
    done = export_model(saved(tmp_path, proto), layers="a", check=False)
    link = "softmax" if activation == "none" else "none"
    assert done.manifest.score == manifest.Score("y", activation, CLASSES, link=link)  # type: ignore[arg-type]
    own = explain(done.path, -1)
    logits, slopes = jacobian(tail, constants, "a", own["a"], "logits")
    best = int(logits.argmax())
    np.testing.assert_array_equal(own["y"], run_ort(proto, {"x": f32(*IMAGE.shape, seed=5)})[0])
    for target in (-1, *range(CLASSES)):
        found, label = explain(done.path, target), best if target < 0 else target
        assert found[manifest.CHOSEN].tolist() == [label]
        assert found[manifest.CHOSEN].dtype == np.int32
        assert found[manifest.SCORE].shape == (1,)
        np.testing.assert_allclose(found[manifest.SCORE], logits.ravel()[label], rtol=1e-5)
        expected = slopes.reshape(CLASSES, *slopes.shape[-4:])[label]
        np.testing.assert_allclose(found["aerocam_gradients_0"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bias", [-50.0, 50.0])
def test_one_logit_of_a_binary_network(tmp_path: Path, bias: float) -> None:
    """Class 1 has the logit, class 0 its negative; the model's own choice is the one above 0."""
    constants = {"w": WEIGHTS["w"][:1], "b": np.float32([bias])}
    tail = [*DENSE, node("Sigmoid", ["logits"], ["y"])]
    done = export_model(saved(tmp_path, network(tail, constants, ["y"])), layers="a", check=False)
    assert (done.manifest.score.classes, done.manifest.score.activation) == (2, "sigmoid")
    for target in (-1, 0, 1):
        found = explain(done.path, target)
        logits, slopes = jacobian(tail, constants, "a", found["a"], "logits")
        label = int(bias > 0) if target == -1 else target
        assert found[manifest.CHOSEN].tolist() == [label]
        np.testing.assert_allclose(found[manifest.SCORE], (2 * label - 1) * logits[0], rtol=1e-5)
        np.testing.assert_allclose(found["aerocam_gradients_0"], (2 * label - 1) * slopes[0, 0], rtol=1e-4, atol=1e-6)


def two_outputs() -> onnx.ModelProto:
    """A map (1, 4, 4, 4), class logits `first` (1, 5) and class probabilities `second` (1, 4)."""
    tail = [*DENSE, node("Identity", ["logits"], ["first"]), node("Softmax", ["f"], ["second"], axis=1)]
    return network(tail, WEIGHTS, ["s", "first", "second"])


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, manifest.Score("second", "softmax", 4)),
        ("first", manifest.Score("first", "none", CLASSES, link="softmax")),
        ("second", manifest.Score("second", "softmax", 4)),
    ],
)
def test_one_of_several_outputs(tmp_path: Path, output: str | None, expected: manifest.Score) -> None:
    """Without a name the one that says by a softmax that it has classes."""
    path = saved(tmp_path, two_outputs())
    done = export_model(path, layers="a", score_output=output)
    assert done.manifest.score == expected
    names = [item.name for item in onnx.load(done.path).graph.output]
    assert names[:3] == ["s", "first", "second"]


@pytest.mark.parametrize(
    ("task", "output", "error", "message"),
    [
        ("classify", "s", ModelError, r"outputs 's' \['1', '4', '4', '4'\]; one of shape \(1, classes\) was expected"),
        (
            "classify",
            "frist",
            UsageError,
            r"`score_output='frist'`: the model has no such output\. Did you mean 'first'",
        ),
        (
            "detect",
            None,
            ModelError,
            r"'s' .*'first' \['1', '5'\], 'second' \['1', '4'\]; one of shape \(1, 4 \+ class",
        ),
    ],
)
def test_outputs_that_do_not_fit_are_refused(
    tmp_path: Path, task: manifest.Task, output: str | None, error: type[Exception], message: str
) -> None:
    loaded = load_model(saved(tmp_path, two_outputs()))
    with pytest.raises(error, match=message):
        find_score(loaded, task, output)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_class_at_an_anchor_is_chosen_and_differentiated(tmp_path: Path, wiring: str) -> None:
    proto = detector(wiring)
    done = export_model(saved(tmp_path, proto), layers=["p0", "p1"], task="detect", check=False)
    assert done.manifest.score == manifest.Score("output0", "sigmoid", LABELS, class_offset=4, anchors=ANCHORS)
    own = explain(done.path, -1, -1)
    np.testing.assert_array_equal(own["output0"], run_ort(proto, {"x": f32(*IMAGE.shape, seed=5)})[0])
    head, constants = detector_head(wiring)
    constants["k1"] = f32(4, 4, 2, 2) / 2
    behind = [node("Conv", ["p0", "k1"], ["p1"], strides=[2, 2]), *head]
    logits, first = jacobian(behind, constants, "p0", own["p0"], "logits")
    second = slopes_of_the_second_scale(wiring, own)
    for label, anchor in [
        (-1, -1),
        *((c, -1) for c in range(LABELS)),
        (-1, 3),
        (-1, 18),
        (0, 0),
        (2, 15),
        (1, 16),
        (2, 19),
    ]:
        found = explain(done.path, label, anchor)
        mask = np.full(logits.shape, -np.inf)
        mask[:, slice(None) if label < 0 else label, slice(None) if anchor < 0 else anchor] = 0
        _, c, a = np.unravel_index((logits + mask).argmax(), logits.shape)
        assert found[manifest.CHOSEN].tolist() == [c, a]
        np.testing.assert_allclose(found[manifest.SCORE], logits[0, c, a], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["aerocam_gradients_0"], first[0, c, a], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["aerocam_gradients_1"], second[0, c, a], rtol=1e-4, atol=1e-6)


def slopes_of_the_second_scale(wiring: str, own: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """D logits / d p1, with the first scale held where it is."""
    head, constants = detector_head(wiring)
    constants["p0"] = own["p0"]
    return jacobian(head, constants, "p1", own["p1"], "logits")[1]


def test_boxes_joined_along_another_axis_are_no_detection(tmp_path: Path) -> None:
    """Two tables of four rows, joined along the anchors."""
    nodes = [
        *STEM,
        node("Reshape", ["a", "view"], ["boxes"]),
        node("Sigmoid", ["boxes"], ["shares"]),
        node("Concat", ["boxes", "shares"], ["y"], axis=2),
    ]
    proto = model(nodes, {"x": IMAGE}, {**STEM_WEIGHTS, "view": np.array([1, 4, -1])}, ["y"])
    with pytest.raises(ModelError, match=r"task detect: outputs 'y' \['1', '4', '32'\]"):
        find_score(load_model(saved(tmp_path, proto)), "detect")
