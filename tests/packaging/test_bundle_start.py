"""`aerocam bundle` stopped by a signal, and what a bundle's start.sh does, on a Python that only writes down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aerocam.bundle import find_target, make_bundle
from bundles import HERE, without_index
from tiny_models import model

PIP_THAT_HANGS = """\
import os, tempfile, time
open(os.path.join(tempfile.mkdtemp(prefix="pip-"), "wheel"), "w").close()
open(os.environ["HANGS"], "w").close()
time.sleep(60)
"""


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels that are empty, and come from nowhere."""
    without_index(monkeypatch)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Neither beside the bundle nor among temporary files, those of the pip that runs included."""
    (tmp_path / "packages/pip").mkdir(parents=True)
    (tmp_path / "packages/pip/__init__.py").touch()
    (tmp_path / "packages/pip/__main__.py").write_text(PIP_THAT_HANGS)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "out").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "packages"), *filter(None, sys.path)]),
        "TMPDIR": str(tmp_path / "temporary"),
        "HANGS": str(tmp_path / "hangs"),
    }
    command = [sys.executable, "-m", "aerocam", "bundle", str(model("stretch")), "-o", str(tmp_path / "out/flight")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "hangs").exists() and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(number)
        said = running.communicate(timeout=60)[1]
    assert (running.returncode, said) == (130, "aerocam bundle: interrupted\n")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []


PYTHON = """\
#!/bin/sh
# Stands in for Python: makes environments of itself, and writes down what it is asked to run.
echo "$@" >>"$LOG"
case "$*" in
    *"-m venv"*)
        for place; do :; done
        case "$*" in *--clear*) rm -rf "$place" ;; esac
        mkdir -p "$place/bin"; cp "$0" "$place/bin/python" ;;
    *load_tensorrt*) [ -n "${HAS_TENSORRT:-}" ] ;;
    *"aerocam build"*) : >"$ENGINE" ;;
esac
"""


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs start.sh of a bundle with a Python that only writes down: exit code, what was said, what was asked."""
    request.getfixturevalue("no_index")
    make_bundle(model("stretch"), tmp_path / "flight", HERE)
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def start(*arguments: str, folder: Path = tmp_path / "flight", **variables: str) -> tuple[int, str, list[str]]:
        log.write_text("")
        environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "LOG": str(log)} | variables
        environment["ENGINE"] = str(folder / "model/stretch.engine")
        done = subprocess.run(
            ["sh", folder / "start.sh", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return start


Start = Callable[..., tuple[int, str, list[str]]]


def test_a_bundle_that_was_moved_makes_its_environment_again(tmp_path: Path, started: Start) -> None:
    code, _, asked = started("doctor")
    assert code == 0
    assert asked[1] == f"-m venv --without-pip {tmp_path}/flight/venv"
    assert asked[-1] == "-m aerocam doctor"
    assert (tmp_path / "flight/venv/.ready").read_text() == f"{tmp_path}/flight/venv\n"
    assert started("doctor")[2] == ["-m aerocam doctor"]
    moved = (tmp_path / "flight").rename(tmp_path / "moved")
    code, said, asked = started("doctor", folder=moved)
    assert code == 0, said
    assert f"-m venv --without-pip --clear {moved}/venv" in asked
    assert started("doctor", folder=moved)[2] == ["-m aerocam doctor"]


def test_what_was_not_made_by_it_is_not_cleared(tmp_path: Path, started: Start) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert started("doctor", AEROCAM_VENV=str(mine))[0] == 0
    assert (mine / "notes.txt").read_text() == "mine"


def test_what_start_takes(tmp_path: Path, started: Start) -> None:
    file = f"{tmp_path}/flight/model/stretch"
    code, said, asked = started("--help")
    assert (code, asked) == (0, [])
    assert "./start.sh build " in said
    code, said, asked = started("fly")
    assert (code, asked) == (2, [])
    assert said == "start.sh: 'fly' is none of explain, stream, check, build, doctor and --help\n"
    assert started("explain", "a.jpg")[2][-1] == f"-m aerocam explain {file}.onnx a.jpg"
    asked = started("explain", "a.jpg", HAS_TENSORRT="1")[2]
    assert asked[-2:] == [f"-m aerocam build {file}.onnx", f"-m aerocam explain {file}.engine a.jpg"]
    assert started("build", "--tf32", HAS_TENSORRT="1")[2] == [f"-m aerocam build {file}.onnx --tf32"]
    assert started("check", "-q")[2] == [f"-m aerocam check --device {file}.onnx -q"]


def test_a_python_that_is_not_there_is_said_in_one_line(started: Start) -> None:
    code, said, _ = started(PYTHON="python3.99")
    assert code == 1
    assert said.startswith("start.sh: there is no python3.99; install Python ")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("no_index")
def test_a_pc_is_told_where_tensorrt_comes_from(tmp_path: Path) -> None:
    make_bundle(model("stretch"), tmp_path / "pc", find_target("linux-x86_64"))
    text = (tmp_path / "pc/README.txt").read_text()
    assert "venv/bin/python wheels/pip-25.0-py3-none-any.whl/pip install tensorrt cuda-python" in text
    assert "tensorrt-rtx-cu12" in text
    assert ".mp4 needs PyAV" in text
