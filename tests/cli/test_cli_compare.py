"""`aerocam compare`: two versions of a network on a video, on pictures, and what cannot be compared."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam.benchmarks.comparison.curve import curve
from aerocam.benchmarks.comparison.pair import summary
from aerocam.manifest import KEY, Manifest
from aerocam.runtime import Explainer
from runtime_fixtures import EVIL, moving_square, picture, run_cli, write_video
from tiny_models import model

A, B = "a.onnx", "b.onnx"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own with two models and a video."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(model("stretch"), A)
    shutil.copy(model("stretch"), B)
    write_video(Path("in.avi"), moving_square(30))


def shifted(source: Path, target: str, columns: int) -> None:
    """The model with its activations moved to the right by whole positions, which come in on the left again."""
    proto = onnx.load(source)
    (props,) = (one.value for one in proto.metadata_props if one.key == KEY)
    layer = Manifest.from_json(props, str(source)).layers[0]
    inner = f"{layer.activations}.still"
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [inner if name == layer.activations else name for name in names]
    for name, values in (("first", [0]), ("split", [-columns]), ("last", [1 << 30]), ("axis", [3])):
        proto.graph.initializer.append(helper.make_tensor(f"shift.{name}", onnx.TensorProto.INT64, [1], values))
    proto.graph.node.extend(
        [
            helper.make_node("Slice", [inner, "shift.split", "shift.last", "shift.axis"], ["shift.right"]),
            helper.make_node("Slice", [inner, "shift.first", "shift.split", "shift.axis"], ["shift.left"]),
            helper.make_node("Concat", ["shift.right", "shift.left"], [str(layer.activations)], axis=3),
        ]
    )
    onnx.save(proto, target)


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/frames.jsonl").read_text().splitlines()]


def read_summary() -> dict[str, Any]:
    return json.loads(Path("out/summary.json").read_text())  # type: ignore[no-any-return]


def compare(*arguments: str) -> int:
    return run_cli("compare", A, B, "-o", "out", *arguments)


def test_a_network_and_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert compare("--source", "in.avi") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["frames.jsonl", "report.html", "summary.json"]
    found = records()
    assert [one["frame"] for one in found] == list(range(30))
    assert found[10]["time"] == 0.5
    assert {one["target"]["label"] for one in found} == {"red"}
    for one in found:
        assert (one["correlation"], one["overlap"], one["shift"]) == (pytest.approx(1), 1, 0)
        assert one["top_agrees"]
        assert one["score_a"] == one["score_b"]
    assert read_summary()["shift"] == {
        "mean": 0, "worst": 0, "quartile_1": 0, "median": 0, "quartile_3": 0, "frames": 30,
    }  # fmt: skip
    out, err = capfd.readouterr()
    assert out == ""
    assert (
        err
        == f"30 frames -> {Path('out', 'report.html')}: correlation 1.000 (worst 1.000), shift 0.000 (worst 0.000) px\n"
    )


def test_a_map_that_is_moved() -> None:
    """By two positions of 4 px of the tensor, which are 8 px of the frame each, twice as large."""
    shifted(model("stretch"), B, 2)
    Path("frames").mkdir()
    for number, left in enumerate((16, 32, 64)):
        cv2.imwrite(f"frames/{number}.png", picture((64, 96), (16, left, 32, left + 16)))
    assert compare("--source", "frames", "--box", "16,16,32,32") == 0
    found = records()
    assert [Path(one["name"]).name for one in found] == ["0.png", "1.png", "2.png"]
    assert [one["shift"] for one in found] == pytest.approx([16, 16, 16], abs=0.3)
    assert all(one["correlation"] < 0.2 for one in found)
    ramp = 0.5 * 4 / 2  # linear interpolation falls from 1/2 to 0 over the 4 px outside each edge
    assert found[0]["inside_a"] == pytest.approx(((16 - 2 * ramp) / 16) ** 2, abs=0.02)
    assert found[0]["inside_b"] == pytest.approx(found[1]["inside_a"], abs=0.05)
    assert found[0]["inside_change"] == found[0]["inside_b"] - found[0]["inside_a"]
    assert read_summary()["inside_a"]["worst"] == min(one["inside_a"] for one in found)


def test_one_target_for_both() -> None:
    """A's, where B has another top class; or the one that is asked for."""
    proto = onnx.load(B)
    (weights,) = (one for one in proto.graph.initializer if list(one.dims) in ([4, 3], [3, 4]))
    array = onnx.numpy_helper.to_array(weights)
    flipped = array[[1, 0, 2, 3]] if array.shape == (4, 3) else array[:, [1, 0, 2, 3]]
    weights.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(flipped), weights.name))
    onnx.save(proto, B)
    assert compare("--source", "in.avi", "--every", "10") == 0
    assert [one["frame"] for one in records()] == [0, 10, 20]
    assert {(one["target"]["label"], one["top_a"]["label"], one["top_b"]["label"]) for one in records()} == {
        ("red", "red", "green")
    }
    assert read_summary()["top_class_agreement"] == 0
    assert compare("--source", "in.avi", "--max-frames", "2", "--target", "green") == 0
    assert [one["target"]["label"] for one in records()] == ["green"] * 2


def test_what_neither_network_sees_does_not_count() -> None:
    """The crop leaves the frame's sides out, where both maps are 0: not a likeness of the networks."""
    shutil.copy(model("crop"), A)
    shifted(model("crop"), B, 1)
    pixels = picture((64, 192), (16, 80, 32, 96))
    Path("frames").mkdir()
    cv2.imwrite("frames/0.png", pixels)
    assert compare("--source", "frames") == 0
    with Explainer(A) as first, Explainer(B) as second:
        a, b = first(pixels), second(pixels)
    top, left, bottom, right = a.placement.region
    assert left > 40
    inside = np.corrcoef(a.map[0, top:bottom, left:right].ravel(), b.map[0, top:bottom, left:right].ravel())[0, 1]
    assert records()[0]["correlation"] == pytest.approx(inside)
    assert np.corrcoef(a.map[0].ravel(), b.map[0].ravel())[0, 1] > inside + 0.01


def test_the_box_of_a_detector_is_its_own() -> None:
    for name in (A, B):
        shutil.copy(model("detect"), name)
    assert compare("--source", "in.avi", "--max-frames", "3") == 0
    for one in records():
        assert one["target"]["anchor"] is not None
        assert one["box"][0] < one["box"][2]
        assert 0 < one["inside_a"] == one["inside_b"] <= 1


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_report_holds_everything_itself() -> None:
    shifted(model("stretch"), B, 2)
    assert compare("--source", "in.avi", "--box", "0,0,48,64", "--show", "2") == 0
    text = Path("out/report.html").read_text()
    tags = Page(text).tags
    assert sum(tag == "svg" for tag, _ in tags) == 4
    assert sum(tag == "article" for tag, _ in tags) == 2
    pictures = [given["src"] or "" for tag, given in tags if tag == "img"]
    assert len(pictures) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert not [tag for tag, given in tags if tag in ("script", "link") or "href" in given or "onload" in given]
    furthest = max(records(), key=lambda one: one["shift"])
    assert f"frame {furthest['frame']}: red" in text
    assert "default-src 'none'" in text


def test_names_are_no_markup() -> None:
    for name in (A, B):
        proto = onnx.load(name)
        (entry,) = (one for one in proto.metadata_props if one.key == KEY)
        manifest = json.loads(entry.value)
        manifest["labels"] = [EVIL, *manifest["labels"][1:]]
        entry.value = json.dumps(manifest)
        onnx.save(proto, name)
    assert compare("--source", "in.avi", "--max-frames", "1") == 0
    assert EVIL not in Path("out/report.html").read_text()
    assert records()[0]["target"]["label"] == EVIL


def test_a_picture_whose_name_is_no_text_is_compared() -> None:
    Path("frames").mkdir()
    cv2.imwrite("frames/x.png", picture((32, 48), (0, 0, 16, 24)))
    try:
        os.rename("frames/x.png", os.fsdecode(b"frames/\xff.png"))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    assert compare("--source", "frames") == 0
    assert [one["name"] for one in records()] == ["frames/?.png"]


@pytest.mark.parametrize(
    ("second", "arguments", "code", "message"),
    [
        ("detect", [], 2, "b.onnx: its task is detect, that of a.onnx is classify; compare two versions"),
        ("head", ["--method", "eigencam"], 2, "eigencam"),
        ("activations", ["--method", "gradcam"], 2, "gradients"),
        ("no_manifest", [], 1, "it carries no aerocam manifest"),
        ("stretch", ["--source", "absent.mp4"], 1, "absent.mp4: there is no such video"),
        ("stretch", ["--source", "empty"], 2, "found no picture in this folder"),
        ("stretch", ["--source", "bad"], 1, "bad/x.png"),
        ("stretch", ["--box", "1,2,3"], 2, "--box 1,2,3: four numbers are expected"),
        ("stretch", ["--box", "9,2,3,4"], 2, "--box 9,2,3,4: four numbers are expected"),
        ("stretch", ["--target", "red,blue"], 2, "--target red,blue: found 2 classes, one is expected"),
        ("stretch", ["--target", "pink"], 2, "pink"),
        ("stretch", ["--every", "0"], 2, "--every: got 0"),
        ("stretch", ["--show", "0"], 2, "--show: got 0"),
    ],
)
def test_one_line_and_no_file(
    second: str, arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(model(second), B)
    Path("empty").mkdir()
    Path("bad").mkdir()
    Path("bad/x.png").write_text("no picture")
    assert compare(*(arguments if "--source" in arguments else ["--source", "in.avi", *arguments])) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("aerocam compare: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out").exists() or not list(Path("out").iterdir())


@pytest.mark.parametrize("change", ["labels", "classes", "method"])
def test_networks_that_differ(change: str, capfd: pytest.CaptureFixture[str]) -> None:
    if change == "classes":
        for path in (A, B):
            shutil.copy(model("detect"), path)
    proto = onnx.load(B)
    (entry,) = (one for one in proto.metadata_props if one.key == KEY)
    manifest = json.loads(entry.value)
    if change == "labels":
        manifest["labels"][1] = "emerald"
        expected = "b.onnx: its class 1 is 'emerald', in a.onnx 'green'; the same classes are expected"
    elif change == "classes":
        manifest["score"]["classes"], manifest["labels"] = 3, manifest["labels"][:3]
        expected = "b.onnx: it has 3 classes, a.onnx has 4; the same classes are expected"
    else:
        proto = onnx.load(model("head"))
        expected = "one method is expected for both"
        shutil.copy(model("relevance"), A)
    if change != "method":
        entry.value = json.dumps(manifest)
    onnx.save(proto, B)
    assert compare("--source", "in.avi") == 2
    err = capfd.readouterr().err
    assert expected in err
    assert err.count("\n") == 1


def test_summary_is_of_the_frames_that_have_the_figure() -> None:
    values: list[float | None] = [4.0, None, 1.0, 3.0, 2.0]
    rows = [
        {"top_agrees": i < 4, "correlation": value, "overlap": value, "shift": value} for i, value in enumerate(values)
    ]
    found = summary(rows)
    assert (found["frames"], found["top_class_agreement"]) == (5, 0.8)
    spread = {"mean": 2.5, "quartile_1": 1.75, "median": 2.5, "quartile_3": 3.25, "frames": 4}
    assert found["shift"] == {**spread, "worst": 4.0}
    assert found["overlap"] == {**spread, "worst": 1.0}
    assert "inside_a" not in found


def test_a_curve_keeps_what_is_worst_and_its_gaps() -> None:
    drawn = curve("x", [0, 1, 2, 3], [("x", [1.0, None, 0.5, 0.0])])
    assert re.findall(r'd="(M[^"H]+)" fill="none" stroke="currentColor" stroke-width', drawn) == [
        "M56.0 12.0h0M610.7 76.0L888.0 140.0"
    ]
    many: list[float | None] = [1.0] * 5000
    many[1234] = 0.2
    path = re.findall(
        r'd="(M[^"H]+)" fill="none" stroke="currentColor" stroke-width', curve("x", list(range(5000)), [("x", many)])
    )[0]
    assert path.count("L") < 600
    assert max(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)) == pytest.approx(12 + 0.8 * 128, abs=0.1)


def test_an_evaluation_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/records.jsonl").touch()
    assert run_cli("compare", A, B, "--source", "in.avi", "-o", "out") == 2
    assert "out: it holds what `aerocam eval` found; give another --out" in capsys.readouterr().err
    assert [one.name for one in Path("out").iterdir()] == ["records.jsonl"]
