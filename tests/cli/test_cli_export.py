"""`aerocam layers`, `export` and `check`: exit codes, one line per failure, and examples in the help that work."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import helper

from aerocam import cli, manifest
from aerocam.cli.arguments import MODEL, declare
from aerocam.export import CheckReport
from aerocam.export.preprocessing import PRESETS
from aerocam.export.scores.detectors import NAMES
from onnx_graphs import read_manifest, saved, with_input
from refused_operator import without_a_rule
from small_networks import cnn, two_channels
from two_scale_detector import ultralytics

node = helper.make_node
VERBS = ("layers", "export", "check")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one model, its export and class names."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, cnn())
    Path("names.txt").write_text("red\ngreen\nblue\ncyan\nblack\n")


def run(*arguments: object) -> int:
    """The command line in this process; its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_the_help_work(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word; only the models are ours. A provider that this machine lacks is refused by name."""
    assert run(verb, "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith(f"  aerocam {verb} ")]
    assert len(lines) >= 3
    for line in lines:
        command = shlex.split(re.split(r" {2,}", line)[0])[1:]
        shape = command[command.index("--input-shape") + 1] if "--input-shape" in command else None
        saved(tmp_path, with_input(cnn(), "n", 3, "h", "w") if shape else cnn())
        if verb == "check":
            made = ["export", "model.onnx", "-q", "--no-check"]
            assert run(*made, *(["--input-shape", shape] if shape else [])) == 0
        code = run(*command)
        printed, error = capsys.readouterr()
        absent = {item for item in command if item.endswith("Provider")} - {*onnxruntime.get_available_providers()}
        if "--device" in command:  # without an engine the check is not done, and its report says so
            assert (code, "there is no engine; build it here" in printed) == (1, True)
        elif absent:
            assert (code, f"error: execution provider '{absent.pop()}' is not in this" in error) == (2, True)
        else:
            assert code == 0, error
    if verb == "export":
        assert Path("model.cam.onnx").is_file()
        assert read_manifest(Path("fast.onnx")).head is not None


FAILURES: dict[str, tuple[str, int, str]] = {
    "absent": ("export absent.onnx", 1, "absent.onnx: no such file"),
    "text": ("export names.txt", 1, "names.txt: not an ONNX file"),
    "layer": ("export model.onnx --layer stam", 2, "layer 'stam': .*Did you mean 'stem'"),
    "pooled": ("export model.onnx --layer pooled", 2, r"'pooled' \(GlobalAveragePool\) has shape \(1, 6, 1, 1\)"),
    "head": ("export model.onnx --head gradcan", 2, "--head gradcan: .*Did you mean 'gradcam'"),
    "guided": ("export model.onnx --guided --head gradcam", 2, "--guided: not with --head gradcam, which takes true"),
    "output": ("export model.onnx --output-name z", 2, "--output-name z: the model has no such output. Known: 'y'"),
    "itself": ("export model.onnx -o model.onnx", 2, "-o model.onnx: that is the model itself"),
    "folder": ("export model.onnx -o no/where.onnx", 2, "-o no/where.onnx: there is no folder 'no'"),
    "labels-absent": ("export model.onnx --labels absent.txt", 2, "--labels absent.txt: cannot be read"),
    "labels-binary": ("export model.onnx --labels model.onnx", 2, "--labels model.onnx: cannot be read"),
    "labels-json": ("export model.onnx --labels half.json", 2, "--labels half.json: cannot be read"),
    "labels-few": ("export model.onnx --labels two.txt", 2, "2 names for 5 classes"),
    "preset": ("export model.onnx --preprocess imagnet", 2, "--preprocess imagnet: .*Did you mean 'imagenet'"),
    "activation": ("export model.onnx --activation softmaxx", 2, "--activation softmaxx: no such activation"),
    "activation-task": ("export model.onnx --task regress --activation softmax", 2, "task regress has no classes"),
    "layout": ("export model.onnx --layout yolo", 2, "--layout yolo: .*yolov8"),
    "task-name": ("export model.onnx --task classif", 2, "--task: invalid choice: 'classif' .*'classify'"),
    "interpolation": ("export model.onnx --interpolation pil", 2, "--interpolation: invalid choice: 'pil' .*bilinear"),
    "color-name": ("export model.onnx --color rgb", 2, "--color: invalid choice: 'rgb' .*'RGB'"),
    "region": ("explain good.onnx p.png --region 1,2", 2, "--region: the model has task classify"),
    "all": ("layers model.onnx --all=2", 2, "--all: ignored explicit argument '2'"),
    "mean": ("export model.onnx --mean 1,2", 2, "--mean 1,2: 3 numbers"),
    "std": ("export model.onnx --std 1,0,1", 2, "--std 1,0,1: 3 numbers, none of them 0"),
    "mean-nan": ("export model.onnx --mean nan", 2, "--mean nan,nan,nan: 3 numbers are expected, one per channel, or"),
    "target-two": ("explain numbered.onnx p.png --target 2", 2, "'2': it is the number .*'3', and the label of"),
    "shape-elsewhere": ("explain dynamic.onnx p.png", 2, "add --input-shape x=1,3,224,224 of `aerocam export` with"),
    "std-words": ("export model.onnx --std one", 2, "--std one: numbers are expected"),
    "short-side": ("export model.onnx --short-side 7", 2, "--short-side 7: less than the input's 8 px"),
    "color": ("export model.onnx --color GRAY", 1, "GRAY has 1 channels"),
    "shape-words": ("export model.onnx --input-shape x=a,b", 2, "--input-shape x=a,b: whole numbers"),
    "shape-name": ("export model.onnx --input-shape z=1,3,8,8", 2, "--input-shape z=1,3,8,8: the model has no such"),
    "shape-fixed": ("export model.onnx --input-shape 1,3,9,9", 2, "dimension 2 is 8 in the model"),
    "shape-missing": ("export dynamic.onnx", 2, r"has shape \[1,3,\?,\?\].*--input-shape x=1,3,224,224"),
    "shape-of-none": ("layers no_input.onnx --input-shape 1,3,8,8", 2, "no_input.onnx has no inputs"),
    "shape-of-two": ("layers two.onnx --input-shape 1,3,8,8", 2, "inputs x, n; say which, as in x=1,3,224,224"),
    "channels": ("export two_channels.onnx --preprocess imagenet", 2, "the input 2 channels; take --preprocess unit"),
    "shown": ("export two_channels.onnx --shown 0,1,2", 2, "--shown 0,1,2: three channels of 0 to 1 are expected"),
    "shown-rgb": ("export model.onnx --shown 0,1,2", 2, "--shown 0,1,2: the input is in RGB"),
    "fix-form": ("export two.onnx --fix n", 2, "--fix n: NAME=NUMBER or NAME=FILE.npy"),
    "units": ("export model.onnx --units kelvin", 2, "--units kelvin: no such units. "),
    "fix-name": ("export two.onnx --fix m=1", 2, "--fix: 'm': the model has no such input"),
    "fix-value": ("export two.onnx --fix n=absent.npy", 2, "--fix n=absent.npy: NAME=NUMBER or NAME=FILE.npy"),
    "feed-value": ("explain good.onnx p.png --feed n=1,2", 2, "--feed n=1,2: NAME=NUMBER or NAME=FILE.npy"),
    "provider": ("export model.onnx --providers CPU", 2, "execution provider 'CPU' is not in .*'CPUExecutionProvider'"),
    "task": ("export model.onnx --task detect", 1, "task detect: outputs 'y'"),
    "layers-absent": ("layers absent.onnx", 1, "absent.onnx: no such file"),
    "layers-task": ("layers model.onnx --task detect", 1, "see --task and --output-name"),
    "check-absent": ("check absent.onnx good.onnx", 1, "absent.onnx: no such file"),
    "check-plain": ("check model.onnx model.onnx", 1, "model.onnx: it carries no manifest"),
    "check-other": ("check dynamic.onnx good.onnx", 1, "made of 'model.onnx', not of this dynamic.onnx"),
    "check-provider": ("check model.onnx good.onnx --providers X", 2, "execution provider 'X' is not in this"),
    "again": ("export good.onnx", 2, "been through `aerocam export` already"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_line_and_leaves_no_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, code, message = FAILURES[case]
    Path("half.json").write_text('["red", "green"')
    Path("two.txt").write_text("red\ngreen\n")
    saved(tmp_path, with_input(cnn(), "n", 3, "h", "w"), "dynamic.onnx")
    saved(tmp_path, two_channels(), "two_channels.onnx")
    none, two = cnn(), cnn()
    del none.graph.input[:]
    two.graph.input.append(helper.make_tensor_value_info("n", onnx.TensorProto.INT64, [1]))
    saved(tmp_path, none, "no_input.onnx")
    saved(tmp_path, two, "two.onnx")
    if "numbered.onnx" in command:
        Path("numbers.txt").write_text("0\n1\n3\n2\n4\n")
        assert run("export", "model.onnx", "-o", "numbered.onnx", "--labels", "numbers.txt", "-q", "--no-check") == 0
    if "good.onnx" in command:
        assert run("export", "model.onnx", "-o", "good.onnx", "-q", "--no-check") == 0
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    capsys.readouterr()
    assert run(*command.split(), "-q") == code
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(f"aerocam {command.split()[0]}: error: ")
    assert re.search(message, line), line
    assert out == ""
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_an_operator_without_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`layers` marks what lies before it, `export` names it and the way out."""
    operator = without_a_rule(monkeypatch)
    proto = cnn()
    proto.graph.node[1].op_type = operator
    saved(tmp_path, proto)
    assert run("layers", "model.onnx", "-q", "--all") == 0
    lines = capsys.readouterr().out.splitlines()[1:-2]
    marks = {name: next(line for line in lines if f"  {name}  (node" in line) for name in ("c0", "r0", "r1")}
    assert marks["c0"].startswith("- ")
    assert marks["c0"].endswith(f"cannot be reached: {operator} passes no gradient to it")
    assert marks["r0"].startswith("  ")
    assert marks["r1"].startswith("* ")
    assert run("export", "model.onnx", "--layer", "c0", "-q") == 1
    (line,) = capsys.readouterr().err.splitlines()
    expected = rf"error: operator {operator} \(node 'stem_relu', output 'r0'\).*choose a target layer behind it"
    assert re.search(expected, line)
    assert not Path("model.cam.onnx").exists()


def test_without_quiet_the_error_is_still_the_one_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model.onnx", "--head", "nothing") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("aerocam export: error:") for line in lines] == [False] * (len(lines) - 1) + [True]


@pytest.mark.parametrize(
    "command", ["export", "export model.onnx --resize zoom", "check model.onnx", "layers a b", "nope"]
)
def test_a_call_that_cannot_be_parsed_is_a_usage_error(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"aerocam( \w+)?: error: ", line)


@pytest.mark.parametrize(("arguments", "code"), [(["layers", "model.onnx"], 0), (["export", "names.txt"], 1)])
def test_the_command_itself(arguments: list[str], code: int) -> None:
    """A process of its own: its exit code, and no traceback."""
    command = [sys.executable, "-m", "aerocam", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == code


HEADER = "  depth  shape              kind      operator                 cells behind gradient  tensor"
INPUT = "  input  1x3x8x8            spatial                              all   100%   20.8 k  x"
LAST = "*     3  1x6x8x8            spatial   Relu                       all     0%       30  r1  (node layer3_relu)"
LEGEND = [
    "* what --layer auto takes; cells: rows and columns of the layer that one answer depends on;",
    "behind: share of the multiply-adds with weights between the layer and the score; gradient: about its own",
]


def test_layers_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Multiply-adds with weights: 6912 in the first convolution, 13824 in the second, 30 in the linear layer."""
    assert run("layers", "model.onnx", "-q", "--all") == 0
    assert capsys.readouterr().out.splitlines() == [
        HEADER,
        INPUT,
        "      0  1x4x8x8            spatial   Conv                       all    67%   13.9 k  c0  (node stem)",
        "      1  1x4x8x8            spatial   Relu                       all    67%   13.9 k  r0  (node stem_relu)",
        "      2  1x6x8x8            spatial   Conv                       all     0%       30  c1  (node layer3)",
        LAST,
        *LEGEND,
    ]
    assert run("layers", "model.onnx", "-q", "--match", "stem*") == 0
    assert [line.split()[8] for line in capsys.readouterr().out.splitlines()[1:-2]] == ["c0", "r0"]


def test_layers_prints_the_last_of_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("layers", "model.onnx", "-q") == 0
    more = "2 of 5 layers: the last of each size; --all shows every one"
    assert capsys.readouterr().out.splitlines() == [HEADER, INPUT, LAST, *LEGEND, more]


def test_layers_of_a_detector_and_of_a_dynamic_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, ultralytics("{0: 'a', 1: 'b', 2: 'c'}"))
    assert run("layers", "model.onnx", "-q") == 0
    stars = [
        line.split("  (")[0].split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("*  ")
    ]
    assert stars == ["n0", "n1"]
    saved(tmp_path, with_input(cnn(), "n", 3, "h", "w"))
    assert run("layers", "model.onnx", "-q", "--input-shape", "x=1,3,12,10") == 0
    assert "1x6x12x10" in capsys.readouterr().out


def test_export_says_what_it_chose_and_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model.onnx") == 0
    out, err = capsys.readouterr()
    written = len(onnx.load("model.cam.onnx").graph.node)
    assert out == f"model.cam.onnx: {written - 7} nodes added to 7\n"
    guess = r"preprocessing, a guess: crop to 8x8, RGB, mean 123\.675, .* \(usual for task classify; .*\); --preprocess"
    assert re.search(guess, err)
    assert "layers: r1 1x6x8x8 (the last that everything from the picture to the score passes, for task" in err
    assert "check on CPUExecutionProvider: outputs differ by 0, gradients from finite differences by" in err


def test_quiet_hides_all_but_guesses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model.onnx", "-q", "-o", "out.onnx") == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "task, a guess",
        "activation, a guess",
        "preprocessing, a guess",
    ]
    assert run("export", "model.onnx", "-q", "-o", "out.onnx", "--task", "classify", "--preprocess", "unit") == 0
    assert capsys.readouterr().err == ""


OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "preset": ("--preprocess caffe", {"color": "BGR", "mean": PRESETS["caffe"]["mean"], "std": (1.0,) * 3}),
    "numbers": ("--mean 1,2.5,-3 --std 4,5,6", {"mean": (1.0, 2.5, -3.0), "std": (4.0, 5.0, 6.0), "resize": "crop"}),
    "letterbox": ("--preprocess yolo", {"resize": "letterbox", "std": (255.0,) * 3, "fill": 114}),
    "crop": ("--preprocess unit --resize crop --short-side 11", {"resize": "crop", "short_side": 11}),
    "color": ("--color BGR --interpolation cubic", {"color": "BGR", "interpolation": "cubic"}),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_preprocessing_reaches_the_manifest(case: str) -> None:
    options, expected = OPTIONS[case]
    assert run("export", "model.onnx", "-q", "--no-check", *options.split()) == 0
    rule = read_manifest(Path("model.cam.onnx")).preprocess
    assert {name: getattr(rule, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red\n green \nblue\ncyan\nblack", ("red", "green", "blue", "cyan", "black")),
        ('["a b", "c", "d", "e", "é"]', ("a b", "c", "d", "e", "é")),
    ],
)
def test_labels_from_a_file(text: str, expected: tuple[str, ...]) -> None:
    Path("labels").write_text(text, encoding="utf-8")
    assert run("export", "model.onnx", "-q", "--no-check", "--labels", "labels") == 0
    assert read_manifest(Path("model.cam.onnx")).labels == expected


@pytest.mark.parametrize(
    ("options", "layers", "outputs"),
    [
        ("--layer INPUT", ["x"], ["aerocam_activations_0", "aerocam_gradients_0"]),
        ("--layer stem --layer r1", ["c0", "r1"], ["c0", "aerocam_gradients_0", "r1", "aerocam_gradients_1"]),
        ("--head gradcam", ["r1"], ["aerocam_map"]),
        ("--head gradcam --tensors --layer r0", ["r0"], ["r0", "aerocam_gradients_0", "aerocam_map"]),
    ],
)
def test_what_leaves_the_graph(options: str, layers: list[str], outputs: list[str]) -> None:
    assert run("export", "model.onnx", "-q", *options.split()) == 0
    names = [item.name for item in onnx.load("model.cam.onnx").graph.output]
    assert names == ["y", manifest.CHOSEN, manifest.SCORE, *outputs]
    assert [item.name for item in read_manifest(Path("model.cam.onnx")).layers] == layers


def test_check_prints_the_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("export", "model.onnx", "-q", "--layer", "r0") == 0
    assert run("check", "model.onnx", "model.cam.onnx", "-q") == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first == "CPUExecutionProvider: original outputs differ by at most 0 (relative)"
    assert re.fullmatch(r"r0: gradients differ from finite differences by at most \S+ \(relative\)", second)
    assert run("export", "model.onnx", "-q", "--head", "gradcam") == 0
    assert run("check", "model.onnx", "model.cam.onnx", "-q") == 0
    assert "gradients do not leave this file" in capsys.readouterr().out
    monkeypatch.setattr("aerocam.export.check_export", lambda *_, **__: CheckReport(1.0, {}, "P"))
    assert run("check", "model.onnx", "model.cam.onnx", "-q") == 1
    assert capsys.readouterr().err.startswith("aerocam check: error: the exported model's outputs differ")


def test_guided_gradients_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model.onnx", "--guided") == 0
    assert "guided gradients at the input x, through 2 ReLUs" in capsys.readouterr().err
    layers = read_manifest(Path("model.cam.onnx")).layers
    assert [(layer.name, layer.rule) for layer in layers] == [("x", "guided"), ("r1", "gradient")]
    assert run("export", "model.onnx", "--guided", "--layer", "x") == 0
    assert "outputs differ by 0" in capsys.readouterr().err
    assert run("check", "model.onnx", "model.cam.onnx") == 0
    assert "are no derivatives (guided, relevance)" in capsys.readouterr().out


def test_relevance_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model.onnx", "--relevance") == 0
    assert "aerocam_gradients_0: multipliers of relevance are no derivative" in capsys.readouterr().err
    assert [(layer.name, layer.rule) for layer in read_manifest(Path("model.cam.onnx")).layers] == [("r1", "relevance")]
    assert run("check", "model.onnx", "model.cam.onnx") == 0
    assert "are no derivatives (guided, relevance)" in capsys.readouterr().out
    assert run("export", "model.onnx", "--head", "relevance") == 0
    assert [(layer.rule, layer.gradients) for layer in read_manifest(Path("model.cam.onnx")).layers] == [
        ("relevance", None)
    ]


def test_the_help_names_every_layout() -> None:
    parser = argparse.ArgumentParser()
    declare(parser, MODEL)
    said = next(action.help for action in parser._actions if action.dest == "layout")
    assert said is not None
    assert sorted(said.partition(": ")[2].split(", ")) == sorted(NAMES)
