"""`aerocam build` as a command: what it prints, its help, Ctrl-C; with TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any, get_args

import pytest

import tiny_models
from aerocam.cli import build as command
from aerocam.errors import UsageError
from aerocam.runtime.trt import building
from aerocam.runtime.trt.engine_file import BuildSettings, Hardware, Precision, read_record
from rtx import rtx
from runtime_fixtures import run_cli as run

rtx()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small exported model in a folder of its own."""
    path = tmp_path / "model.cam.onnx"
    shutil.copy(tiny_models.model("stretch"), path)
    return path


def test_control_c_ends_the_build(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal comes while TensorRT builds: from one of its own calls."""
    real = building.build_monitor

    def monitor(trt: Any, line: Any, stopped: Any) -> Any:
        made = real(trt, line, stopped)
        began = made.phases.start
        sent = []

        def start(*phase: Any) -> None:
            if not sent:
                sent.append(os.kill(os.getpid(), signal.SIGINT))
            began(*phase)

        monkeypatch.setattr(made.phases, "start", start)
        return made

    monkeypatch.setattr(building, "build_monitor", monitor)
    assert run("build", model, "--compute-capability", "8.6") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "aerocam build: interrupted"
    assert list(model.parent.iterdir()) == [model]


def test_the_command(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--workspace", "64M", "--optimization-level", "1", "--tf32", "--hardware", "ampere_plus"]
    assert run("build", model, "--compute-capability", "8.6", *options) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    record = read_record(model.with_suffix(".engine"))
    assert record.settings == BuildSettings(64 << 20, 1, True, "typed", False, "ampere_plus")
    assert first.startswith(f"{model.with_suffix('.engine')}: ")
    assert first.endswith(f" s, {record.plan_bytes / 1e6:.1f} MB")
    assert "compute capability 8.6; products in float32, TF32 allowed" in second
    assert third == "  fell back: not known; that is seen once the engine is loaded, on its GPU"


def test_the_examples_of_the_help_work(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word; where they are meant for a device, this machine is told so."""
    monkeypatch.chdir(model.parent)
    assert run("build", "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  aerocam build ")]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line.split("   ")[0])[1:]
        code = run(*words)
        error = capsys.readouterr().err
        assert (code == 0) == ("--compute-capability" in words)
        assert code == 0 or "none can be asked here" in error


def test_the_choices_are_those_of_the_record() -> None:
    assert get_args(Precision) == command.PRECISIONS
    assert get_args(Hardware) == command.HARDWARE


@pytest.mark.parametrize(("text", "size"), [("512M", 1 << 29), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("4096", 4096)])
def test_sizes(text: str, size: int) -> None:
    assert command.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1M", "1T", "M"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--workspace"):
        command.size_in_bytes(text)
