"""Large weights stay in their file: what is read, written and run is the whole model, whatever form it came in."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.export.reading import onnx_file as files
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.light import ELSEWHERE, LARGE, RAW_DATA, LightModel, without_weights
from aerocam.export.reading.onnx_file import read_model, write_models
from aerocam.export.sessions import ALIGNMENT, SessionFolder
from aerocam.files import sha256
from aerocam.onnx_metadata import fields, header
from onnx_graphs import model, run_ort

node = helper.make_node
SIDE = 40
KERNEL = np.random.default_rng(0).standard_normal((SIDE, 3, 3, 3)).astype(np.float32)
LINEAR = np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32)
WIDTHS = np.arange(LARGE).reshape(64, -1) % 199
BIAS = np.random.default_rng(2).standard_normal(SIDE).astype(np.float32)
IMAGE = np.random.default_rng(3).standard_normal((1, 3, 6, 6)).astype(np.float32)


def network(opset: int = 17) -> onnx.ModelProto:
    """A convolution, a linear layer; the weights of both are large, the bias is not."""
    nodes = [
        node("Conv", ["x", "kernel"], ["c"], name="conv", pads=[1] * 4),
        node("Relu", ["c"], ["r"], name="relu"),
        node("GlobalAveragePool", ["r"], ["pooled"], name="pool"),
        node("Flatten", ["pooled"], ["flat"], name="flatten"),
        node("Gemm", ["flat", "linear", "bias"], ["y"], name="gemm"),
    ]
    weights = {"kernel": KERNEL, "linear": LINEAR, "bias": BIAS}
    return model(nodes, {"x": np.zeros(IMAGE.shape, np.float32)}, weights, ["y"], opset)


def saved(folder: Path, proto: onnx.ModelProto | bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def test_large_weights_are_references_and_have_their_numbers(tmp_path: Path) -> None:
    read = read_model(saved(tmp_path, network()))
    assert set(read.weights) == {"kernel", "linear"}
    np.testing.assert_array_equal(read.weights["kernel"].numpy(), KERNEL)
    np.testing.assert_array_equal(read.weights["linear"].numpy(), LINEAR)
    stored = {tensor.name: tensor for tensor in read.proto.graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(stored["bias"]), BIAS)
    assert [item.value for item in stored["kernel"].external_data] == [ELSEWHERE]
    assert len(read.proto.SerializeToString()) < 2000 < KERNEL.nbytes


def test_what_is_read_is_written_to_the_bit(tmp_path: Path) -> None:
    proto = network()
    proto.doc_string, proto.graph.doc_string = "of the model", "of the graph"
    proto.graph.initializer[0].doc_string = "of a weight"
    helper.set_model_props(proto, {"author": "me"})
    path = saved(tmp_path, proto)
    write_models({tmp_path / "copy.onnx": read_model(path)})
    assert (tmp_path / "copy.onnx").read_bytes() == path.read_bytes()
    write_models({tmp_path / "copy.onnx": LightModel.of(read_model(path).whole())})
    assert (tmp_path / "copy.onnx").read_bytes() == ir.to_proto(ir.from_proto(proto)).SerializeToString()
    proto.graph.initializer[0].metadata_props.add(key="k", value="v")
    write_models({tmp_path / "copy.onnx": read_model(saved(tmp_path, proto))})
    assert (tmp_path / "copy.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("opset", [9, 11, 17, 18, 20])
def test_a_loaded_model_is_whole(tmp_path: Path, opset: int) -> None:
    proto = network(opset)
    loaded = ir.to_proto(load_model(saved(tmp_path, proto)))
    (before,), (after,) = (run_ort(item, {"x": IMAGE}, optimize=False) for item in (proto, loaded))
    np.testing.assert_array_equal(before, after)


def test_float_data_half_and_whole_numbers(tmp_path: Path) -> None:
    """Other ways to store a tensor, and types that are not kept out, are read as they are."""
    table = np.arange(LARGE, dtype=np.int64)
    tensors = [
        helper.make_tensor("listed", TensorProto.FLOAT, LINEAR.shape, LINEAR.ravel()),
        numpy_helper.from_array(WIDTHS.astype(np.float16), "half"),
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(WIDTHS.astype(np.uint8), "bytes"),
    ]
    proto = network()
    proto.graph.initializer.extend(tensors)
    read = read_model(saved(tmp_path, proto))
    assert set(read.weights) == {"kernel", "linear", "half", "bytes"}
    whole = read.whole().graph.initializers
    np.testing.assert_array_equal(whole["listed"].const_value.numpy(), LINEAR)
    np.testing.assert_array_equal(whole["half"].const_value.numpy(), WIDTHS.astype(np.float16))
    np.testing.assert_array_equal(whole["table"].const_value.numpy(), table)
    np.testing.assert_array_equal(whole["bytes"].const_value.numpy(), WIDTHS.astype(np.uint8))


def test_external_data_become_one_file(tmp_path: Path) -> None:
    proto = network()
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    read = read_model(path)
    assert set(read.weights) == {"kernel", "linear"}
    write_models({tmp_path / "one.onnx": read})
    assert (tmp_path / "one.onnx").read_bytes() == network().SerializeToString()


def test_a_graph_in_two_pieces_is_merged(tmp_path: Path) -> None:
    """Protobuf lets a message be written in parts, one after the other."""
    proto, rest = network(), onnx.ModelProto()
    rest.graph.initializer.append(proto.graph.initializer.pop(0))
    read = read_model(saved(tmp_path, proto.SerializeToString() + rest.SerializeToString()))
    np.testing.assert_array_equal(read.weights["kernel"].numpy(), KERNEL)
    assert [tensor.name for tensor in read.proto.graph.initializer] == ["linear", "bias", "kernel"]


def test_a_weight_of_the_wrong_size_is_not_taken_for_one(tmp_path: Path) -> None:
    proto = network()
    proto.graph.initializer[0].raw_data = KERNEL.tobytes()[:-4]
    path = saved(tmp_path, proto)
    assert set(read_model(path).weights) == {"linear"}
    with pytest.raises(ModelError, match="kernel"):
        export_model(path, layers="r")
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_shrinks_meanwhile_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, network())
    read = read_model(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.onnx: it became shorter while it was read"):
        read.weights["kernel"].numpy()
    path.unlink()
    with pytest.raises(ModelError, match=r"cannot be read any more \(No such file or directory\)"):
        read.weights["kernel"].numpy()


def test_more_than_protobuf_takes_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = network()
    monkeypatch.setattr(files, "MOST_BYTES", proto.ByteSize() - 1)
    with pytest.raises(ModelError, match="over protobuf's 2 GiB"):
        write_models({tmp_path / "out.onnx": read_model(saved(tmp_path, proto))})
    assert not (tmp_path / "out.onnx").exists()
    monkeypatch.setattr(files, "MOST_BYTES", proto.ByteSize())
    write_models({tmp_path / "out.onnx": read_model(tmp_path / "model.onnx")})
    assert (tmp_path / "out.onnx").stat().st_size == proto.ByteSize()


def test_sessions_share_a_weight(tmp_path: Path) -> None:
    path = saved(tmp_path, network())
    with SessionFolder() as sessions:
        folder = Path(sessions._folder.name)
        for read in (read_model(path), read_model(path)):
            (found,) = sessions.open(read).run(["y"], {"x": IMAGE})
            np.testing.assert_array_equal(found, run_ort(network(), {"x": IMAGE})[0])
        assert (folder / "weights").stat().st_size == -(-KERNEL.nbytes // ALIGNMENT) * ALIGNMENT + LINEAR.nbytes
        assert sessions.provider == "CPUExecutionProvider"
    assert not folder.exists()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 1 << 14, 1 << 21])
def test_headers_as_protobuf_writes_them(size: int) -> None:
    written = TensorProto(raw_data=bytes(size)).SerializeToString()
    assert header(RAW_DATA, size) + bytes(size) == written
    (found,) = fields(written, 0, len(written))
    assert found == (RAW_DATA, 2, 0, len(written) - size, len(written))


@pytest.mark.parametrize(
    "data", [b"\x3b", b"\x3a\x05ab", b"\x80" * 11, b"\x3a", b"\x0d\x01"], ids=["group", "short", "long", "cut", "fixed"]
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        without_weights(data)


def test_sha256_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes((1 << 21) + 7)
    assert sha256(saved(tmp_path, data)) == hashlib.sha256(data).hexdigest()


WIDE = 64 << 20
"""Bytes of one weight: what is measured is not lost among the libraries."""

MEASURE = """
import sys, resource
from aerocam.export import export_model
import onnxruntime, onnx.version_converter
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
export_model(sys.argv[1], layers="r")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


@pytest.mark.slow
def test_an_export_takes_little_memory(tmp_path: Path) -> None:
    """Below three times the weights, self-check and all; with copies in protobuf it were ten times."""
    wide = np.random.default_rng(0).standard_normal((WIDE // 4 // SIDE, SIDE)).astype(np.float32)
    proto = network(20)
    proto.graph.node[-1].CopyFrom(node("Gemm", ["flat", "wide"], ["y"], name="gemm", transB=1))
    del proto.graph.initializer[1:]
    proto.graph.initializer.append(numpy_helper.from_array(wide, "wide"))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(wide)
    call = [sys.executable, "-c", MEASURE, str(saved(tmp_path, proto))]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(done.stdout) * unit < 3 * WIDE
