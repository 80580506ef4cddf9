"""`aerocam export --precision float16`: what is converted, what stays, and that maps are those of the float32 model."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.cli import main
from aerocam.errors import CheckError, UsageError
from aerocam.export import check_export, export_model
from aerocam.export.precision import in_float16
from aerocam.export.reading.light import LightModel
from aerocam.export.seed_scale import HALF_SCALE
from aerocam.runtime import Explainer
from onnx_graphs import Float64, f32, model, run_ort, saved
from rtx import HAS_WHEELS
from small_networks import SIZE, cnn
from tensorrt_builder import nvidia_builder

node = helper.make_node


def types_computed(proto: onnx.ModelProto) -> set[int]:
    """Element types of the outputs of the model's own Conv and Gemm."""
    values = onnx.shape_inference.infer_shapes(proto).graph.value_info
    kinds = {item.name: item.type.tensor_type.elem_type for item in values}
    return {kinds[item.output[0]] for item in proto.graph.node if item.op_type in ("Conv", "Gemm")}


def test_a_small_network(tmp_path: Path) -> None:
    """float32 in and out, float16 between; gradients scaled, and those of the float32 model to float16's digits."""
    path = saved(tmp_path, cnn())
    done = export_model(path, layers="r1", precision="float16")
    written = onnx.load(done.path)
    assert types_computed(written) == {TensorProto.FLOAT16}
    assert (done.manifest.precision, done.manifest.seed_scale) == ("float16", HALF_SCALE)
    assert done.manifest.layers[0].name == "r1"
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([1])}
    y, a, g = run_ort(written, feeds, ["y", "r1", "aerocam_gradients_0"])
    assert (y.dtype, a.dtype) == (np.float32, np.float16)
    exact = Float64(cnn())
    (expected,) = exact({"x": feeds["x"]}, ["y"])
    np.testing.assert_allclose(y, expected, atol=5e-3 * np.abs(expected).max())
    plain = export_model(path, tmp_path / "plain.onnx", layers="r1")
    (true,) = run_ort(onnx.load(plain.path), feeds, ["aerocam_gradients_0"])
    np.testing.assert_allclose(g.astype(np.float32) / HALF_SCALE, true, atol=5e-3 * np.abs(true).max())


def test_the_check_compares_with_the_float16_model_and_says_how_far_that_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, cnn())
    done = export_model(path, precision="float16")
    assert done.report is not None
    x = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)  # as the check draws it
    (before,), (after,) = run_ort(cnn(), {"x": x}), run_ort(ir.to_proto(in_float16(ir.from_proto(cnn()))), {"x": x})
    assert before.dtype == after.dtype == np.float32
    # the check has every tensor rounded on its way, ONNX Runtime by itself does not
    assert done.report.precision == pytest.approx(np.abs(before - after).max() / np.abs(before).max(), rel=0.5)
    assert 1e-4 < done.report.precision < 1e-2
    assert done.report.outputs < 1e-5
    assert check_export(path, done.path).precision == done.report.precision
    assert main(["check", str(path), str(done.path)]) == 0
    assert "compared with the original in float16, whose outputs differ from its own by" in capsys.readouterr().out
    assert export_model(path, tmp_path / "plain.onnx").report.precision is None  # type: ignore[union-attr]


def test_a_file_in_another_precision_than_it_says_fails_its_check(tmp_path: Path) -> None:
    """Its weights were changed after the export: the outputs are not those of the original in float16."""
    path = saved(tmp_path, cnn())
    done = export_model(path, precision="float16")
    written = onnx.load(done.path)
    weight = next(item for item in written.graph.initializer if item.name == "w2")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(2), "w2"))
    onnx.save(written, done.path)
    with pytest.raises(CheckError, match="outputs differ from the original's by"):
        check_export(path, done.path).require()


@pytest.mark.parametrize(("kind", "task"), [("Softmax", "classify"), ("Sigmoid", "classify"), ("Sigmoid", "segment")])
def test_the_score_is_found_in_front_of_the_cast_at_the_end(tmp_path: Path, kind: str, task: str) -> None:
    """The output is a Cast of the probabilities; explained are the logits."""
    proto, last = cnn(), "y"
    if task == "segment":
        last = "r1"
        del proto.graph.node[-2:]
    proto.graph.node.append(node(kind, [last], ["p"]))
    del proto.graph.output[:], proto.graph.value_info[:]
    proto.graph.output.append(helper.make_empty_tensor_value_info("p"))
    layer = "r0"
    done = export_model(saved(tmp_path, proto), layers=layer, task=task, precision="float16")  # type: ignore[arg-type]
    assert done.manifest.score.activation == kind.lower()
    full = export_model(tmp_path / "model.onnx", tmp_path / "full.onnx", layers=layer, task=task)  # type: ignore[arg-type]
    feeds = {"x": f32(*SIZE, seed=4), manifest.TARGET: np.int32([1])}
    wanted = [manifest.SCORE, "aerocam_gradients_0"]
    (score, g), (true_score, true) = (run_ort(onnx.load(item.path), feeds, wanted) for item in (done, full))
    np.testing.assert_allclose(score, true_score, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(g.astype(np.float32) / HALF_SCALE, true, atol=1e-2 * np.abs(true).max())


def test_large_weights_stay_beside_the_model_and_are_rounded_once() -> None:
    """They are read when the file is written; half of each comes out, exactly as NumPy rounds it."""
    large, tiny = f32(64, 3, 9, 9), np.float32([[1e-12, -1e-12, 1e6, -0.25]])
    nodes = [node("Conv", ["x", "w"], ["c"]), node("MatMul", ["c", "t"], ["y"])]
    proto = model(nodes, {"x": f32(1, 3, 9, 9)}, {"w": large, "t": tiny}, ["y"])
    light = LightModel.of(in_float16(ir.from_proto(proto)))
    assert set(light.weights) == {"w"}
    weight = light.weights["w"]
    assert (weight.dtype, weight.nbytes) == (ir.DataType.FLOAT16, large.nbytes // 2)
    np.testing.assert_array_equal(weight.numpy(), large.astype(np.float16))
    assert [item.name for item in light.proto.graph.input] == ["x"]
    (found,) = [numpy_helper.to_array(item) for item in light.proto.graph.initializer if item.name == "t"]
    np.testing.assert_array_equal(found, np.float16([[6e-8, -6e-8, 65504, -0.25]]))  # no 0 and no infinity


def test_operators_that_take_no_float16_stay_in_float32(tmp_path: Path) -> None:
    """Scales of a Resize, TopK, Max, Celu, a weight's DequantizeLinear; all of it runs, and NVIDIA builds it."""
    nodes = [
        node("Resize", ["x", "", "scales"], ["r"], mode="nearest"),
        node("DequantizeLinear", ["q", "scale"], ["w"]),
        node("Conv", ["r", "w", "bias"], ["c"], pads=[1] * 4),
        node("Celu", ["c"], ["e"]),
        node("Max", ["e", "floor"], ["m"]),
        node("ReduceMean", ["m"], ["v"], axes=[2, 3], keepdims=0),
        node("TopK", ["v", "k"], ["best", "places"]),
        node("Cast", ["places"], ["p"], to=TensorProto.FLOAT),
        node("Add", ["best", "p"], ["s"]),
        node("Concat", ["v", "s"], ["y"], axis=1),
    ]
    constants = {
        "q": np.random.default_rng(0).integers(-128, 128, (6, 3, 3, 3)).astype(np.int8), "scale": np.float32(0.01),
        "bias": f32(6), "scales": np.float32([1, 1, 2, 2]), "floor": np.float32(-0.5), "k": np.array([2]),
    }  # fmt: skip
    proto = model(nodes, {"x": f32(*SIZE)}, constants, ["y"])
    done = export_model(saved(tmp_path, proto), layers="c", precision="float16", destination="tensorrt")
    written = onnx.load(done.path)
    kinds = {item.name: item.data_type for item in written.graph.initializer}
    assert {kinds[name] for name in ("scales", "scale", "floor")} == {TensorProto.FLOAT}
    assert kinds["bias"] == TensorProto.FLOAT16
    casts = {item.input[0] for item in written.graph.node if item.op_type == "Cast"}
    assert not casts & {"scales", "scale", "floor"}
    onnx.checker.check_model(written, full_check=True)  # types too
    if HAS_WHEELS:
        assert nvidia_builder().refusal(written) is None


def test_a_model_that_is_half_already_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zoo.lite0.model(variant="half")
    with caplog.at_level(logging.INFO):
        done = export_model(path, tmp_path / "m.onnx", precision="float16", check=False)
    assert "`precision='float16'`: the model computes in float16 already; it stays as it is" in caplog.messages
    plain = export_model(path, tmp_path / "n.onnx", check=False)
    assert done.manifest == plain.manifest
    assert types_computed(onnx.load(done.path)) == types_computed(onnx.load(plain.path)) == {TensorProto.FLOAT16}


def test_what_float16_cannot_hold_is_an_error(tmp_path: Path) -> None:
    proto = cnn()
    for tensor in proto.graph.initializer:
        if tensor.name in ("w0", "w1"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(3000), tensor.name))
    path = saved(tmp_path, proto)
    with pytest.raises(
        CheckError, match=r"'c1' has numbers up to [0-9.e+]+ on CPUE.* end at 65504; export the model as it is"
    ):
        export_model(path, precision="float16")
    assert list(tmp_path.iterdir()) == [path]


def test_other_precisions_and_quantised_models_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, cnn())
    with pytest.raises(UsageError, match=r"`precision='int8'`: aerocam does not quantise; .*quantize_static.*QDQ"):
        export_model(path, precision="int8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"`precision='half'`: no such precision\. Known: 'source', 'float16'"):
        export_model(path, precision="half")  # type: ignore[arg-type]
    proto = cnn()
    scales = {"s": np.float32(0.05), "z": np.int8(0)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in scales.items())
    rounded = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], name="round"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]
    proto.graph.node[0].input[0] = "d"
    for item in reversed(rounded):
        proto.graph.node.insert(0, item)
    path = saved(tmp_path, proto, "quantised.onnx")
    with pytest.raises(UsageError, match=r"the model is quantised already \(QuantizeLinear 'round'\)"):
        export_model(path, precision="float16")
    assert export_model(path, check=False, destination="tensorrt").manifest.precision == "source"


def maps(path: Path, frame: NDArray[np.uint8], target: object = None) -> tuple[NDArray[np.float32], object]:
    with Explainer(path) as explainer:
        found = explainer(frame, target)  # type: ignore[arg-type]
        return found.map[0].copy(), found.targets[0].index


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "layer", "options", "tolerance"),
    [
        ("lite0", "auto", {"head": "gradcam"}, 0.01),
        ("lite0", "auto", {"head": "gradcam++"}, 0.01),
        ("lite0", "auto", {"head": "cfcam"}, 0.03),  # a channel at the border of two clusters may change sides
        ("lite0", "auto", {"head": "gradcam", "frame": (512, 512), "map_form": "frame", "overlay": True}, 0.01),
        ("yolov8n", "/model.21/cv2/act/Mul_output_0", {"head": "gradcam"}, 0.01),
    ],
    ids=str,
)
def test_maps_of_real_networks_and_nvidias_builder(
    tmp_path: Path, network: str, layer: str, options: dict, tolerance: float
) -> None:
    """Those of the float32 model, on a picture that the network knows."""
    path = zoo.lite0.model() if network == "lite0" else zoo.yolov8n_doclaynet()
    frame = zoo.photograph("astronaut") if network == "lite0" else zoo.page("report")
    known = {"preprocess": zoo.lite0.PREPROCESS} if network == "lite0" else {}
    common = {"layers": layer, "destination": "tensorrt", **known, **options}
    half = export_model(path, tmp_path / "half.onnx", precision="float16", **common)
    full = export_model(path, tmp_path / "full.onnx", check=False, **common)
    assert half.report is not None
    assert half.report.precision < 5e-3  # type: ignore[operator]
    assert half.path.stat().st_size < 0.6 * full.path.stat().st_size
    expected, target = maps(full.path, frame)
    found, same = maps(half.path, frame)
    assert found.shape == expected.shape
    assert same == target
    np.testing.assert_allclose(found, expected, atol=tolerance)
    if HAS_WHEELS:
        assert nvidia_builder().refusal(onnx.load(half.path)) is None
