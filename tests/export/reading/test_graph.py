"""Reading: every form of file ends in the one normal form with the same numbers, or is refused with a reason."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.errors import AerocamError, ModelError, UsageError, WriteError
from aerocam.export import export_model, list_layers
from aerocam.export.checking.gradients import KINKS
from aerocam.export.nodes.shapes import is_static
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import write_models
from aerocam.export.reading.opset import IR_VERSION, OLDEST_OPSET, OPSET
from onnx_graphs import f32, model, node, run_ort, saved, with_input
from small_networks import SIZE, WEIGHTS, cnn


def assert_same_bits(proto: onnx.ModelProto, loaded: ir.Model) -> None:
    """Without graph optimization no output differs in any bit."""
    feeds = {"x": f32(*SIZE, seed=1)}
    before = run_ort(proto, feeds, optimize=False)
    after = run_ort(ir.to_proto(loaded), feeds, optimize=False)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the exporter says, whatever the command line did to the logger before."""
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    caplog.set_level(logging.INFO, "aerocam.export")
    return caplog


@pytest.mark.parametrize("opset", range(OLDEST_OPSET, 23))
def test_every_opset_keeps_its_numbers(tmp_path: Path, opset: int) -> None:
    proto = cnn(opset)
    loaded = load_model(saved(tmp_path, proto))
    assert_same_bits(proto, loaded)
    assert loaded.opset_imports[""] == OPSET  # what Flatten 21 and Conv 22 added is not used


MIDDLES: list[tuple[int, str, Sequence[str], Mapping[str, Any], Mapping[str, Any]]] = [
    (7, "Clip", ["c"], {"min": -0.5, "max": 0.6}, {}),
    (7, "Pad", ["c"], {"pads": [0, 0, 1, 2, 0, 0, 0, 1]}, {}),
    (7, "Slice", ["c"], {"starts": [1], "ends": [7], "axes": [2]}, {}),
    (7, "Upsample", ["c"], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "nearest"}, {}),
    (7, "Dropout", ["c"], {"ratio": 0.3}, {}),
    (7, "BatchNormalization", ["c", "s", "s", "s", "v"], {}, {"s": f32(4), "v": abs(f32(4)) + 1}),
    (9, "Upsample", ["c", "k"], {"mode": "linear"}, {"k": np.float32([1, 1, 2, 2])}),
    (10, "Slice", ["c", "a", "b", "d"], {}, {"a": np.array([1]), "b": np.array([7]), "d": np.array([3])}),
    (9, "Upsample", ["c", "k"], {"mode": "nearest"}, {"k": np.float32([1, 1, 1.5, 1.6])}),
    (10, "Resize", ["c", "k"], {"mode": "nearest"}, {"k": np.float32([1, 1, 2, 2])}),
    (10, "Resize", ["c", "k"], {"mode": "nearest"}, {"k": np.float32([1, 1, 0.4, 0.4])}),
    (10, "Resize", ["c", "k"], {"mode": "linear"}, {"k": np.float32([1, 1, 1.5, 0.4])}),
    (11, "Clip", ["c", "lo", "hi"], {}, {"lo": np.float32(-0.5), "hi": np.float32(0.6)}),
    (12, "Softmax", ["c"], {"axis": 3}, {}),
    (12, "Softmax", ["c"], {"axis": 1}, {}),
    (13, "Split", ["c", "n"], {"axis": 2}, {"n": np.array([8])}),
]


@pytest.mark.parametrize(
    ("opset", "op", "inputs", "attributes", "constants"), MIDDLES, ids=[f"{row[1]}-{row[0]}" for row in MIDDLES]
)
def test_old_forms_of_operators_are_converted(
    tmp_path: Path,
    opset: int,
    op: str,
    inputs: Sequence[str],
    attributes: Mapping[str, Any],
    constants: Mapping[str, Any],
) -> None:
    """Same numbers, opset 17, and a gradient through the operator that agrees with finite differences."""
    nodes = [
        node("Conv", ["x", "w0"], ["c"], pads=[1] * 4),
        node(op, inputs, ["m"], **attributes),
        node("Sigmoid", ["m"], ["s_"]),
        node("ReduceMean", ["s_"], ["p"], axes=[2, 3], keepdims=0),
        node("MatMul", ["p", "wt"], ["y"]),
    ]
    weights = {"w0": WEIGHTS["w0"], "wt": f32(4, 5), **constants}
    proto = model(nodes, {"x": np.zeros(SIZE, np.float32)}, weights, ["y"], opset)
    path = saved(tmp_path, proto)
    assert_same_bits(proto, load_model(path))
    done = export_model(path, layers="c")
    assert done.report is not None
    assert done.report.gradients["c"] < KINKS
    written = onnx.load(done.path)
    assert (written.opset_import[0].version, written.ir_version) == (OPSET, IR_VERSION)
    assert done.manifest.source.opset == opset


def newer(opset: int, **resize: Any) -> onnx.ModelProto:
    """Operators with forms that opset 17 does not have: antialiased Resize, ReduceMean with its axes as an input."""
    nodes = [
        node("Conv", ["x", "w0"], ["c"], pads=[1] * 4),
        node("Resize", ["c", "", "k"], ["u"], name="resize", mode="linear", **resize),
        node("Sigmoid", ["u"], ["s"]),
        node("ReduceMean", ["s", "axes"], ["p"], keepdims=0),
        node("Gemm", ["p", "wt"], ["y"]),
    ]
    weights = {"w0": WEIGHTS["w0"], "wt": f32(4, 5), "k": np.float32([1, 1, 0.5, 0.5]), "axes": np.array([2, 3])}
    return model(nodes, {"x": np.zeros(SIZE, np.float32)}, weights, ["y"], opset)


@pytest.mark.parametrize(
    ("opset", "resize", "ir_version"), [(18, {}, 8), (18, {"antialias": 1}, 8), (19, {}, 9), (22, {"antialias": 1}, 10)]
)
def test_what_needs_a_newer_opset_keeps_it(
    tmp_path: Path, log: pytest.LogCaptureFixture, opset: int, resize: dict[str, int], ir_version: int
) -> None:
    """It is said in the log, the IR version is the oldest that may carry the opset, and gradients are right."""
    proto = newer(opset, **resize)
    path = saved(tmp_path, proto)
    assert_same_bits(proto, load_model(path))
    assert f"opset {opset} kept" in log.text
    done = export_model(path, layers="c")
    assert done.report is not None
    assert done.report.gradients["c"] < KINKS
    written = onnx.load(done.path)
    assert (written.opset_import[0].version, written.ir_version) == (opset, ir_version)


def test_weights_as_inputs_of_ir_3(tmp_path: Path) -> None:
    """Scalars and unknown lengths among them, as old exporters write them; the self-check reads the same file."""
    proto = cnn(9)
    proto.ir_version = 3
    proto.graph.node.insert(0, node("Mul", ["x", "half"], ["x_"]))
    proto.graph.node[1].input[0] = "x_"
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    proto.graph.input.extend(
        helper.make_tensor_value_info(w.name, TensorProto.FLOAT, ["k"] if w.name == "b2" else w.dims)
        for w in proto.graph.initializer
    )
    del proto.graph.value_info[:]
    path = saved(tmp_path, proto)
    loaded = load_model(path)
    assert [value.name for value in loaded.graph.inputs] == ["x"]
    assert {"half", *WEIGHTS} <= loaded.graph.initializers.keys()
    assert_same_bits(proto, loaded)
    assert export_model(path).report is not None


def test_constant_nodes_and_shape_arithmetic_become_initializers(tmp_path: Path) -> None:
    """Flatten as old PyTorch wrote it: Shape, Gather, Concat, Reshape; and a weight in a Constant node."""
    proto = cnn()
    del proto.graph.node[5]
    weight = next(w for w in proto.graph.initializer if w.name == "w1")
    proto.graph.initializer.remove(weight)
    for position, item in enumerate(
        [
            node("Constant", [], ["w1"], value=weight),
            node("Constant", [], ["zero"], value_ints=[0]),
            node("Constant", [], ["rest"], value=numpy_helper.from_array(np.array([-1]))),
        ]
    ):
        proto.graph.node.insert(position, item)
    proto.graph.node.insert(8, node("Shape", ["pooled"], ["shape"]))
    proto.graph.node.insert(9, node("Gather", ["shape", "zero"], ["front"], axis=0))
    proto.graph.node.insert(10, node("Concat", ["front", "rest"], ["wanted"], axis=0))
    proto.graph.node.insert(11, node("Reshape", ["pooled", "wanted"], ["flat"]))
    loaded = load_model(saved(tmp_path, proto))
    assert {item.op_type for item in loaded.graph} == {"Conv", "Relu", "GlobalAveragePool", "Reshape", "Gemm"}
    assert_same_bits(proto, loaded)


def test_arithmetic_on_weights_is_left_to_the_runtime(tmp_path: Path) -> None:
    """Folding it here might round otherwise than the runtime does; what only moves numbers is folded."""
    proto = cnn()
    proto.graph.node.insert(0, node("Softmax", ["w0"], ["w0_"], axis=1))
    proto.graph.node[1].input[1] = "w0_"
    proto.graph.node.insert(0, node("Transpose", ["b2t"], ["b2_"], perm=[1, 0]))
    proto.graph.initializer.append(numpy_helper.from_array(f32(5, 1), "b2t"))
    proto.graph.node[-1].input[2] = "b2_"
    loaded = load_model(saved(tmp_path, proto))
    assert [item.op_type for item in loaded.graph][:2] == ["Softmax", "Conv"]
    assert_same_bits(proto, loaded)


def with_function(op: str, opset: int) -> onnx.ModelProto:
    """The model with its first Relu in a function of one node."""
    proto = cnn()
    body = [node(op, ["a"], ["b"])]
    proto.functions.append(
        helper.make_function("my.functions", "Activate", ["a"], ["b"], body, [helper.make_opsetid("", opset)])
    )
    proto.opset_import.append(helper.make_opsetid("my.functions", 1))
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Activate", "my.functions"
    return proto


@pytest.mark.parametrize("opset", [14, OPSET, 18])
def test_functions_are_inlined(tmp_path: Path, opset: int) -> None:
    """Model-local functions, also those written for another opset than the model's."""
    proto = with_function("Relu", opset)
    loaded = load_model(saved(tmp_path, proto))
    assert not loaded.functions
    assert [item.op_type for item in loaded.graph][:2] == ["Conv", "Relu"]
    assert_same_bits(proto, loaded)


def test_a_function_that_the_model_s_opset_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"its functions cannot be inlined .*Gelu"):
        load_model(saved(tmp_path, with_function("Gelu", 20)))


@pytest.mark.parametrize("opset", [12, OPSET])
def test_nodes_are_sorted_and_the_default_domain_has_one_name(tmp_path: Path, opset: int) -> None:
    proto = cnn(opset)
    reverse = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(reverse)
    for item in (*proto.graph.node, *proto.opset_import):
        item.domain = "ai.onnx"
    loaded = load_model(saved(tmp_path, proto))
    assert [item.outputs[0].name for item in loaded.graph] == ["c0", "r0", "c1", "r1", "pooled", "flat", "y"]
    assert {item.domain for item in loaded.graph} == {""}
    assert loaded.opset_imports == {"": OPSET}
    assert_same_bits(cnn(opset), loaded)
    assert export_model(tmp_path / "model.onnx").report is not None


def test_metadata_survives_the_conversion(tmp_path: Path) -> None:
    proto = cnn(11)
    helper.set_model_props(proto, {"names": "{0: 'a'}", "author": "me"})
    assert load_model(saved(tmp_path, proto)).metadata_props == {"names": "{0: 'a'}", "author": "me"}


@pytest.mark.parametrize(
    ("dims", "given", "expected"),
    [
        (("n", 3, 8, 8), {}, SIZE),
        ((-1, 3, 8, 8), {}, SIZE),
        (("n", 3, "h", "w"), {"x": SIZE}, SIZE),
        (("n", 3, "h", "w"), {"x": (1, 3, 12, 10)}, (1, 3, 12, 10)),
        ((-1, 3, -1, -1), {"x": SIZE}, SIZE),
        ((1, 3, 8, 8), {"x": SIZE}, SIZE),
    ],
)
def test_dynamic_axes_are_frozen(
    tmp_path: Path, dims: tuple[int | str, ...], given: dict[str, tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    loaded = load_model(saved(tmp_path, with_input(cnn(), *dims)), given)
    shapes = {value.name: tuple(value.shape or ()) for item in loaded.graph for value in item.outputs}
    assert tuple(loaded.graph.inputs[0].shape or ()) == expected
    assert shapes["r1"] == (1, 6, *expected[2:])
    assert shapes["y"] == (1, 5)


def test_shapes_traced_at_another_size_are_forgotten(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"]))
    loaded = load_model(saved(tmp_path, proto), {"x": (1, 3, 12, 10)})
    shapes = {value.name: tuple(value.shape or ()) for item in loaded.graph for value in item.outputs}
    assert (shapes["c0"], shapes["r1"]) == ((1, 4, 12, 10), (1, 6, 12, 10))


@pytest.mark.parametrize(
    ("dims", "given", "message"),
    [
        (("n", 3, "h", "w"), {}, r"input 'x' has shape \[1,3,\?,\?\].*`input_shapes=\{'x': \(1, 3, 224, 224\)\}`"),
        ((1, 3, 8, 8), {"x": (1, 3, 9, 8)}, r"`input_shapes=\{'x': \(1, 3, 9, 8\)\}`: dimension 2 is 8 in the model"),
        ((1, 3, 8, 8), {"x": (1, 3, 8)}, r"`input_shapes=\{'x': \(1, 3, 8\)\}`: the input has 4 dimensions"),
        ((1, 3, "h", 8), {"x": (1, 3, 0, 8)}, r"`input_shapes=\{'x': \(1, 3, 0, 8\)\}`: sizes of 1 or more"),
        ((1, 1, 64, "w"), {}, r"`input_shapes=\{'x': \(1, 1, 64, 224\)\}` with your sizes"),
        (("n", "w"), {}, r"`input_shapes=\{'x': \(1, 1\)\}`"),
        ((1, 3, 8, 8), {"X": SIZE}, r"`input_shapes=\{'X': .*\}`: the model has no such input\. Did you mean 'x'"),
        ((1, 3, 8, 8), {"w0": SIZE}, r"`input_shapes=\{'w0': .*\}`: the model has no such input"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    tmp_path: Path, dims: tuple[int | str, ...], given: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(saved(tmp_path, with_input(cnn(), *dims)), given)


def test_a_mistyped_input_name_gets_the_close_one(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "images"
    with pytest.raises(UsageError, match=r"Did you mean 'images'\?"):
        load_model(saved(tmp_path, proto), {"image": SIZE})


def test_a_scalar_input_needs_no_shape(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.input.append(helper.make_tensor_value_info("limit", TensorProto.INT64, []))
    proto.graph.output.append(helper.make_tensor_value_info("echo", TensorProto.INT64, []))
    proto.graph.node.append(node("Identity", ["limit"], ["echo"]))
    assert [tuple(value.shape or ()) for value in load_model(saved(tmp_path, proto)).graph.inputs] == [SIZE, ()]


def with_external_data(folder: Path, location: str, data: bytes | None = None, **more: str) -> Path:
    """The model with w0 in a file of its own; `data` in place of what belongs there."""
    proto = cnn()
    tensor = proto.graph.initializer[0]
    whole = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "length": str(len(whole)), **more}.items():
        tensor.external_data.add(key=key, value=value)
    place = folder / "model" / location
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(whole if data is None else data)
    return saved(folder / "model", proto)


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin"])
def test_external_data_beside_the_model(tmp_path: Path, location: str) -> None:
    loaded = load_model(with_external_data(tmp_path, location))
    np.testing.assert_array_equal(loaded.graph.initializers["w0"].const_value.numpy(), WEIGHTS["w0"])
    assert_same_bits(cnn(), loaded)


def test_external_data_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere.bin")
    for location, more, message in [
        ("../outside.bin", {}, r"tensor 'w0' keeps its data in '\.\./outside\.bin', outside the model's folder"),
        ("sub/../../outside.bin", {}, "outside the model's folder"),
        (elsewhere, {}, "outside the model's folder"),
        ("w.bin", {"offset": "8"}, r"'w\.bin' has 432 bytes, tensor 'w0' needs 440; copy that file again"),
        ("w.bin", {"offset": "-8"}, "external data cannot be read"),
        ("w.bin", {"length": "many"}, "external data cannot be read"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_model(with_external_data(tmp_path, location, **more))
    path = with_external_data(tmp_path, "w.bin", data=bytes(400))
    with pytest.raises(ModelError, match=r"'w\.bin' has 400 bytes, tensor 'w0' needs 432"):
        load_model(path)
    (tmp_path / "model" / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"'w\.bin', which is not beside the model; copy that file too"):
        load_model(path)
    (tmp_path / "outside.bin").write_bytes(bytes(432))
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(path)


WHOLE = cnn().SerializeToString()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"not an ONNX model \(it holds no graph\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), r"not an ONNX file, or a truncated one \(107 bytes do not parse\)"),
        (b"Neither protobuf nor anything like it.\n" * 9, "not an ONNX file"),
        (WHOLE[: len(WHOLE) // 2], "not an ONNX file, or a truncated one"),
        (
            cnn(6 + 1).SerializeToString().replace(b"\x42\x04\n\0\x10\x07", b"\x42\x04\n\0\x10\x06"),
            "opset 6, 7 or newer",
        ),
    ],
    ids=["empty", "picture", "text", "half", "opset-6"],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for end in range(0, len(WHOLE), 41):
        path.write_bytes(WHOLE[:end])
        with pytest.raises(AerocamError):
            load_model(path)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file, a model was expected"):
        load_model(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="this is a folder, a model's file was expected"):
        load_model(tmp_path)


def test_an_engine_is_told_from_a_truncated_file(tmp_path: Path) -> None:
    for name, said in (("model.engine", "this is an engine, ONNX was expected"), ("model.onnx", "a truncated one")):
        (tmp_path / name).write_bytes(b"vtrt" + bytes(60))
        with pytest.raises(ModelError, match=said):
            load_model(tmp_path / name)


def test_a_tensor_declared_twice_is_refused(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.node[2].output[0] = "c0"
    with pytest.raises(ModelError, match=r"contradicts itself .*'c0'"):
        load_model(saved(tmp_path, proto))


def test_a_graph_in_a_circle_is_refused(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.node[2].input[0] = "r1"
    with pytest.raises(ModelError, match=r"contradicts itself \(Graph contains a cycle.*\); export it anew$"):
        load_model(saved(tmp_path, proto))


def test_an_old_operator_that_no_converter_knows_is_refused(tmp_path: Path) -> None:
    proto = cnn(12)
    proto.graph.node[1].op_type = "Relu6"
    message = r"opset 12 cannot be converted to 17 \(.*Relu6.*\); export the model with opset 17$"
    with pytest.raises(ModelError, match=message):
        load_model(saved(tmp_path, proto))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.onnx"
    write_models({path: LightModel(cnn(), {})})
    assert path.read_bytes() == cnn().SerializeToString()
    assert path.stat().st_mode & 0o777 == 0o644

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(WriteError, match=r"cannot write it: No space left on device"):
        write_models({path: LightModel(newer(18), {})})
    assert [item.name for item in tmp_path.iterdir()] == ["out.onnx"]
    assert path.read_bytes() == cnn().SerializeToString()


# --- static arithmetic


def unsqueeze(opset: int, source: str, result: str) -> onnx.NodeProto:
    """In front, in the form of the opset; needs a constant `first`, [0]."""
    if opset < 13:
        return node("Unsqueeze", [source], [result], axes=[0])
    return node("Unsqueeze", [source, "first"], [result])


def enlarged(opset: int) -> list[onnx.NodeProto]:
    """Twice the size as old PyTorch computed it: in float32, one Floor per axis; with a Clip, as timm computes pads."""
    nodes = [node("Shape", ["c"], ["shape"])]
    for axis in ("2", "3"):
        nodes += [
            node("Gather", ["shape", f"at{axis}"], [f"n{axis}"]),
            node("Cast", [f"n{axis}"], [f"f{axis}"], to=TensorProto.FLOAT),
            node("Mul", [f"f{axis}", "two"], [f"d{axis}"]),
            node("Clip", [f"d{axis}", "two"], [f"k{axis}"]),
            node("Floor", [f"k{axis}"], [f"r{axis}"]),
            node("Cast", [f"r{axis}"], [f"i{axis}"], to=TensorProto.INT64),
            unsqueeze(opset, f"i{axis}", f"u{axis}"),
        ]
    return [
        *nodes,
        node("Slice", ["shape", "first", "until2"], ["front"]),
        node("Concat", ["front", "u2", "u3"], ["size"], axis=0),
        node("Resize", ["c", "none", "none", "size"], ["m"], mode="nearest"),
    ]


def scaled(_: int) -> list[onnx.NodeProto]:
    """Scales as a quotient of sizes."""
    return [
        node("Shape", ["c"], ["shape"]),
        node("Cast", ["shape"], ["float"], to=TensorProto.FLOAT),
        node("Mul", ["float", "scales"], ["wanted"]),
        node("Div", ["wanted", "float"], ["quotient"]),
        node("Resize", ["c", "none", "quotient"], ["m"], mode="linear"),
    ]


def spread(_: int) -> list[onnx.NodeProto]:
    """`expand` as PyTorch writes it, where -1 keeps a size."""
    ones = helper.make_tensor("ones", TensorProto.INT64, [1], [1])
    return [
        node("Shape", ["c"], ["shape"]),
        node("Shape", ["shape"], ["rank"]),
        node("ConstantOfShape", ["rank"], ["ones"], value=ones),
        node("Mul", ["ones", "minus"], ["keep"]),
        node("Equal", ["shape", "keep"], ["kept"]),
        node("Where", ["kept", "ones", "shape"], ["to"]),
        node("Expand", ["line", "to"], ["lines"]),
        node("Add", ["c", "lines"], ["m"]),
    ]


def padded(_: int) -> list[onnx.NodeProto]:
    """`pad` as PyTorch writes it: the pairs turned round, zeros in front."""
    return [
        node("ConstantOfShape", ["four"], ["zeros"]),
        node("Cast", ["zeros"], ["whole"], to=TensorProto.INT64),
        node("Concat", ["pads", "whole"], ["eight"], axis=0),
        node("Reshape", ["eight", "pairs"], ["paired"]),
        node("Slice", ["paired", "minus", "far", "first", "minus"], ["turned"]),
        node("Transpose", ["turned"], ["across"], perm=[1, 0]),
        node("Reshape", ["across", "minus"], ["amounts"]),
        node("Pad", ["c", "amounts"], ["m"]),
    ]


def chunks(sizes: str) -> Any:
    """`split` as PyTorch writes it where the number of parts may vary."""
    return lambda _: [
        node("SplitToSequence", ["c", sizes], ["parts"], axis=1),
        node("SequenceAt", ["parts", "at0"], ["a"]),
        node("SequenceAt", ["parts", "at1"], ["b"]),
        node("Concat", ["b", "a"], ["m"], axis=1),
    ]


def tokens(_: int) -> list[onnx.NodeProto]:
    """Softmax over the last axis of a tensor whose shape is computed."""
    return [
        node("Shape", ["c"], ["shape"]),
        node("Slice", ["shape", "first", "until2"], ["front"]),
        node("Concat", ["front", "minus"], ["to"], axis=0),
        node("Reshape", ["c", "to"], ["t"]),
        node("Softmax", ["t"], ["a"], axis=2),
        node("Reshape", ["a", "shape"], ["m"]),
    ]


INTEGERS = {
    "at0": np.array(0),
    "at1": np.array(1),
    "at2": np.array(2),
    "at3": np.array(3),
    "first": np.array([0]),
    "until2": np.array([2]),
    "minus": np.array([-1]),
    "four": np.array([4]),
    "pads": np.array([1, 0, 2, 1]),
    "pairs": np.array([-1, 2]),
    "far": np.array([-(2**62)]),
    "three": np.array(3),
    "three_one": np.array([3, 1]),
}
FLOATS = {
    "two": np.array(2.0, np.float32),
    "none": np.zeros(0, np.float32),
    "scales": np.float32([1, 1, 2, 1.5]),
    "line": f32(1, 4, 1, 1),
}


@pytest.mark.parametrize("opset", [11, 12, 13, 16, OPSET])
@pytest.mark.parametrize(
    ("middle", "left"),
    [
        (enlarged, {"Resize"}),
        (scaled, {"Resize"}),
        (spread, {"Expand", "Add"}),
        (padded, {"Pad"}),
        (chunks("at2"), {"Split", "Concat"}),
        (chunks("three"), {"Split", "Concat"}),
        (chunks("three_one"), {"Split", "Concat"}),
        (tokens, {"Reshape", "Softmax"}),
    ],
    ids=["enlarged", "scaled", "spread", "padded", "chunks-even", "chunks-uneven", "chunks-listed", "tokens"],
)
def test_sizes_that_the_graph_computes_are_folded(tmp_path: Path, opset: int, middle: Any, left: set[str]) -> None:
    """Shapes are static, nothing is left of the arithmetic, and no bit of the output differs; gradients are right."""
    nodes = [
        node("Conv", ["x", "w0"], ["c"], pads=[1] * 4),
        *middle(opset),
        node("Conv", ["m", "w1"], ["c1"]),
        node("GlobalAveragePool", ["c1"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "wt"], ["y"]),
    ]
    used = {name for item in nodes for name in item.input}
    constants = {"wt": f32(6, 5), **WEIGHTS, **INTEGERS, **FLOATS}
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=7,
    )
    path = saved(tmp_path, proto)
    loaded = load_model(path, {"x": SIZE})
    assert {item.op_type for item in loaded.graph} == left | {"Conv", "GlobalAveragePool", "Flatten", "MatMul"}
    assert all(is_static(value) for item in loaded.graph for value in item.outputs)
    assert_same_bits(proto, loaded)
    assert export_model(path, layers="c", input_shapes={"x": SIZE}).report is not None


@pytest.mark.parametrize("opset", [11, 13, OPSET, 18, 21])
def test_a_branch_whose_condition_is_known_is_taken(tmp_path: Path, opset: int) -> None:
    """`squeeze` as PyTorch writes it, one If inside the other; branches see the graph around them."""

    def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        result = nodes[-1].output[0]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)])

    squeeze = node("Squeeze", ["p", "axes"], ["sq"]) if opset >= 13 else node("Squeeze", ["p"], ["sq"], axes=[2, 3])
    inner = node(
        "If",
        ["cond"],
        ["in"],
        then_branch=branch("b", squeeze),
        else_branch=branch("d", node("Identity", ["p"], ["same"])),
    )
    outer = node(
        "If",
        ["cond"],
        ["f"],
        then_branch=branch("a", inner, node("Identity", ["in"], ["out"])),
        else_branch=branch("c", node("Flatten", ["p"], ["flat"])),
    )
    nodes = [
        node("Conv", ["x", "w0"], ["c"], pads=[1] * 4),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Shape", ["p"], ["shape"]),
        node("Gather", ["shape", "at2"], ["h"]),
        node("Equal", ["h", "at1"], ["cond"]),
        outer,
        node("MatMul", ["f", "wt"], ["y"]),
    ]
    constants = {"w0": WEIGHTS["w0"], "wt": f32(4, 5), "axes": np.array([2, 3]), **INTEGERS}
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SIZE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=7,
    )
    path = saved(tmp_path, proto)
    loaded = load_model(path)
    assert [item.op_type for item in loaded.graph if item.op_type != "Identity"] == [
        "Conv",
        "GlobalAveragePool",
        "Squeeze",
        "MatMul",
    ]
    assert loaded.opset_imports[""] == OPSET
    assert_same_bits(proto, loaded)
    assert export_model(path, layers="c").report is not None


def test_what_keeps_all_outputs_dynamic_is_named(tmp_path: Path) -> None:
    """An operator whose result has a shape of its data, and one that ONNX does not know."""
    for domain, op, message in [
        ("", "NonZero", r"shape of 'y' \(operator NonZero, node 'it'\)"),
        ("com.microsoft", "Gelu", r"shape of '[my]' \(operator com\.microsoft\.Gelu, node 'it'\)"),
    ]:
        proto = cnn()
        del proto.graph.node[:], proto.graph.value_info[:]
        proto.graph.node.append(node(op, ["x"], ["m"], name="it", domain=domain))
        proto.graph.node.append(node("Identity", ["m"], ["y"]))
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT if domain else TensorProto.INT64
        if domain:
            proto.opset_import.append(helper.make_opsetid(domain, 1))
        with pytest.raises(ModelError, match=message):
            load_model(saved(tmp_path, proto))


@pytest.mark.parametrize(("axis", "good"), [(1, False), (2, False), (3, True), (-1, True)])
def test_hardmax_before_opset_13(tmp_path: Path, axis: int, good: bool) -> None:
    proto = cnn(12)
    proto.graph.node[1].op_type = "Hardmax"
    proto.graph.node[1].attribute.append(helper.make_attribute("axis", axis))
    path = saved(tmp_path, proto)
    if good:
        assert_same_bits(proto, load_model(path))
        return
    with pytest.raises(ModelError, match=r"Hardmax 'stem_relu' over several axes has no form in opset 17"):
        load_model(path)


def with_group_norms(opset: int, dtype: Any = np.float32) -> onnx.ModelProto:
    """Two in a row of them, a shape that is computed from the second, and no shapes written down."""
    nodes = [
        node("Conv", ["x", "w0"], ["c"], pads=[1] * 4),
        node("GroupNormalization", ["c", "s", "b"], ["g0"], name="first", num_groups=2),
        node("GroupNormalization", ["g0", "s", "b"], ["g1"], name="second", num_groups=2, epsilon=0.25),
        node("Relu", ["g1"], ["r"]),
        node("Identity", ["r"], ["same"]),
        node("GlobalAveragePool", ["same"], ["p"]),
        node("Shape", ["p"], ["shape"], end=2),
        node("Reshape", ["p", "shape"], ["f"]),
        node("MatMul", ["f", "wt"], ["y"]),
    ]
    parts = 2 if opset < 21 else 4
    weights = {"w0": WEIGHTS["w0"], "s": abs(f32(parts)) + 0.5, "b": f32(parts, seed=1), "wt": f32(4, 5)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, SIZE)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_group_normalization_of_every_opset(tmp_path: Path, opset: int) -> None:
    """Onnx infers no shape for its output; before opset 21 its checker takes it for no operator at all."""
    proto = with_group_norms(opset)
    path = saved(tmp_path, proto)
    loaded = load_model(path)
    left = [item.op_type for item in loaded.graph if "Norm" in item.op_type]
    assert left == (["GroupNormalization"] * 2 if opset >= 21 else [])
    found = {value.name: (value.dtype, value.shape) for item in loaded.graph for value in item.outputs}
    assert found["g0"] == found["g1"] == found["r"] == (ir.DataType.FLOAT, ir.Shape((1, 4, 8, 8)))
    assert {"first", "second"} <= {item.name for item in loaded.graph}
    assert "Shape" not in {item.op_type for item in loaded.graph}
    assert_same_bits(proto, loaded)
    done = export_model(path, layers="c")
    assert done.report is not None
    assert done.report.outputs == 0.0
    assert done.report.gradients["c"] < KINKS
    assert [item.name for item in list_layers(path)[1]] == ["r"]


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization_in_float16(tmp_path: Path, opset: int) -> None:
    """To the bit, also where the mean is far above the deviation, which cancels most of a half's digits."""
    proto = with_group_norms(opset, np.float16)
    feeds = {"x": (f32(*SIZE, seed=1) + 20).astype(np.float16)}
    loaded = ir.to_proto(load_model(saved(tmp_path, proto)))
    np.testing.assert_array_equal(run_ort(loaded, feeds)[0], run_ort(proto, feeds)[0])


def test_a_group_normalization_of_unknown_type_is_refused(tmp_path: Path) -> None:
    proto = with_group_norms(18)
    for name in ("c", "s"):
        own = node("Own", [name], [f"{name}_"], domain="my.ops")
        proto.graph.node.insert(1, own)
    for item in proto.graph.node[3:5]:
        item.input[:] = [f"{name}_" if name in ("c", "s") else name for name in item.input]
    proto.opset_import.append(helper.make_opsetid("my.ops", 1))
    with pytest.raises(ModelError, match=r"GroupNormalization \(node 'first'\): the type of its input 'c_' .*export"):
        load_model(saved(tmp_path, proto))


def test_operators_that_are_none_of_onnxs_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tf2onnx leaves them where it knows no translation."""
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    proto = cnn(OPSET)
    load_model(saved(tmp_path, proto))
    assert not caplog.records
    proto.graph.node.append(node("Erfc", ["x"], ["unused"]))
    load_model(saved(tmp_path, proto))
    assert [item.getMessage().partition(";")[0] for item in caplog.records] == ["ONNX has no operator Erfc"]
