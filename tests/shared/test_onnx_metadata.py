"""A manifest out of an ONNX file without onnx: as onnx itself reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import exported_models
from aerocam import manifest
from aerocam.errors import ManifestError, ModelError
from aerocam.manifest import Manifest
from aerocam.onnx_metadata import read_manifest, read_metadata
from tiny_models import model

EXPORTED = [exported_models.TENSORS, exported_models.FUSED, exported_models.SMALL, exported_models.TAIL]


def by_onnx(path: Path) -> dict[str, str]:
    """What onnx reads."""
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_models(name: str) -> None:
    path = exported_models.folder() / name
    found = read_metadata(path)
    assert found == by_onnx(path)
    assert read_manifest(str(path)) == Manifest.from_json(by_onnx(path)[manifest.KEY], "onnx")


def saved(path: Path, entries: dict[str, str], weights: int = 3) -> Path:
    """A model with these entries, and a weight that holds bytes which look like some."""
    tensor = numpy_helper.from_array(np.full(weights, 0x72, np.uint8), "weight")
    value = helper.make_tensor_value_info("x", TensorProto.UINT8, [weights])
    graph = helper.make_graph([], "graph", [], [value], [tensor], doc_string="r\x05\n\x01a\x12\x00")
    proto = helper.make_model(graph)
    helper.set_model_props(proto, entries)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"a": ""},
        {"": "without a key"},
        {"ключ": "значение", "names": "{0: 'person', 1: 'é'}"},
        {"long": "x" * 70_000, "b": "2"},
    ],
)
def test_any_entries(tmp_path: Path, entries: dict[str, str]) -> None:
    path = saved(tmp_path / "model.onnx", entries, 40_000)
    assert read_metadata(path) == entries == by_onnx(path)


def test_a_model_without_a_manifest() -> None:
    with pytest.raises(ManifestError, match=r"it carries no aerocam manifest.*run: aerocam export .*no_manifest\.onnx"):
        read_manifest(model("no_manifest"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx: no such file"):
        read_metadata(tmp_path / "absent.onnx")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="not an ONNX file, or a truncated one"):
        read_metadata(path)
    path.write_text("this is not a model")
    with pytest.raises(ModelError, match="not an ONNX file, or a truncated one"):
        read_metadata(path)
    content = model("stretch").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="not an ONNX file, or a truncated one"):
        read_metadata(path)
