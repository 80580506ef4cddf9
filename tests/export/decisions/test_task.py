"""What a network does: what speaks for it is found, and what nothing speaks for is a guess or asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from aerocam.decisions import Decision
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.export.decisions.probing import Probe
from aerocam.export.reading.graph import load_model
from aerocam.runtime import Explainer
from coloured import disc, written
from detector_cases import CASES
from onnx_graphs import saved

HEAT = "h = Sigmoid(a) "
LINE = "m = ReduceMean<axes=[2], keepdims=0>(a) t = Transpose<perm=[0,2,1]>(m) l = MatMul(t, w) "


def decisions(path: Path, **options: object) -> dict[str, Decision]:
    done = export_model(path, check=False, **options)  # type: ignore[arg-type]
    return {item.subject: item for item in done.manifest.decisions}


NETWORKS = {
    "probabilities": ("y = Softmax(f)", "float[1,3] y", "classify", "graph"),
    "the best class": ("y = ArgMax<axis=1>(f)", "int64[1,1] y", "classify", "graph"),
    "numbers of any kind": ("y = MatMul(f, w)", "float[1,3] y", "classify", "assumed"),
    "length 1": ("n = ReduceL2<axes=[1]>(d) y = Div(d, n)", "float[1,3] y", "embed", "measured"),
    "a heat map of classes": (HEAT + "y = Identity(h)", "float[1,3,8,8] y", "segment", "graph"),
    "the best class at each place": ("y = ArgMax<axis=1>(a)", "int64[1,1,8,8] y", "segment", "graph"),
    "a displacement": ("y = Identity(a)", "float[1,3,8,8] y", "segment", "assumed"),
    "a depth map": ("y = ReduceMean<axes=[1], keepdims=0>(a)", "float[1,8,8] y", "regress", "assumed"),
    "one channel": ("y = ReduceMean<axes=[1]>(a)", "float[1,1,8,8] y", "regress", "assumed"),
    "a mask": ("m = ReduceMean<axes=[1]>(a) y = Sigmoid(m)", "float[1,1,8,8] y", "segment", "graph"),
    "a line of text": (LINE + "y = Softmax<axis=2>(l)", "float[1,8,3] y", "sequence", "measured"),
    "a heat map beside offsets": (HEAT + "y = Identity(a)", "float[1,3,8,8] y, float[1,3,8,8] h", "segment", "graph"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_task_and_what_speaks_for_it(tmp_path: Path, name: str) -> None:
    tail, outputs, task, source = NETWORKS[name]
    head = "d0 = MatMul(f, w) d = Sub(d0, hundred) " if name == "length 1" else ""
    made = decisions(written(tmp_path / "m.onnx", head + tail, outputs))
    assert (made["task"].decided, made["task"].source) == (task, source)
    assert made["output"].decided == {"the best class": "f", "the best class at each place": "a"}.get(
        name, "h" if "offsets" in name else "y"
    )


def test_labels_speak_for_classes(tmp_path: Path) -> None:
    tail = "y = MatMul(f, w)"
    assert decisions(written(tmp_path / "m.onnx", tail, names="['a', 'b', 'c']"))["task"].source == "graph"
    assert decisions(written(tmp_path / "m.onnx", tail), labels=["a", "b", "c"])["task"].source == "graph"


def test_every_output_is_named(tmp_path: Path) -> None:
    """One that fits as well makes it a guess, another one does not; each can be asked for."""
    tail = "y = MatMul(f, w) z = MatMul(f, v) q = Identity(a)"
    path = written(tmp_path / "m.onnx", tail, "float[1,3] y, float[1,3] z, float[1,3,8,8] q")
    output = decisions(path)["output"]
    assert (output.decided, output.conflict) == ("y", "'z' (1, 3) would fit as well")
    path = written(tmp_path / "one.onnx", tail, "float[1,3] y, float[1,3,8,8] q")
    output = decisions(path)["output"]
    assert (output.evidence, output.is_guess) == ("the only one that fits; not taken: 'q' (1, 3, 8, 8)", False)
    for name, task in (("y", "classify"), ("q", "segment")):
        made = decisions(path, score_output=name)
        assert (made["output"].decided, made["task"].decided) == (name, task)


def test_a_detector_on_two_scales_is_no_classifier(tmp_path: Path) -> None:
    """BlazeFace: scores (1, n, 1) and boxes (1, n, 16) per scale, which no layout has."""
    tail = "s = Unsqueeze(f, double) y = Sigmoid(s) b = Reshape(a, rows)"
    assert decisions(written(tmp_path / "m.onnx", tail, "float[1,3,1] y"))["task"].decided == "classify"
    path = written(tmp_path / "m.onnx", tail, "float[1,3,1] y, float[1,3,64] b")
    with pytest.raises(
        ModelError, match=r"outputs 'y' \(1, 3, 1\), 'b' \(1, 3, 64\): nothing says what .*`task` names"
    ):
        export_model(path)


def test_a_symbol_at_a_place_of_a_line_is_explained(tmp_path: Path) -> None:
    """The gradient is that of the symbol's logit there; probabilities are the model's own."""
    path = written(tmp_path / "m.onnx", LINE + "y = Softmax<axis=2>(l)", "float[1,8,3] y")
    frame, tensor = disc(2), np.zeros((1, 3, 32, 32), np.float32)
    tensor[0] = frame[..., ::-1].transpose(2, 0, 1) / np.float32(255)
    (y,) = onnxruntime.InferenceSession(str(path)).run(["y"], {"x": tensor})
    explainer = Explainer(export_model(path, preprocess="unit").path, method="hirescam")
    explanation = explainer(frame, [None, (2, 3), (1, 5)])
    best, third, other = explanation.targets
    assert (best.anchor, best.index) == np.unravel_index(np.log(y[0]).argmax(), (8, 3))
    assert (best.score, third.score, other.score) == pytest.approx((y[0].max(), y[0, 3, 2], y[0, 5, 1]), abs=1e-6)
    assert best.box is None
    assert np.flatnonzero(np.abs(explanation.raws[0][1]).sum(axis=0)).tolist() == [3]
    with pytest.raises(UsageError, match="target anchor 8: expected 0 to 7"):
        explainer(frame, (0, 8))


def test_the_blank_of_a_line_is_never_chosen_by_itself(tmp_path: Path) -> None:
    """Symbol 0 is the likeliest everywhere, as CTC's blank is; it can be asked for."""
    tail = LINE + "n = Tanh(l) b = Pad(n, front, twice) y = Softmax<axis=2>(b)"
    path = written(tmp_path / "m.onnx", tail, "float[1,8,4] y")
    made = decisions(path)["blank"]
    assert (made.decided, made.source) == ("symbol 0, never chosen", "measured")
    found, blank = Explainer(export_model(path, preprocess="unit").path)(disc(2), [None, (0, 3)]).targets
    assert (found.index, blank.index) == (3, 0)
    assert blank.score > found.score > 0


def test_what_cannot_be_run_is_decided_by_the_graph(tmp_path: Path) -> None:
    """Where an output cannot be computed, the others are measured all the same."""
    path = written(
        tmp_path / "m.onnx", "s = Softmax(f) y = Clip(s, zero, one) z = MatMul(f, v)", "float[1,3] y, float[1,3] z"
    )
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid("other", 1))
    next(node for node in proto.graph.node if "z" in node.output).domain = "other"
    onnx.save(proto, path)
    made = decisions(path, score_output="y")
    assert made["activation"].evidence.startswith("the graph; numbers from 0")
    loaded = load_model(path, None)
    probe = Probe(loaded)
    y, z = loaded.graph.outputs
    assert (probe.values(z), probe.fault[:35]) == (None, "ONNX Runtime cannot run the model (")
    arrays = probe.values(y)
    assert arrays is not None
    np.testing.assert_allclose([array.sum() for array in arrays], 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["retinanet", "retinanet-first", "retinanet-apart"])
@pytest.mark.parametrize(("bias", "background"), [(1e4, 0), (0.0, None)])
def test_a_class_that_is_sure_nearly_everywhere_is_the_background(
    tmp_path: Path, name: str, bias: float, background: int | None
) -> None:
    """As in TensorFlow's detectors, whose classes and background have a sigmoid each."""
    proto = CASES[name].file()
    for item in proto.graph.initializer:
        if item.name.startswith(("logits", "cls")) and item.dims == [3] and item.data_type == onnx.TensorProto.FLOAT:
            shifted = numpy_helper.to_array(item) + np.array([bias, 0, 0], np.float32)
            item.CopyFrom(numpy_helper.from_array(shifted, item.name))
    done = export_model(saved(tmp_path, proto), check=False).manifest
    assert (done.score.background, done.score.classes, done.score.link) == (background, 3, "none")
    (layout,) = (item for item in done.decisions if item.subject == "layout")
    assert ("background" in layout.evidence) == (background is not None)


@pytest.mark.parametrize(("width", "task"), [(128, "embed"), (130, "classify")])
def test_numbers_as_wide_as_embeddings_are_a_guess(tmp_path: Path, width: int, task: str) -> None:
    """Where that is classes, what makes probabilities of them is a guess too."""
    proto = onnx.load(written(tmp_path / "m.onnx", "y = MatMul(f, w)", f"float[1,{width}] y"))
    weights = np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)
    (kept,) = (item for item in proto.graph.initializer if item.name == "w")
    kept.CopyFrom(numpy_helper.from_array(weights, "w"))
    made = decisions(saved(tmp_path, proto))
    assert (made["task"].decided, made["task"].is_guess) == (task, True)
    assert [made[name].is_guess for name in made if name == "activation"] == ([True] if task == "classify" else [])
