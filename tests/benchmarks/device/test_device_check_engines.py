"""`aerocam check --device` with engines, on a stand-in for GPU, CUDA and TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.benchmarks.device import report as device_report
from aerocam.benchmarks.device.report import check_device
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.files import sha256
from device_reports import MACHINE, altered, step
from stand_ins import gpu, machine
from tiny_models import model

pytestmark = pytest.mark.runtime

FEW = Protocol(4, 0, 0)


@pytest.fixture(autouse=True)
def _a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose packages are stand-ins; the doctor's processes of their own would not find them."""
    machine.install(monkeypatch, gpu.Gpu(True, False))
    known: dict[str, Any] = {**MACHINE}
    monkeypatch.setattr(device_report, "examine", lambda: known)


@pytest.mark.parametrize("name", ["stretch", "detect", "head", "scaled"])
def test_an_engine_agrees_with_its_model(name: str, tmp_path: Path) -> None:
    engine = machine.build(model(name), tmp_path / f"{name}.engine")
    report = check_device(model(name), engine, plain=engine, protocol=FEW)
    assert [one for one in report.record["steps"] if one["state"] != "done"] == []
    assert report.verdict == "agrees"
    speed = report.record["speed"]["engine"]
    assert set(speed["throughput"]) == {"1", "2"}
    assert speed["ratio to plain"]["median"] > 0
    assert report.record["engine"]["tensorrt"] == "10.3.0"
    assert report.record["engine"]["settings"]["precision"] == "typed"
    assert report.record["precision"] == ("float16" if name == "scaled" else "float32")


def test_an_engine_with_other_numbers_and_one_of_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"  # beside an engine it would be taken for its model
    folder.mkdir()
    wrong = altered("stretch", folder, lambda weights: weights * np.float32(1.05))
    engine = machine.build(wrong, tmp_path / "wrong.engine", model_sha256=sha256(model("stretch")))
    assert check_device(model("stretch"), engine, protocol=FEW).verdict == "differs"
    other = machine.build(wrong, tmp_path / "other.engine")
    report = check_device(model("stretch"), other, protocol=FEW)
    assert report.verdict == "incomplete"
    assert "it was built of another file than" in step(report, "open the engine")["reason"]


def test_a_gpu_that_is_another_than_the_engines(tmp_path: Path) -> None:
    engine = machine.build(model("stretch"), tmp_path / "a.engine", compute_capability="8.6", plan=("10.3.0", "8.6"))
    report = check_device(model("stretch"), engine, protocol=FEW)
    assert report.verdict == "incomplete"
    assert step(report, "open the engine")["error"] == "EngineError"
    assert report.record["engine"]["compute_capability"] == "8.6"
    assert set(report.record["speed"]) == {"reference"}
