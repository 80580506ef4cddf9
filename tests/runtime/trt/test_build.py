"""`aerocam build` with NVIDIA's own parser and builder, TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import exported_models
import tiny_models
from aerocam import manifest
from aerocam.errors import AerocamError, EngineError, ManifestError, MissingDependencyError, ModelError, UsageError
from aerocam.files import sha256
from aerocam.onnx_metadata import read_manifest
from aerocam.runtime.trt.building import build_engines
from aerocam.runtime.trt.engine_file import BuildSettings, read_record
from aerocam.runtime.trt.jobs import needs_float32
from rtx import rtx

RTX = rtx()
SM86 = {"compute_capability": "8.6"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small exported model in a folder of its own."""
    path = tmp_path / "model.cam.onnx"
    shutil.copy(tiny_models.model("stretch"), path)
    return path


def changed(model: Path, change: Any) -> Path:
    """The model after `change` of its graph."""
    proto = onnx.load(model)
    change(proto.graph)
    onnx.save(proto, model)
    return model


def with_output(graph: onnx.GraphProto, node: onnx.NodeProto, dtype: int, shape: list[int]) -> None:
    """Append a node whose last output leaves the graph."""
    graph.node.append(node)
    graph.output.append(helper.make_tensor_value_info(node.output[-1], dtype, shape))


def test_an_engine_and_what_it_is(model: Path) -> None:
    (built,) = build_engines(model, **SM86)
    assert built.path == model.with_name("model.cam.engine")
    record = read_record(built.path)
    assert record == built.record
    graph = onnx.load(model).graph
    expected = [
        (v.name, mode, helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name, shape(v))
        for mode, values in (("input", graph.input), ("output", graph.output))
        for v in values
    ]
    assert [(t.name, t.mode, t.dtype, t.shape) for t in record.tensors] == expected
    assert {t.dtype for t in record.tensors} == {"float32", "int32"}
    assert (record.bindings, record.tensorrt, record.compute_capability) == ("tensorrt_rtx", RTX.__version__, "8.6")
    assert (record.model, record.model_sha256, record.device) == ("model.cam.onnx", sha256(model), "")
    assert record.manifest == read_manifest(model)
    assert built.path.stat().st_size == record.plan_bytes > 1000
    assert built.path.read_bytes()[:4] in (b"vtrt", b"ftrt", b"trtv")
    assert built.computed_in == ("float32",)
    assert built.inspection is None


def shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Of an input or output."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def test_the_settings_change_the_engine(model: Path) -> None:
    """The plan of another GPU is another one, that of the same is the same."""
    plans = []
    for capability in ("8.6", "12.0", "8.6"):
        (built,) = build_engines(model, compute_capability=capability)
        plans.append(built.path.read_bytes())
        assert read_record(built.path).compute_capability == capability
    assert plans[0] == plans[2] != plans[1]


def test_weights_beside_the_file_are_found(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (inside,) = build_engines(model, **SM86)
    plan = inside.path.read_bytes()
    onnx.save(onnx.load(model), model, save_as_external_data=True, size_threshold=0, location="weights.bin")
    assert (tmp_path / "weights.bin").is_file()
    monkeypatch.chdir("/")
    (outside,) = build_engines(model, **SM86)
    assert outside.layers == inside.layers
    assert abs(len(outside.path.read_bytes()) - len(plan)) < 1000


@pytest.fixture(scope="module")
def split_folder() -> Path:
    return exported_models.folder()


@pytest.fixture
def split(split_folder: Path, tmp_path: Path) -> Path:
    """The first of a split model's three files."""
    for path in split_folder.glob("tail.features.cam*.onnx"):
        shutil.copy(path, tmp_path)
    return tmp_path / exported_models.TAIL


def test_a_split_model_becomes_three_engines_that_know_each_other(split: Path) -> None:
    done = build_engines(split, **SM86)
    names = ["tail.features.cam.engine", "tail.features.cam.explain.engine", "tail.features.cam.tail.engine"]
    assert [built.path.name for built in done] == names
    records = [read_record(split.with_name(name)) for name in names]
    assert [record.model for record in records] == [name.replace(".engine", ".onnx") for name in names]
    (told,) = {record.manifest for record in records}
    assert told.split is not None
    assert (told.split.explain, told.split.tail) == tuple(names[1:])
    assert manifest.BATCH in [tensor.name for tensor in records[2].tensors]
    assert manifest.BATCH not in [tensor.name for record in records[:2] for tensor in record.tensors]


def test_the_engines_of_a_split_model_under_another_name(split: Path, tmp_path: Path) -> None:
    build_engines(split, tmp_path / "b.plan", **SM86)
    assert sorted(path.name for path in tmp_path.glob("b.*")) == [
        "b.explain.plan", "b.explain.plan.json", "b.plan", "b.plan.json", "b.tail.plan", "b.tail.plan.json"
    ]  # fmt: skip
    told = read_record(tmp_path / "b.plan").manifest.split
    assert told is not None
    assert (told.explain, told.tail) == ("b.explain.plan", "b.tail.plan")


def refused_by_the_parser(graph: onnx.GraphProto) -> None:
    """A pool with indices, which no TensorRT takes."""
    node = helper.make_node("MaxPool", ["images"], ["half", "half_places"], name="with indices", kernel_shape=[2, 2])
    with_output(graph, node, onnx.TensorProto.INT64, [1, 3, 31, 47])


def refused_by_the_builder(graph: onnx.GraphProto) -> None:
    """More than the 3840 largest, which the parser takes."""
    graph.initializer.append(helper.make_tensor("rows", onnx.TensorProto.INT64, [2], [1, -1]))
    graph.initializer.append(helper.make_tensor("many", onnx.TensorProto.INT64, [1], [4000]))
    graph.node.append(helper.make_node("Reshape", ["images", "rows"], ["all_values"]))
    node = helper.make_node("TopK", ["all_values", "many"], ["largest", "largest_places"], name="too many")
    with_output(graph, node, onnx.TensorProto.INT64, [1, 4000])


def dynamic(graph: onnx.GraphProto) -> None:
    """Frames of any number."""
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (refused_by_the_parser, r"node 'with indices' \(MaxPool\): .*outputs for MaxPool.*`destination='tensorrt'`"),
        (refused_by_the_builder, r"builds no engine of it: .*3840.*`destination='tensorrt'`"),
        (dynamic, r"input 'images' has the shape \(-1, 3, 32, 48\), a static one is expected"),
    ],
)
def test_models_that_tensorrt_does_not_take(model: Path, change: Any, said: str) -> None:
    changed(model, change)
    with pytest.raises(EngineError, match=said) as raised:
        build_engines(model, **SM86)
    assert str(model) in str(raised.value)
    assert list(model.parent.iterdir()) == [model]


def test_every_error_of_the_parser_is_said(model: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        refused_by_the_parser(graph)
        node = helper.make_node("Det", ["square"], ["det"], name="det of it")
        with_output(graph, node, onnx.TensorProto.FLOAT, [])
        values = np.eye(3, dtype=np.float32).ravel()
        graph.initializer.append(helper.make_tensor("square", onnx.TensorProto.FLOAT, [3, 3], values))

    with pytest.raises(EngineError, match=r"'with indices' \(MaxPool\).*; node 'det of it' \(Det\)"):
        build_engines(changed(model, change), **SM86)


def test_all_engines_or_none(split: Path) -> None:
    changed(split.with_name("tail.features.cam.tail.onnx"), broken_tail)
    before = sorted(split.parent.iterdir())
    with pytest.raises(EngineError, match=r"tail.features.cam.tail.onnx: the parser"):
        build_engines(split, **SM86)
    assert sorted(split.parent.iterdir()) == before


def broken_tail(graph: onnx.GraphProto) -> None:
    """A tail with an operator that the parser does not take."""
    node = helper.make_node("NonZero", [manifest.BATCH], ["places"], name="not zero")
    graph.node.append(node)
    graph.output.append(helper.make_tensor_value_info("places", onnx.TensorProto.INT64, [4, "n"]))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("tail.features.cam.explain.onnx", UsageError, "it explains only; give the file beside it"),
        ("tail.features.cam.tail.onnx", UsageError, "it explains only; give the file beside it"),
    ],
)
def test_half_a_model(split: Path, name: str, kind: type[AerocamError], said: str) -> None:
    with pytest.raises(kind, match=said):
        build_engines(split.with_name(name), **SM86)


def test_halves_that_are_absent_or_of_another_export(split: Path) -> None:
    half = split.with_name("tail.features.cam.explain.onnx")
    shutil.copy(tiny_models.model("stretch"), half)
    with pytest.raises(ManifestError, match=r"explain.onnx: it is not of the same export as tail.features.cam.onnx"):
        build_engines(split, **SM86)
    half.unlink()
    with pytest.raises(ModelError, match=r"explain\.onnx: no such file"):
        build_engines(split, **SM86)


def test_files_that_are_no_exported_model(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(ModelError, match=r"text.onnx: not an ONNX file, or a truncated one"):
        build_engines(tmp_path / "text.onnx", **SM86)
    with pytest.raises(ManifestError, match=r"carries no aerocam manifest.*run: aerocam export"):
        build_engines(tiny_models.model("no_manifest"), tmp_path / "a.engine", **SM86)
    with pytest.raises(ModelError, match=r"absent.onnx: no such file"):
        build_engines(tmp_path / "absent.onnx", **SM86)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("absent/a.engine", "there is no folder .*absent"),
        ("a.onnx", "found the suffix '.onnx', expected one of"),
    ],
)
def test_where_no_engine_can_go(model: Path, output: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_engines(model, model.parent / output, **SM86)


def test_an_engine_does_not_take_its_model_s_name(model: Path) -> None:
    misnamed = model.rename(model.with_name("model.engine"))
    content = misnamed.read_bytes()
    with pytest.raises(UsageError, match="the engine would take the model's own name"):
        build_engines(misnamed, **SM86)
    assert misnamed.read_bytes() == content


def test_what_tf32_would_spoil_is_said(model: Path) -> None:
    plain = read_manifest(model)
    assert needs_float32(plain) is None
    head = manifest.Head("cfcam", manifest.MAP)
    assert needs_float32(dataclasses.replace(plain, head=head)) == "the clustering of CF-CAM"
    assert plain.preprocess is not None
    frames = dataclasses.replace(plain.preprocess, frame=(720, 1280))
    assert needs_float32(dataclasses.replace(plain, preprocess=frames)) == "the preprocessing of frames"


def test_a_folder_by_the_engine_s_name(model: Path) -> None:
    (model.parent / "a.engine").mkdir()
    with pytest.raises(UsageError, match="that is a folder"):
        build_engines(model, model.parent / "a.engine", **SM86)


def test_a_folder_that_takes_no_files(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the system's answer is put in its place."""
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (model.parent, os.W_OK))
    with pytest.raises(AerocamError, match="nothing can be written to the folder"):
        build_engines(model, **SM86)


@pytest.mark.parametrize(
    ("capability", "kind", "said"),
    [
        (None, EngineError, r"give `compute_capability` \(of 7.5, 8.0, 8.6, 8.9.*none can be asked here: "),
        ("8.7", UsageError, r"`compute_capability='8.7'`: tensorrt_rtx .* builds for 7.5, 8.0, 8.6"),
        ("ampere", UsageError, "`compute_capability='ampere'`"),
    ],
)
def test_which_gpu(model: Path, capability: str | None, kind: type[AerocamError], said: str) -> None:
    with pytest.raises(kind, match=said):
        build_engines(model, compute_capability=capability)


def test_float16_is_the_exporter_s_to_write(model: Path) -> None:
    with pytest.raises(EngineError, match=r"no builder flag FP16; export the model with .*`precision='float16'`"):
        build_engines(model, settings=BuildSettings(precision="float16"), **SM86)


def test_an_engine_for_later_versions_takes_a_library_that_is_not_here(model: Path) -> None:
    with pytest.raises(EngineError, match=r"libnvinfer_lean.*leave out `version_compatible`, or install"):
        build_engines(model, settings=BuildSettings(version_compatible=True), **SM86)


def test_without_tensorrt(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"TensorRT: it .*python3-libnvinfer"):
        build_engines(model, **SM86)


def test_stopping_ends_the_build_and_leaves_nothing(model: Path) -> None:
    asked = []

    def stopped() -> bool:
        asked.append(threading.current_thread())
        return len(asked) > 2

    with pytest.raises(KeyboardInterrupt):
        build_engines(model, stopped=stopped, **SM86)
    assert len(asked) > 2  # the builder asked at its steps
    assert list(model.parent.iterdir()) == [model]


def test_a_builder_that_measures_nothing_keeps_nothing(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "aerocam"):
        build_engines(model, cache_folder=tmp_path / "kept", **SM86)
    assert f"no timing cache: tensorrt_rtx {RTX.__version__} measures no kernels while it builds" in caplog.messages
    assert not (tmp_path / "kept").exists()
