"""Messages of the library speak of parameters; the command line turns each into its flag."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aerocam
from aerocam.cli import build_parser, main
from aerocam.cli.flags import ALIKE, FLAGS, PARAMETER, FlagFormatter, with_flags
from aerocam.errors import AerocamError, UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.preprocessing import default_preprocess
from aerocam.export.request import ExportRequest
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer, Objects
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.frames.picture_files import find_pictures
from aerocam.runtime.frames.pictures import read_picture
from aerocam.runtime.maps.smoothing import MapSmoothing
from aerocam.runtime.trt.building import build_engines
from aerocam.runtime.trt.engine_file import BuildSettings
from aerocam.runtime.video.recording.sink import VideoSink
from aerocam.runtime.video.recording.space import Space
from aerocam.runtime.video.source import VideoSource
from aerocam.runtime.video.stream import Look, process
from onnx_graphs import saved
from small_networks import cnn

PACKAGE = Path(aerocam.__file__).parent
IN_THE_EXPORT = (export_model, list_layers, default_preprocess, Preprocess)
"""What has the parameters that messages of the export name."""

IN_THE_RUNTIME = (
    Explainer, Explainer.__call__, Explainer.compare_with, Explainer.look_at, Explanation.overlay, Explanation.save,
    Look, Objects, MapSmoothing, VideoSink, VideoSource, BuildSettings, build_engines, find_pictures, process,
    read_picture, Space,
)  # fmt: skip
"""What has those that messages of the runtime name besides."""


OTHER_PROGRAMS = {
    ("advice.py", "--force-reinstall"),
    ("platforms.py", "--index-url"),
    ("platforms.py", "--no-deps"),
    ("platforms.py", "--system-site-packages"),
    ("bindings.py", "--system-site-packages"),
    ("power.py", "--show"),
}
"""Flags of pip, of Python's `venv` and of `jetson_clocks`, by the file of the runtime that names them."""

STYLE_SHEET = "page_parts.py"
"""The file with a page's CSS, whose own properties begin as flags do."""

NOT_ALIKE = {"output", "source"}
"""Parameters beside which a flag of the same name stands for something else, or is shown in its short form."""


def verbs() -> dict[str, argparse.ArgumentParser]:
    action = next(item for item in build_parser()._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def flags(verb: argparse.ArgumentParser) -> set[str]:
    return {text for action in verb._actions for text in action.option_strings}


def parameters(*callables: object) -> set[str]:
    found: set[str] = set()
    for item in callables:
        found |= set(inspect.signature(item).parameters) - {"self"}  # type: ignore[arg-type]
        found |= {field.name for field in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else set()
    return found


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Every text in the code of a folder that is no docstring, with its place; `{...}` is what is put in."""
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if node in told or (node in parts and not isinstance(node, ast.JoinedStr)):
                continue
            if isinstance(node, ast.JoinedStr):
                shown = [str(part.value) if isinstance(part, ast.Constant) else "{...}" for part in node.values]
                yield f"{path.name}:{node.lineno}", "".join(shown)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


@pytest.mark.parametrize("folder", ["export", "runtime"])
def test_no_text_of_the_library_has_a_flag(folder: str) -> None:
    """No string constant, the parts of formatted ones and docstrings too, but for the flags of other programs."""
    written = []
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.append((path.name, re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)))
    assert len(written) > 400
    found = {(name, flag) for name, flags_in_it in written for flag in flags_in_it if name != STYLE_SHEET}
    assert found == (OTHER_PROGRAMS if folder == "runtime" else set())


@pytest.mark.parametrize(
    ("folder", "callables"), [("export", IN_THE_EXPORT), ("runtime", (*IN_THE_EXPORT, *IN_THE_RUNTIME))]
)
def test_a_word_in_backticks_is_a_parameter_that_has_a_flag(folder: str, callables: tuple[object, ...]) -> None:
    words = [(place, word) for place, text in texts(folder) for word, _ in PARAMETER.findall(text)]
    assert len(words) > 15
    known = parameters(*callables)
    assert [(place, word) for place, word in words if word not in known] == []
    assert [(place, word) for place, word in words if word not in FLAGS] == []


def test_every_parameter_of_the_export_has_its_flag() -> None:
    taken = flags(verbs()["export"])
    for name in parameters(export_model) - {"path"}:
        assert FLAGS[name] in taken, name


def test_the_table_has_all_parameters_whose_argument_has_their_name_and_a_flag_like_it() -> None:
    known = parameters(*IN_THE_EXPORT, *IN_THE_RUNTIME)
    actions = [action for verb in verbs().values() for action in verb._actions]
    alike = {item.dest for item in actions if f"--{item.dest.replace('_', '-')}" in item.option_strings}
    assert set(ALIKE) == (alike & known) - NOT_ALIKE
    for action in actions:
        if action.dest in FLAGS and action.option_strings and action.dest not in alike:
            assert FLAGS[action.dest] in action.option_strings, action.dest


def test_every_flag_of_the_table_is_one_of_a_command_and_stands_for_a_parameter() -> None:
    taken = set().union(*map(flags, verbs().values()))
    assert {flag for flag in FLAGS.values() if flag not in taken} == set()
    assert set(FLAGS) - parameters(*IN_THE_EXPORT, *IN_THE_RUNTIME) == set()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`head='x'`: no such", "--head x: no such"),
        ("give `tensors=True` as well", "give --tensors as well"),
        ("with `guided`, not `relevance`", "with --guided, not --relevance"),
        ("`batch=3`", "--batch 3"),
        ("`frame=(720, 1280)`", "--frame 720x1280"),
        ("add `frame=(H, W)`", "add --frame"),
        ("`check=False` skips", "--no-check skips"),
        ("`map_form='layer'`", "--map layer"),
        ("`score_output='a b'`", "--output-name 'a b'"),
        ("`input_shapes={'x': (1, 3, 8, 8), 'y': (2,)}`", "--input-shape x=1,3,8,8 --input-shape y=2"),
        ("`layers='blocks.*'`", "--layer 'blocks.*'"),
        ("`confidence=0.5` or `number`", "--conf 0.5 or --box"),
        ("by `aerocam export`, its `names`, `{` and ``", "by `aerocam export`, its `names`, `{` and ``"),
        ("`tensors`tensors`", "--tensorstensors`"),
    ],
)
def test_a_parameter_becomes_its_flag(message: str, shown: str) -> None:
    assert with_flags(message) == shown


def test_log_lines_have_flags_too() -> None:
    record = logging.LogRecord("aerocam", logging.INFO, "", 0, "task %s; `task` says otherwise", ("detect",), None)
    assert FlagFormatter("%(message)s").format(record) == "task detect; --task says otherwise"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["export", "m.onnx", "--layers", "a"], "--layers a. Did you mean --layer NAME?"),
        (["export", "m.onnx", "--Head=gradcam"], "--Head=gradcam. Did you mean --head METHOD?"),
        (["explain", "m.onnx", "p.png", "--eigensmooth"], "--eigensmooth. Did you mean --eigen-smooth?"),
        (["export", "m.onnx", "--score-output", "y"], "--score-output y. Did you mean --output-name NAME?"),
        (["export", "m.onnx", "--destination=tensorrt"], "Did you mean --for {onnxruntime,tensorrt}?"),
        (["stream", "m.onnx", "0", "--map-form", "raw"], "--map-form raw. Did you mean --max-frames N?"),
        (["layers", "m.onnx", "more"], "unrecognized arguments: more"),
        (["layers", "m.onnx", "--zzzzzzzz"], "unrecognized arguments: --zzzzzzzz"),
    ],
)
def test_a_mistyped_flag_is_a_usage_error_that_says_which_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"aerocam {words[0]}: error: unrecognized arguments: ")
    with pytest.raises(SystemExit):
        main(words)
    assert capsys.readouterr().err.endswith(f"{meant} (see aerocam {words[0]} -h)\n")


def test_the_command_line_passes_every_parameter_by_its_name() -> None:
    named = set(vars(build_parser().parse_args(["export", "m.onnx"])))
    assert parameters(export_model) - {"path"} <= named
    parts = [field.name for field in dataclasses.fields(ExportRequest)]
    assert {"score", "walk", "fused", "ends", "files"} <= set(parts)


CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "head": ("--head gradcan", {"head": "gradcan"}, "--head gradcan: no such fused method"),
    "layout": ("--layout x", {"layout": "x"}, "--layout x: no such layout"),
    "layout-task": ("--layout ssd --task classify", {"layout": "ssd", "task": "classify"}, "; see --task"),
    "score_output": ("--output-name z", {"score_output": "z"}, "--output-name z: the model has no such output"),
    "input_shapes": ("--input-shape z=1,3,8,8", {"input_shapes": {"z": (1, 3, 8, 8)}}, "--input-shape z=1,3,8,8: the"),
    "layers": (
        "--layer r0 --layer r1 --head gradcam", {"layers": ["r0", "r1"], "head": "gradcam"}, "choose it with --layer",
    ),
    "targets": ("--targets 0", {"targets": 0}, "--targets 0: 1 or more is expected"),
    "contrast": (
        "--contrast finer --targets 2", {"contrast": "finer", "targets": 2}, "--contrast finer: it compares one target",
    ),
    "batch": ("--batch 3", {"batch": 3}, "--batch 3: it is of a file of its own; give --packaging split as well"),
    "batch-head": (
        "--packaging split --head gradcam --batch 3",
        {"packaging": "split", "head": "gradcam", "batch": 3},
        "give --tensors as well",
    ),
    "map_form": ("--map layer", {"map_form": "layer"}, "--map layer: no fused head, whose map that would be"),
    "overlay": ("--overlay", {"overlay": True}, "--overlay: it is drawn over the frame, and the graph takes none; add"),
    "eigen_smooth": ("--eigen-smooth", {"eigen_smooth": True}, "--eigen-smooth: no fused head to smooth; add --head"),
    "guided": ("--guided --head gradcam", {"guided": True, "head": "gradcam"}, "--guided: not with --head gradcam"),
    "relevance": (
        "--relevance --head gradcam", {"relevance": True, "head": "gradcam"}, "--relevance: not with --head gradcam",
    ),
    "precision": ("--precision int8", {"precision": "int8"}, "--precision int8: aerocam does not quantise"),
    "frame": ("--frame 1x900", {"frame": (1, 900)}, "--frame 1x900: the model would see less than a pixel of it"),
    "output": ("-o model.onnx", {"output": "model.onnx"}, "-o model.onnx: that is the model itself"),
}  # fmt: skip
"""Calls of `aerocam export` and of `export_model` that mean the same, and a part of what the first is told."""


@pytest.mark.parametrize("case", CALLS)
def test_python_is_told_of_parameters_and_the_command_line_of_flags(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, arguments, shown = CALLS[case]
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, cnn())
    cropped = ["--resize", "crop", "--short-side", "9"] if case == "frame" else []
    preprocess = Preprocess("x", (8, 8), resize="crop", short_side=9)
    with pytest.raises(UsageError) as raised:
        export_model("model.onnx", **({"preprocess": preprocess} if cropped else {}), **arguments)
    message = str(raised.value)
    assert "--" not in message
    assert {name for name, _ in PARAMETER.findall(message)} & set(FLAGS)
    assert main(["export", "model.onnx", "-q", *words.split(), *cropped]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert shown in line
    assert line == f"aerocam export: error: {with_flags(message)}"
    assert not {name for name, _ in PARAMETER.findall(line)} & set(FLAGS)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_an_error_of_the_device_side_is_told_in_flags_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, cnn())
    cv2.imwrite("a.png", np.zeros((8, 8, 3), np.uint8))
    made = {"preprocess": Preprocess("x", (8, 8)), "head": "gradcam", "check": False}
    export_model("model.onnx", "framed.onnx", frame=(8, 8), **made)
    export_model("model.onnx", "finished.onnx", map_form="layer", **made)
    smoothing = MapSmoothing(augmented=True)
    for file, words, options, shown in (
        ("framed", ["--threads", "0"], {"threads": 0}, "--threads 0: expected 1 or more"),
        (
            "framed",
            ["--aug-smooth"],
            {"smoothing": smoothing},
            "--aug-smooth: it alters the input tensor",
        ),
        ("finished", ["--aug-smooth"], {"smoothing": smoothing}, "is normalised already; export it without --map"),
    ):
        with pytest.raises(AerocamError) as raised:
            Explainer(f"{file}.onnx", **options)(np.zeros((8, 8, 3), np.uint8))
        assert "--" not in str(raised.value)
        assert main(["explain", f"{file}.onnx", "a.png", "-q", "-o", "out", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.replace(" of `aerocam export`", "") == f"aerocam explain: error: {with_flags(str(raised.value))}"
        assert shown in line
