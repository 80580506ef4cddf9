"""What is asked of an export: what fits no model is refused before one is read."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from aerocam.errors import UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.request import Ends, ExportRequest, Files, Fused, Score, Walk

PARTS = {"score": Score, "walk": Walk, "fused": Fused, "ends": Ends, "files": Files}


def test_every_parameter_of_export_model_is_one_field_with_the_same_default() -> None:
    asked = {name: item.default for name, item in inspect.signature(export_model).parameters.items()}
    own = [field for field in dataclasses.fields(ExportRequest) if field.name not in PARTS]
    fields = [*own, *(field for part in PARTS.values() for field in dataclasses.fields(part))]
    assert len(fields) == len({field.name for field in fields})
    known = {field.name: field.default for field in fields}
    assert {**known, "path": asked["path"]} == asked


def test_a_request_has_each_value_in_its_part(tmp_path: Path) -> None:
    request = ExportRequest.of(tmp_path / "m.onnx", targets=3, layers="a", head="gradcam", frame=(4, 6), batch=None)
    expected = (Score(targets=3), Walk("a"), Fused("gradcam"), Ends((4, 6)), Files())
    assert (request.score, request.walk, request.fused, request.ends, request.files) == expected
    assert request.walk.names == ["a"]
    assert ExportRequest.of(tmp_path / "m.onnx", layers=["a", "b"], verbose=True).walk.names == ["a", "b"]


def test_where_files_are_written(tmp_path: Path) -> None:
    beside = ExportRequest.of(tmp_path / "m.onnx").paths
    assert [path.name for path in beside] == ["m.cam.onnx", "m.cam.explain.onnx", "m.cam.tail.onnx"]
    assert {path.parent for path in beside} == {tmp_path}
    other = ExportRequest.of(tmp_path / "m.onnx", str(tmp_path / "b.ONNX")).paths
    assert [path.name for path in other] == ["b.ONNX", "b.explain.onnx", "b.tail.onnx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "detecting"}, "`task='detecting'`: no such task. Did you mean 'detect'?"),
        ({"task": "detect", "layout": "x"}, "`layout='x'`: no such layout. Known: 'yolov8', "),
        ({"contrast": "fine"}, "`contrast='fine'`: no such contrast. Did you mean 'finer'"),
        ({"head": "GradCam"}, "`head='GradCam'`: no such fused method. Did you mean 'gradcam'"),
        ({"head": 3}, "`head=3`: no such fused method. "),
        (
            {"head": "rise"},
            "`head='rise'`: it cannot be fused, as it runs the whole model many times, which is no part",
        ),
        ({"map_form": "image"}, "`map_form='image'`: no such form of a map. Known: 'raw', 'layer', 'frame'."),
        ({"packaging": "two"}, "`packaging='two'`: no such packaging. Known: 'fused', 'split'."),
        ({"destination": "trt"}, "`destination='trt'`: no such destination. Did you mean 'tensorrt'?"),
        ({"precision": "fp16"}, "`precision='fp16'`: no such precision. Did you mean 'float16'?"),
        ({"targets": 0}, "`targets=0`: 1 or more is expected"),
        ({"frame": (480,), "head": "gradcam"}, "`frame=(480,)`: height and width in px are expected"),
        ({"frame": (480, 0)}, "`frame=(480, 0)`: height and width in px are expected"),
        ({"packaging": "split", "head": "gradcam", "batch": 3}, "`batch=3`: it takes the layer's activations"),
        ({"layout": "ssd", "task": "classify"}, "`layout='ssd'`: a layout is one of a detector's"),
        ({"overlay": True, "frame": (8, 8)}, "`overlay`: no fused head, whose map that would be"),
        ({"guided": True, "head": "gradcam"}, "`guided`: not with `head='gradcam'`"),
    ],
)
def test_what_fits_no_model_is_refused_without_one(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        export_model(tmp_path / "absent.onnx", **options)
    assert str(refused.value).startswith(message)


def test_the_list_of_layers_is_asked_for_by_the_same_rules(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`task='regres'`: no such task\. Did you mean 'regress'"):
        list_layers(tmp_path / "absent.onnx", task="regres")  # type: ignore[arg-type]
