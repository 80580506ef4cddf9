"""What becomes a probability, and how: always what the model itself gives out, or what was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.export import Export, export_model
from aerocam.runtime import Explainer
from coloured import disc, written
from onnx_graphs import f32, parsed, saved

SOFTMAX = "l = MatMul(f, w) s = Softmax<axis=1>(l) "
SECOND = "l2 = MatMul(f, v) s2 = Softmax<axis=1>(l2) "
TOP = "int64[1,2] labels, float[1,2] y"

FORMS = {
    "softmax": SOFTMAX + "y = Identity(s)",
    "limits": SOFTMAX + "y = Clip(s, zero, one)",
    "the same classes chosen": SOFTMAX + "y = Gather<axis=1>(s, same)",
    "mean of it and itself": SOFTMAX + "s2 = Softmax<axis=1>(l) y = Mean(s, s2)",
    "written out": "l = MatMul(f, w) e = Exp(l) t = ReduceSum<keepdims=1>(e, axis) y = Div(e, t)",
}
"""One network in five forms."""


def own(path: Path, frame: NDArray[np.uint8], *names: str) -> list[NDArray[np.float32]]:
    """The plain model's own outputs for a frame, preprocessed as `unit` does."""
    tensor = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / 255
    return onnxruntime.InferenceSession(str(path)).run(list(names), {"x": tensor})


def decision(done: Export) -> tuple[str, str, bool]:
    (item,) = (item for item in done.manifest.decisions if item.subject == "activation")
    return item.decided, item.source, item.is_guess


@pytest.mark.parametrize("form", FORMS)
def test_one_network_in_five_forms_is_explained_alike(tmp_path: Path, form: str) -> None:
    """Class, probability and raw map are those of the form that ends in the softmax."""
    paths = [written(tmp_path / f"{name}.onnx", FORMS[name]) for name in ("softmax", form)]
    frame = disc(1)
    plain, other = (Explainer(export_model(path, preprocess="unit").path)(frame, [None, 0, 2]) for path in paths)
    assert [target.index for target in plain.targets] == [1, 0, 2]
    for ours, theirs in zip(other.targets, plain.targets, strict=True):
        assert ours.index == theirs.index
        assert (ours.score, ours.logit) == pytest.approx((theirs.score, theirs.logit), rel=1e-6)
    np.testing.assert_allclose(other.raw, plain.raw, rtol=1e-6)


OTHERS = {
    "mean of two": (SOFTMAX + SECOND + "y = Mean(s, s2)", "the model's own softmax"),
    "another order": (SOFTMAX + "y = Gather<axis=1>(s, order)", "the model's own softmax"),
    "per cent": (SOFTMAX + "y = Mul(s, hundred)", "the model's own softmax"),
    "logarithms": ("l = MatMul(f, w) y = LogSoftmax<axis=1>(l)", "softmax of logits"),
    "made of two": (
        SOFTMAX + SECOND + "m = Mul(s, s2) t = ReduceSum(m, axis) y = Div(m, t)",
        "probabilities as they are",
    ),
    "sigmoids": ("l = MatMul(f, w) y = Sigmoid(l)", "the model's own sigmoid"),
    "sigmoids of hyperbolic tangents": (
        "l = MatMul(f, w) h = Tanh(l) d = Add(h, one) y = Div(d, twice)",
        "probabilities as they are",
    ),
}


@pytest.mark.parametrize("form", OTHERS)
def test_the_probability_is_the_one_that_the_model_gives_out(tmp_path: Path, form: str) -> None:
    tail, decided = OTHERS[form]
    path = written(tmp_path / "m.onnx", tail)
    done = export_model(path, preprocess="unit")
    assert decision(done)[0::2] == (decided, False)
    for colour in range(3):
        frame = disc(colour)
        (y,) = own(path, frame, "y")
        p = (y / 100 if form == "per cent" else np.exp(y) if form == "logarithms" else y)[0]
        explanation = Explainer(done.path)(frame, [None, 0, 1, 2])
        assert explanation.targets[0].index == p.argmax()
        assert [target.score for target in explanation.targets[1:]] == pytest.approx(p, abs=1e-6)


def test_the_best_classes_alone(tmp_path: Path) -> None:
    """TopK and ArgMax: the class is what they say, the probability what they choose from."""
    top = written(tmp_path / "top.onnx", SOFTMAX + "y, labels = TopK<axis=1>(s, k)", TOP)
    best = written(tmp_path / "best.onnx", SOFTMAX + "y = ArgMax<axis=1, keepdims=0>(s)", "int64[1] y")
    for path in (top, best):
        done = export_model(path, preprocess="unit")
        assert (done.manifest.score.output, done.manifest.score.classes) == ("s", 3)
        for packaging in ("fused", "split"):
            split = export_model(path, tmp_path / f"{packaging}.onnx", preprocess="unit", packaging=packaging)  # type: ignore[arg-type]
            for colour in range(3):
                target = Explainer(split.path)(disc(colour)).target
                y, labels = own(top, disc(colour), "y", "labels")
                assert (target.index, target.score) == (labels[0, 0], pytest.approx(y[0, 0], abs=1e-6))


def test_logits_are_those_of_what_is_asked_for(tmp_path: Path) -> None:
    path, frame = written(tmp_path / "m.onnx", "y = MatMul(f, w)"), disc(0, 6)
    (y,) = own(path, frame, "y")
    with pytest.raises(UsageError, match=r"`activation='probabilities'`: numbers from 0 to .* are no probabilities"):
        export_model(path, activation="probabilities")
    expected = {
        None: np.exp(y[0]) / np.exp(y[0]).sum(),
        "softmax": np.exp(y[0]) / np.exp(y[0]).sum(),
        "sigmoid": 1 / (1 + np.exp(-y[0])),
        "none": y[0],
    }
    for activation, p in expected.items():
        done = export_model(path, preprocess="unit", activation=activation)  # type: ignore[arg-type]
        assert [target.score for target in Explainer(done.path)(frame, [0, 1, 2]).targets] == pytest.approx(p, abs=1e-6)
    assert decision(done) == ("numbers as they are, no probabilities", "asked", False)


def test_an_activation_that_contradicts_the_graph_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", FORMS["softmax"])
    with pytest.raises(UsageError, match="`activation='sigmoid'`: the graph applies a softmax itself; leave it out"):
        export_model(path, activation="sigmoid")
    with pytest.raises(UsageError, match=r"`activation='softmaxx'`: no such activation\. Did you mean 'softmax'"):
        export_model(path, activation="softmaxx")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`activation='softmax'`: task regress has no classes; leave it out"):
        export_model(path, task="regress", activation="softmax")
    assert decision(export_model(path, activation="softmax"))[:2] == ("probabilities as they are", "asked")


@pytest.mark.parametrize(
    ("classes", "below", "decided"),
    [(6, 1e4, "sigmoid of logits"), (6, 0, "softmax of logits"), (1000, 1e4, "softmax of logits")],
)
def test_logits_far_below_0_are_those_of_sigmoids(tmp_path: Path, classes: int, below: float, decided: str) -> None:
    """As a guess; ImageNet's classes exclude each other, however a network was trained on them."""
    body = "c = Conv(x, w) a = Relu(c) g = GlobalAveragePool(a) f = Flatten(g) y = Sub(f, below)"
    weights = {"w": f32(classes, 3, 3, 3), "below": np.float32(below)}
    proto = parsed(f"(float[1,3,16,16] x) => (float[1,{classes}] y)", body, **weights)
    done = export_model(saved(tmp_path, proto), preprocess="unit", task="classify", check=False)
    assert decision(done) == (decided, "measured", below > 0)


def test_the_score_of_a_segmenter_is_the_probability_at_its_best_position(tmp_path: Path) -> None:
    outputs, frame = "float[1,3,32,32] y", disc(1)
    for tail in ('y = Resize<mode="linear">(a, , four)', 's = Softmax<axis=1>(a) y = Resize<mode="linear">(s, , four)'):
        path = written(tmp_path / "m.onnx", tail, outputs)
        y = own(path, frame, "y")[0][0].reshape(3, -1).astype(np.float64)
        p = y if "Softmax" in tail else np.exp(y) / np.exp(y).sum(axis=0)
        target = Explainer(export_model(path, preprocess="unit").path)(frame).target
        assert (target.index, target.score) == (1, pytest.approx(p[1, y[1].argmax()], abs=1e-6))
