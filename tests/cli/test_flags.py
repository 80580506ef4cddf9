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

import pytest

import aerocam
from aerocam.cli import build_parser, main
from aerocam.cli.flags import FLAGS, PARAMETER, FlagFormatter, with_flags
from aerocam.export import export_model, list_layers
from aerocam.export.preprocessing import default_preprocess
from aerocam.export.request import ExportRequest
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer, Objects
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.frames.picture_files import find_pictures
from aerocam.runtime.maps.smoothing import MapSmoothing
from aerocam.runtime.trt.building import build_engines
from aerocam.runtime.trt.engine_file import BuildSettings
from aerocam.runtime.video.sink import VideoSink
from aerocam.runtime.video.stream import process

PACKAGE = Path(aerocam.__file__).parent
IN_THE_EXPORT = (export_model, list_layers, default_preprocess, Preprocess)
"""What has the parameters that messages of the export name."""

IN_THE_RUNTIME = (
    Explainer, Explainer.__call__, Explainer.compare_with, Explanation.overlay, Explanation.save, Look, Objects,
    MapSmoothing, VideoSink, BuildSettings, build_engines, find_pictures, process,
)  # fmt: skip
"""What has those that messages of the runtime name besides."""


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
    """Those of other programs may stand there; --show is one of jetson_clocks as well."""
    known = set().union(*map(flags, verbs().values())) - {"--show"}
    written = [(place, re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) for place, text in texts(folder)]
    assert len(written) > 400
    assert [(place, word) for place, words in written for word in words if word in known] == []


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
        ("`input_shapes={'x': (1, 3, 8, 8), 'y': (2,)}`", "--input-shape x=1,3,8,8 y=2"),
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
    assert capsys.readouterr().err.splitlines()[-1].endswith(meant)


def test_the_command_line_passes_every_parameter_by_its_name() -> None:
    named = set(vars(build_parser().parse_args(["export", "m.onnx"])))
    assert parameters(export_model) - {"path"} <= named
    parts = [field.name for field in dataclasses.fields(ExportRequest)]
    assert {"score", "walk", "fused", "ends", "files"} <= set(parts)
