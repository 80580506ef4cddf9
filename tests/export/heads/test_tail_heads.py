"""Fused heads that run the part behind the layer: each gives what its NumPy namesake has from single runs of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import real_models
from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.errors import UnsupportedOperatorError, UsageError
from aerocam.export import export_model
from aerocam.export.heads import TAIL_HEADS
from aerocam.runtime import Explainer
from aerocam.runtime.methods import FORWARD_METHODS, Scorer
from onnx_graphs import f32, model, node, run_ort, saved, tail, with_outputs
from small_networks import SIZE, cnn, transformer

Score = Callable[[NDArray], NDArray]


def opened(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def numpy_map(
    plain: onnx.ModelProto, layer: str, feeds: dict[str, NDArray], method: str, output: str, score: Score
) -> NDArray[np.float32]:
    """The method on the plain network cut in two, run for one activation after the other."""
    behind = tail(plain, layer, [output])
    sides = [item.name for item in behind.graph.input]
    for item in behind.graph.input:
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    names = list(dict.fromkeys([layer, *sides]))
    known = dict(zip(names, run_ort(with_outputs(plain, names), feeds, names), strict=True))

    session = opened(behind)

    def run(batch: NDArray) -> NDArray:
        outputs = [
            session.run([output], {name: known[name] for name in sides} | {layer: one[None]})[0] for one in batch
        ]
        return np.stack([score(one) for one in outputs]).astype(np.float32)

    return FORWARD_METHODS[method](Scorer(run), known[layer])


def fused_map(
    source: Path, folder: Path, feeds: dict[str, NDArray], layer: str, method: str, target: list[int], targets: int = 1
) -> NDArray[np.float32]:
    done = export_model(source, Path(folder) / "head.onnx", layers=layer, head=method, check=False, targets=targets)
    return run_ort(onnx.load(done.path), feeds | {manifest.TARGET: np.int32(target)}, [manifest.MAP])[0]


def squeezed() -> onnx.ModelProto:
    """Depthwise and dense convolutions, a SiLU, a squeeze-and-excite gate, a residual, a batch norm: all meet later."""
    nodes = [
        node("Conv", ["x", "w0"], ["a"], pads=[1] * 4, strides=[2, 2]),
        node("Sigmoid", ["a"], ["gate"]),
        node("Mul", ["a", "gate"], ["silu"]),
        node("Conv", ["silu", "w1"], ["deep"], pads=[1] * 4, group=6),
        node("BatchNormalization", ["deep", "one", "zero", "zero", "one"], ["normed"]),
        node("GlobalAveragePool", ["normed"], ["pooled"]),
        node("Conv", ["pooled", "w2"], ["squeezed"]),
        node("Sigmoid", ["squeezed"], ["excite"]),
        node("Mul", ["normed", "excite"], ["gated"]),
        node("Add", ["gated", "a"], ["joined"]),
        node("Conv", ["joined", "w3"], ["b"], pads=[0, 1, 0, 1]),
        node("Greater", ["b", "half"], ["large"]),
        node("Where", ["large", "b", "half"], ["cut"]),
        node("ReduceMean", ["cut"], ["p"], axes=[2, 3], keepdims=0),
        node("MatMul", ["p", "w4"], ["y"]),
    ]
    weights = {
        "w0": f32(6, 3, 3, 3), "w1": f32(6, 1, 3, 3, seed=2), "one": f32(6, seed=3) + 2, "zero": f32(6, seed=4) ** 2,
        "w2": f32(6, 6, 1, 1, seed=5), "w3": f32(8, 6, 2, 3, seed=6), "half": np.float32(0.1), "w4": f32(8, 5, seed=7),
    }  # fmt: skip
    return model(nodes, {"x": np.zeros(SIZE, np.float32)}, weights, ["y"])


def choosing() -> onnx.ModelProto:
    """Truth values of single channels decide about what all of them make; a product of the layer with itself."""
    nodes = [
        node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        node("Greater", ["a", "half"], ["open"]),
        node("Conv", ["a", "w1"], ["mixed"], pads=[1] * 4),
        node("Where", ["open", "mixed", "half"], ["chosen"]),
        node("Softplus", ["chosen"], ["silent"]),
        node("Reshape", ["silent", "flat"], ["rows"]),
        node("Transpose", ["rows"], ["columns"], perm=[0, 2, 1]),
        node("MatMul", ["columns", "rows"], ["square"]),
        node("ReduceMean", ["square"], ["p"], axes=[1], keepdims=0),
        node("MatMul", ["p", "w2"], ["y"]),
    ]
    weights = {
        "w0": f32(6, 3, 3, 3), "half": np.float32(0.1), "w1": f32(6, 6, 3, 3, seed=2), "w2": f32(64, 5, seed=3),
        "flat": np.array([1, 6, 64]),
    }  # fmt: skip
    return model(nodes, {"x": np.zeros(SIZE, np.float32)}, weights, ["y"])


@pytest.mark.parametrize("method", TAIL_HEADS)
@pytest.mark.parametrize(
    ("proto", "layer"),
    [
        (cnn(), "r0"),
        (cnn(), "r1"),
        (squeezed(), "a"),
        (squeezed(), "normed"),
        (squeezed(), "joined"),
        (squeezed(), "cut"),
    ],
    ids=["inner", "last", "layer-beside", "gated", "before-a-convolution", "behind-a-choice"],
)
def test_a_fused_map_equals_the_method_in_numpy(
    method: str, proto: onnx.ModelProto, layer: str, tmp_path: Path
) -> None:
    feeds = {"x": f32(*SIZE, seed=4)}
    found = fused_map(saved(tmp_path, proto), tmp_path, feeds, layer, method, [2])
    expected = numpy_map(proto, layer, feeds, method, "y", lambda y: y[0, 2:3])
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def logits_of(proto: onnx.ModelProto, output: str) -> str:
    """What a sigmoid makes an output of."""
    (found,) = [item for item in proto.graph.node if output in item.output]
    assert found.op_type == "Sigmoid"
    return found.input[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", TAIL_HEADS)
@pytest.mark.parametrize(
    ("name", "layer", "target"),
    [
        ("lite0", "head/act", [285]),
        ("lite0", "blocks.15/project/conv", [285]),
        ("ssdlite", "layer_19_2_Conv2d_3_3x3_s2_256/Relu6", [1, 1850]),
        ("ssdlite", "BoxPredictor_1/ClassPredictor_depthwise/Relu6", [1, 1300]),
    ],
)
def test_a_fused_map_of_a_real_network(method: str, name: str, layer: str, target: list[int], tmp_path: Path) -> None:
    source = zoo.lite0.model() if name == "lite0" else zoo.ssdlite.model()
    plain = onnx.load(source)
    feeds = {plain.graph.input[0].name: real_models.picture(224 if name == "lite0" else 300)}
    output = "logits" if name == "lite0" else logits_of(plain, "raw_box_scores")
    found = fused_map(source, tmp_path, feeds, layer, method, target)
    expected = numpy_map(plain, layer, feeds, method, output, lambda y: y[(0, *target[::-1])].reshape(1))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("method", TAIL_HEADS)
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("layer", ["patches", "tokens", "normed"])
def test_maps_of_tokens(method: str, class_token: bool, layer: str, tmp_path: Path) -> None:
    """Tokens are taken away as their patches are; the class token stays."""
    proto = transformer(class_token)
    path, feeds = saved(tmp_path, proto), {"x": f32(1, 3, 8, 8, seed=8)}
    if layer == "normed":
        score = with_outputs(proto, ["normed"])
        (tokens,) = run_ort(score, feeds, ["normed"])
        first = int(class_token)
        behind = tail(proto, "normed", ["y"])
        for item in behind.graph.input:
            item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        (rest,) = run_ort(with_outputs(proto, ["all"]), feeds, ["all"])

        def run(batch: NDArray) -> NDArray:
            found = []
            for one in batch:
                changed = np.concatenate([tokens[:, :first], one.reshape(1, 6, 16).transpose(0, 2, 1)], axis=1)
                found.append(run_ort(behind, {"normed": changed, "all": rest}, ["y"])[0][0, 2:3])
            return np.stack(found)

        grid = tokens[:, first:].transpose(0, 2, 1).reshape(1, 6, 4, 4)
        expected = FORWARD_METHODS[method](Scorer(run), grid)
    else:
        expected = numpy_map(proto, "patches", feeds, method, "y", lambda y: y[0, 2:3])
    found = fused_map(path, tmp_path, feeds, layer, method, [2])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", TAIL_HEADS)
def test_several_targets_have_a_map_each(method: str, tmp_path: Path) -> None:
    path, feeds = saved(tmp_path, squeezed()), {"x": f32(*SIZE, seed=4)}
    both = fused_map(path, tmp_path, feeds, "a", method, [2, 0], targets=2)
    singles = [fused_map(path, tmp_path, feeds, "a", method, [target])[0] for target in (2, 0)]
    np.testing.assert_allclose(both, singles, rtol=0, atol=1e-5 * np.abs(both).max())


@pytest.mark.parametrize("method", TAIL_HEADS)
def test_only_the_map_leaves_and_no_gradient_is_made(method: str, tmp_path: Path) -> None:
    path = saved(tmp_path, cnn())
    done = export_model(path, head=method)
    assert done.report is not None
    assert done.report.gradients == {}
    assert done.manifest.head == manifest.Head(method, manifest.MAP)
    proto = onnx.load(done.path)
    assert [item.name for item in proto.graph.output] == ["y", manifest.CHOSEN, manifest.SCORE, manifest.MAP]
    own = [item for item in proto.graph.node if item.name.startswith("aerocam")]
    assert not {"ConvTranspose"} & {item.op_type for item in own}
    both = export_model(path, tmp_path / "both.onnx", head=method, tensors=True)
    assert both.report is not None
    assert both.report.gradients.keys() == {done.manifest.layers[0].name}
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([3])}
    expected = run_ort(onnx.load(both.path), feeds, [manifest.MAP])
    np.testing.assert_array_equal(run_ort(proto, feeds, [manifest.MAP]), expected)


def test_the_map_of_a_float16_model_is_float32(tmp_path: Path) -> None:
    proto = cnn()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype("f2"), tensor.name))
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    for method in TAIL_HEADS:
        written = onnx.load(export_model(saved(tmp_path, proto), head=method).path)
        feeds = {"x": f32(*SIZE, seed=4).astype(np.float16), manifest.TARGET: np.int32([3])}
        (found,) = run_ort(written, feeds, [manifest.MAP])
        assert found.dtype == np.float32
        expected = fused_map(saved(tmp_path, cnn()), tmp_path, {"x": f32(*SIZE, seed=4)}, "auto", method, [3])
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.03 * np.abs(expected).max())


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"`head='reciprocam'`: at layer 'blocks.4/add' it runs 784 activations at once, a tensor of 563 MB, at"
        r" most 256 MB are allowed; choose a layer nearer to the score, or give `packaging='split'`, `batch=32`"
        r" instead",
    ):
        export_model(zoo.lite0.model(), "never.onnx", layers="blocks.4/add", head="reciprocam", check=False)


def test_an_operator_without_a_form_is_named(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[2, 0, 1, 3]),
        node("ReverseSequence", ["b", "lengths"], ["c"], batch_axis=1, time_axis=0),
        node("ReduceMean", ["c"], ["d"], axes=[0, 3], keepdims=0),
        node("Identity", ["d"], ["y"]),
    ]
    weights = {"w": f32(5, 3, 3, 3), "lengths": np.array([4])}
    path = saved(tmp_path, model(nodes, {"x": np.zeros(SIZE, np.float32)}, weights, ["y"]))
    for options in ({"head": "reciprocam"}, {"packaging": "split", "batch": 4}):
        with pytest.raises(
            UnsupportedOperatorError,
            match=r"operator ReverseSequence between layer 'a' and the score has no form for several activations",
        ):
            export_model(path, tmp_path / "never.onnx", layers="a", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "never.onnx").exists()


@pytest.mark.slow
def test_what_ablation_finds_behind_an_affine_tail_is_the_gradient_times_the_activations(tmp_path: Path) -> None:
    """Conservation: S - S_c = <G_c, A_c> where the score is affine in the layer; so at the last layer of Lite0."""
    done = export_model(
        zoo.lite0.model(),
        tmp_path / "m.onnx",
        packaging="split",
        batch=320,
        preprocess=zoo.lite0.PREPROCESS,
        check=False,
    )
    with Explainer(done.path, method="gradcam", threads=1) as explainer:
        found = explainer(zoo.photograph("coffee"))
        arrays = explainer._passes.explain(explainer._resolved.slots[0])  # type: ignore[attr-defined]
        a, g = (arrays[name].astype(np.float64) for name in ("head/act", "aerocam_gradients_0"))
        chosen = np.int32([found.target.index])
        strong = np.argsort(-a.sum(axis=(0, 2, 3)))[:99]
        batch = np.repeat(a.astype(np.float32), 100, axis=0)
        batch[np.arange(99), strong] = 0
        scores = explainer._passes.tail_scores(batch, chosen)[:, 0].astype(np.float64)  # type: ignore[attr-defined]
    products = (a * g).sum(axis=(0, 2, 3))
    drops = scores[-1] - scores[:-1]
    assert np.abs(drops - products[strong]).max() < 2e-5 * np.abs(products).max()
    with Explainer(done.path, method="ablationcam", threads=1) as explainer:
        raw = explainer(zoo.photograph("coffee")).raw[0]
    expected = np.tensordot(products / scores[-1], a[0], axes=1)
    np.testing.assert_allclose(raw, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("method", TAIL_HEADS)
def test_the_runtime_shows_what_the_head_gives(method: str, tmp_path: Path) -> None:
    source = saved(tmp_path, squeezed())
    fused = export_model(source, tmp_path / "fused.onnx", layers="a", head=method)
    split = export_model(source, tmp_path / "split.onnx", layers="a", packaging="split", batch=7)
    frame = np.random.default_rng(0).integers(0, 255, (SIZE[2], SIZE[3], 3), np.uint8)
    with Explainer(fused.path) as a, Explainer(split.path, method=method) as b:
        first, second = a(frame, [1, -1]), b(frame, [1, -1])
    assert (first.method, first.normalisation) == (method, FORWARD_METHODS[method].facts.normalisation)
    np.testing.assert_allclose(first.raw, second.raw, rtol=0, atol=2e-5 * np.abs(second.raw).max())
    np.testing.assert_allclose(first.map, second.map, atol=1e-3)


def test_the_negative_score_through_a_head(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (SIZE[2], SIZE[3], 3), np.uint8)
    source = saved(tmp_path, squeezed())
    path = export_model(source, tmp_path / "r.onnx", layers="a", head="reciprocam").path
    with Explainer(path) as usual, Explainer(path, counterfactual=True) as against:
        np.testing.assert_array_equal(against(frame).raw, -usual(frame).raw)
    path = export_model(source, tmp_path / "a.onnx", layers="a", head="ablationcam").path
    with pytest.raises(UsageError, match="method 'ablationcam': its weights are shares of the score, the same for"):
        Explainer(path, counterfactual=True)
    with pytest.raises(UsageError, match=r"no activations of layer 'a', only the fused head for ablationcam; export"):
        Explainer(path, options={"fill": "mean"})
