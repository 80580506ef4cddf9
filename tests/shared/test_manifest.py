"""The contract between the halves: what is written is read back, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from aerocam.errors import ManifestError
from aerocam.manifest import SCHEMA, Head, Layer, Manifest, Preprocess, Score, Source, Split

SMALL = Manifest(
    task="classify",
    layers=(Layer("relu", "spatial", (1, 6, 8, 8), "relu", "aerocam_gradients_0"),),
    score=Score("y", "none", 3),
    preprocess=Preprocess("x", (8, 8)),
    source=Source("0f" * 32, "model.onnx", 17, ""),
)
FULL = Manifest(
    task="detect",
    layers=(
        Layer("model.15/Concat", "spatial", (1, 64, 80, 80), None, None),
        Layer("Größe", "spatial", (1, 128, 40, 40), "a", None, rule="guided"),
    ),
    score=Score("output0", "sigmoid", 2, class_offset=4, anchors=8400),
    preprocess=Preprocess("images", (640, 480), "GRAY", "crop", 700, "cubic", (127.5,), (2.0,), 0, frame=(720, 1280)),
    source=Source("a", "b", 9, "pytorch 1.0"),
    head=Head("gradcam", "aerocam_map", "frame", "aerocam_overlay"),
    labels=("Straße", '"quoted"'),
    seed_scale=1024.0,
    aerocam="1.2.3",
)


@pytest.mark.parametrize("written", [SMALL, FULL], ids=["small", "full"])
def test_what_is_written_is_read_back(written: Manifest) -> None:
    text = written.to_json()
    assert Manifest.from_json(text, "file") == written
    assert json.loads(text)["schema"] == SCHEMA
    assert "Stra\\u00dfe" not in text


def test_numbers_that_json_shortens_come_back_as_floats() -> None:
    text = SMALL.to_json().replace("255.0", "255").replace('"seed_scale": 1.0', '"seed_scale": 1')
    found = Manifest.from_json(text, "file")
    assert found == SMALL
    assert all(type(value) is float for value in (*found.preprocess.std, found.seed_scale))


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/passwd", "a\\b", "..", "", "a\0b"])
@pytest.mark.parametrize("which", ["explain", "tail"])
def test_a_split_names_files_in_its_own_folder(which: str, name: str) -> None:
    data = json.loads(dataclasses.replace(SMALL, split=Split("b", ("relu",), "c", 4)).to_json())
    data["split"][which] = name
    with pytest.raises(ManifestError, match=r"split names .*, the name of a file in the model's own folder"):
        Manifest.from_json(json.dumps(data), "file")


def test_planes_fill_and_shown_fit() -> None:
    (layer,), rule = SMALL.layers, SMALL.preprocess
    assert rule is not None
    with pytest.raises(ManifestError, match="layer 'relu' has 8 rows for 3 planes"):
        dataclasses.replace(SMALL, layers=(dataclasses.replace(layer, planes=3),))
    with pytest.raises(ManifestError, match=r"fill is 256, levels are 0 to 255"):
        dataclasses.replace(SMALL, preprocess=dataclasses.replace(rule, fill=256))
    bands = dataclasses.replace(rule, color="BANDS", shown=(0, 1, 3))
    with pytest.raises(ManifestError, match=r"shown is \(0, 1, 3\), channels 0 to 2"):
        dataclasses.replace(SMALL, preprocess=bands)


def test_defaults_may_be_absent() -> None:
    data = json.loads(SMALL.to_json())
    for name in ("head", "labels", "seed_scale", "precision", "aerocam"):
        del data[name]
    del data["score"]["anchors"], data["layers"][0]["rule"]
    assert Manifest.from_json(json.dumps(data), "file") == SMALL


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("task",), "paint", r"manifest\.task is 'paint', expected 'classify'"),
        (("layers",), {}, r"manifest\.layers is \{\}, expected tuple"),
        (("layers",), [], "names no target layer, at least one"),
        (("layers", 0), "relu", r"manifest\.layers\[0\] is 'relu', an object was expected"),
        (("layers", 0, "shape", 1), 6.5, r"manifest\.layers\[0\]\.shape\[1\] is 6\.5, expected int"),
        (("layers", 0, "kind"), "pixels", r"layers\[0\]\.kind is 'pixels', expected 'spatial'"),
        (("layers", 0, "activations"), 3, r"layers\[0\]\.activations is 3, expected str"),
        (("layers", 0, "rule"), "lrp", r"layers\[0\]\.rule is 'lrp', expected 'gradient' or 'guided' or 'rel"),
        (("score", "classes"), True, r"score\.classes is True, expected int"),
        (("score", "classes"), "3", r"score\.classes is '3', expected int"),
        (("preprocess", "size"), [8], r"preprocess\.size has 1 values, expected 2"),
        (("preprocess", "mean"), [0.0], r"preprocess\.mean has 1 values, RGB has 3 channels"),
        (("preprocess", "std"), [1.0, 1.0], r"preprocess\.std has 2 values, RGB has 3 channels"),
        (("preprocess", "mean", 0), "0", r"preprocess\.mean\[0\] is '0', expected float"),
        (("preprocess", "color"), "RGBA", r"color is 'RGBA', expected 'RGB' or 'BGR' or 'GRAY'"),
        (("preprocess", "frame"), [720], r"preprocess\.frame has 1 values, expected 2"),
        (("preprocess", "frame"), "720x1280", r"preprocess\.frame is '720x1280', expected"),
        (("head",), "gradcam", r"manifest\.head is 'gradcam', an object was expected"),
        (("labels",), ["a", "b"], "2 labels for 3 classes; give one label per class"),
        (("seed_scale",), None, r"seed_scale is None, expected float"),
        (("colour",), "red", r"manifest has unknown colour; expected task, layers"),
        (("score", "offset"), 4, r"manifest\.score has unknown offset"),
        (("score", "targets"), 0, r"score\.targets is 0, expected 1 to 65536"),
        (("score", "class_axis"), 2**31, r"score\.class_axis is 2147483648, expected 0 to 7"),
        (("score", "anchors"), -1, r"score\.anchors is -1, expected 0 to 2147483647"),
        (("score", "unit"), 0, r"score\.unit is 0\.0, expected 1e-30 to"),
        (("preprocess", "size", 1), -64, r"preprocess\.size\[1\] is -64, expected 1 to 32768"),
        (("preprocess", "std", 2), -1, r"preprocess\.std\[2\] is -1\.0, expected 1e-30 to"),
        (("preprocess", "mean", 2), 1e308, r"preprocess\.mean\[2\] is 1e\+308, expected -1e\+30 to"),
        (("preprocess", "fill"), 10**400, "not JSON .a whole number of 401 digits"),
        (("layers", 0, "shape", 0), 2, r"shape\[0\] is 2, expected 1 to 1;"),
        (("seed_scale",), float("nan"), "not JSON .NaN, which is no finite number"),
        (
            ("labels",),
            [["deep"] * 9] * 9,
            r"labels\[0\] is \['deep', 'deep', 'deep', 'deep', 'deep', 'deep', \.\.\.\], ex",
        ),
        (("schema",), SCHEMA + 1, rf"schema {SCHEMA + 1}, this aerocam reads {SCHEMA}"),
        (("schema",), None, "schema None"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(place: tuple[Any, ...], value: Any, message: str) -> None:
    data: Any = json.loads(SMALL.to_json())
    at = data
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.from_json(json.dumps(data), "some.onnx")
    assert str(caught.value).startswith("some.onnx: ")


@pytest.mark.parametrize("name", ["task", "layers", "score", "preprocess", "source"])
def test_a_missing_field_is_named(name: str) -> None:
    data = json.loads(SMALL.to_json())
    del data[name]
    with pytest.raises(
        ManifestError, match=f"some.onnx: manifest has no {name}; expected task, .*export the model aga"
    ):
        Manifest.from_json(json.dumps(data), "some.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not JSON"), ("[" * 100_000, "deeper"), ("{", "not JSON"), ("[]", "schema None"), ("3", "schema")],
)
def test_what_is_no_manifest_is_refused(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=f"some.onnx: .*{message}"):
        Manifest.from_json(text, "some.onnx")


def test_a_manifest_that_cannot_be_is_not_made() -> None:
    with pytest.raises(ManifestError, match="1 labels for 3 classes"):
        dataclasses.replace(SMALL, labels=("a",))
