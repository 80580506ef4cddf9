"""`aerocam check --device`: what agrees, what differs, what cannot be opened; and that a report comes of each."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam import cli
from aerocam.benchmarks.device import report as device_report
from aerocam.benchmarks.device.differences import TOLERANCES, compare, precision_of
from aerocam.benchmarks.device.record import DeviceReport, anonymous
from aerocam.benchmarks.device.report import check_device
from aerocam.benchmarks.device.speed import throughput
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.onnx_metadata import read_manifest
from device_reports import MACHINE, altered, step
from runtime_fixtures import noise, run_cli
from tiny_models import RECIPES, model

pytestmark = pytest.mark.runtime

BOUNDS = TOLERANCES["float32"]
FEW = Protocol(4, 0, 0)
CPU = ["CPUExecutionProvider"]
SAME = [name for name, tiny in RECIPES.items() if tiny.manifest and name != "activations"]  # gradcam takes gradients


@pytest.fixture
def _known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that need not be looked at: that takes seconds, and has tests of its own."""
    monkeypatch.setattr(device_report, "examine", lambda: json.loads(json.dumps(MACHINE)))


@pytest.mark.usefixtures("_known_machine")
@pytest.mark.parametrize("name", SAME)
def test_a_model_agrees_with_itself(name: str) -> None:
    report = check_device(model(name), None, providers=CPU, protocol=FEW)
    assert [one for one in report.record["steps"] if one["state"] != "done"] == []
    assert report.verdict == "agrees"
    assert [case["input"] for case in report.record["comparisons"]] == ["noise 0", "noise 1"]
    manifest = read_manifest(model(name))
    for case in report.record["comparisons"]:
        names = [one["name"] for one in case["differences"]]
        assert manifest.score.output in names
        assert any(", raw map of " in text for text in names)
        assert [one["absolute"] for one in case["differences"] if not name.endswith("nan")] == [0.0] * (
            0 if name.endswith("nan") else len(names)
        )


@pytest.mark.usefixtures("_known_machine")
def test_an_engine_whose_numbers_are_others_is_found_out(tmp_path: Path) -> None:
    wrong = altered("stretch", tmp_path, lambda weights: weights * np.float32(1.05))
    report = check_device(model("stretch"), wrong, protocol=FEW)
    assert report.verdict == "differs"
    bad = {one["name"] for case in report.record["comparisons"] for one in case["differences"] if not one["good"]}
    assert "logits" in bad
    for case in report.record["comparisons"]:  # weights that are all larger choose the same class
        assert case["own choice"]["reference"] == case["own choice"]["engine"]
    turned = altered("stretch", tmp_path, lambda weights: -weights)
    other = check_device(model("stretch"), turned, protocol=FEW).record["comparisons"][0]["own choice"]
    assert other["reference"] != other["engine"]
    slightly = altered("stretch", tmp_path, lambda weights: weights * np.float32(1 + 1e-5))
    near = check_device(model("stretch"), slightly, protocol=FEW)
    assert near.verdict == "agrees"
    assert max(one["relative"] for one in near.record["comparisons"][0]["differences"] if one["relative"]) > 1e-6


@pytest.mark.usefixtures("_known_machine")
def test_an_engine_of_another_export_is_not_compared(tmp_path: Path) -> None:
    report = check_device(model("stretch"), model("two_layers"), protocol=FEW)
    assert report.verdict == "incomplete"
    found = step(report, "open two_layers.onnx in ONNX Runtime on the CPU")
    assert "of another export than" in found["reason"]
    assert "comparisons" not in report.record


@pytest.mark.usefixtures("_known_machine")
def test_no_engine_is_a_report_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = tmp_path / "stretch.cam.onnx"
    here.write_bytes(model("stretch").read_bytes())
    assert run_cli("check", "--device", here, "-o", tmp_path / "out", "--iterations", "4", "-q") == 1
    said = capsys.readouterr().out
    engine = here.with_suffix(".engine")
    assert f"open the engine: failed: {engine}: there is no engine; build it here: " in said
    assert f"aerocam build {here}\n" in said  # for a shell, from wherever it was called
    assert run_cli("check", "--device", here, here.with_suffix(".engine"), "-o", tmp_path, "--iterations", "4") == 1
    assert "stretch.cam.engine: there is no such file" in capsys.readouterr().out
    (written,) = (tmp_path / "out").iterdir()
    record = json.loads(written.read_text())
    assert re.fullmatch(r"aerocam-device-jetson-orin-nano-super-\d{4}-\d\d-\d\d-\d{6}\.json", written.name)
    assert record["date"] in written.name
    assert record["verdict"] == "incomplete"
    assert record["doctor"]["probes"]["board"] == MACHINE["probes"]["board"]
    assert record["speed"]["reference"]["milliseconds"]["model"]["all"]["p50"] > 0
    assert "engine" not in record["speed"]
    assert str(tmp_path) not in written.read_text()


@pytest.mark.usefixtures("_known_machine")
def test_the_command_that_builds_works_where_no_shell_finds_aerocam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a bundle, whose environment is on nobody's PATH; what is sent back has no folder of it."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", "/media/my stick/venv/bin/python")
    here = tmp_path / "stretch.cam.onnx"
    here.write_bytes(model("stretch").read_bytes())
    report = check_device(here, None, protocol=FEW)
    (told,) = [one["reason"] for one in report.told["steps"] if one["state"] == "failed"]
    assert told.endswith(f"build it here: '/media/my stick/venv/bin/python' -m aerocam build {here}")
    assert step(report, "open the engine")["reason"].endswith(" -m aerocam build stretch.cam.onnx")


@pytest.mark.usefixtures("_known_machine")
def test_an_engine_that_cannot_be_opened_is_a_report_too(tmp_path: Path) -> None:
    engine = tmp_path / "stretch.engine"
    engine.write_bytes(b"not an engine")
    report = check_device(model("stretch"), engine, protocol=FEW)
    found = step(report, "open the engine")
    assert found["state"] == "failed"
    assert found["reason"].startswith("stretch.engine: there is no stretch.engine.json beside it")
    assert step(report, "look at the machine again")["state"] == "done"


@pytest.mark.usefixtures("_known_machine")
def test_what_nobody_expected_is_reported_and_the_rest_is_still_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError(f"an illegal memory access in {Path.home()}/driver.cpp")

    monkeypatch.setattr(device_report, "compare_sessions", fail)
    report = check_device(model("stretch"), None, providers=CPU, protocol=FEW)
    found = step(report, "compare")
    assert (found["error"], found["reason"]) == ("RuntimeError", "an illegal memory access in driver.cpp")
    assert report.verdict == "incomplete"
    assert set(report.record["speed"]) == {"reference", "engine"}


@pytest.mark.usefixtures("_known_machine")
def test_a_picture_and_a_plain_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "photo.png"
    cv2.imwrite(str(picture), noise((64, 96)))
    same = tmp_path / "same.onnx"
    same.write_bytes(model("stretch").read_bytes())
    arguments = ("check", "--device", model("stretch"), same, "--iterations", "4", "-o", tmp_path)
    assert run_cli(*arguments, "--image", picture, "--plain", model("no_manifest"), "--method", "layercam") == 0
    said = capsys.readouterr().out
    (written,) = tmp_path.glob("aerocam-device-*.json")
    record = json.loads(written.read_text())
    assert [case["input"] for case in record["comparisons"]] == ["photo.png", "noise 0", "noise 1"]
    assert "layercam, map" in [one["name"] for one in record["comparisons"][0]["differences"]]
    assert record["speed"]["engine"]["ratio to plain"]["median"] > 0
    assert set(record["speed"]["engine"]["milliseconds"]) == {"model", "plain", "frame"}
    assert set(record["speed"]["engine"]["throughput"]) == {"1"}
    assert "explained / plain: " in said
    assert "same.onnx in ONNX Runtime on the CPU agrees with ONNX Runtime on the CPU (bounds for float32)" in said
    assert "same.onnx in ONNX Runtime on the CPU, model: p50 " in said
    assert "\nONNX Runtime on the CPU, model: p50 " in said
    assert "the engine" not in said
    engine = tmp_path / "plain.engine"
    engine.write_bytes(b"")
    assert run_cli(*arguments, "--plain", engine, "-q") == 1
    assert "say nothing of what explaining costs" in capsys.readouterr().out


def test_calls_that_cannot_be_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"")
    assert run_cli("check", "--device", engine) == 2
    assert "--onnx FILE" in capsys.readouterr().err
    assert run_cli("check", "--device", tmp_path / "absent.onnx") == 2
    assert run_cli("check", "--device", model("stretch"), engine, "--onnx", model("stretch")) == 2
    assert run_cli("check", "--device", model("stretch"), engine, "--providers", CPU[0], "-o", tmp_path) == 2
    assert run_cli("check", model("stretch")) == 2
    assert "EXPORTED is missing" in capsys.readouterr().err
    for option in ("--image", "--plain", "--onnx", "--method", "--iterations", "--out"):
        assert run_cli("check", model("no_manifest"), model("stretch"), option, "1") == 2
        assert f"{option}: it is for a check on a device" in capsys.readouterr().err
    assert run_cli("check", "--device", model("stretch"), "--input-shape", "1,3,8,8") == 2
    assert "--input-shape" in capsys.readouterr().err
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.usefixtures("_known_machine")
def test_a_model_that_was_not_exported_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for files in ((model("no_manifest"),), (model("stretch"), model("no_manifest"))):
        assert run_cli("check", "--device", *files, "-o", out, "--iterations", "4") == 1
        said = capsys.readouterr()
        assert "it carries no aerocam manifest" in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert not out.exists()


@pytest.mark.usefixtures("_known_machine")
def test_the_cpu_is_not_compared_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--providers", CPU[0]], [model("stretch")], [model("stretch"), "--providers", CPU[0]]):
        assert run_cli("check", "--device", model("stretch"), *arguments, "-o", tmp_path) == 2
        assert "would be compared with itself" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_known_machine")
def test_what_is_compared_has_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider that is not here cannot be opened; it is not called an engine for that."""
    arguments = ("--providers", "CUDAExecutionProvider,CPUExecutionProvider", "-o", tmp_path, "--iterations", "4")
    assert run_cli("check", "--device", model("stretch"), *arguments) == 1
    said = capsys.readouterr().out
    assert "opening ONNX Runtime's CUDAExecutionProvider ..." in said
    assert "open ONNX Runtime's CUDAExecutionProvider: failed: " in said
    assert "engine" not in said


@pytest.mark.usefixtures("_known_machine")
def test_no_report_goes_over_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceReport, "name", "aerocam-device-x.json")
    same = tmp_path / "same.onnx"
    same.write_bytes(model("stretch").read_bytes())
    for _ in range(3):
        assert run_cli("check", "--device", model("stretch"), same, "-o", tmp_path / "out", "--iterations", "4") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["aerocam-device-x-2.json", "aerocam-device-x-3.json", "aerocam-device-x.json"]


@pytest.mark.usefixtures("_known_machine")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_writes_what_it_has(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = tmp_path / "same.onnx"
    same.write_bytes(model("stretch").read_bytes())
    monkeypatch.setattr(device_report, "measure", lambda *_: os.kill(os.getpid(), number))
    assert run_cli("check", "--device", model("stretch"), same, "-o", tmp_path / "out", "--iterations", "4") == 130
    (written,) = (tmp_path / "out").iterdir()
    record = json.loads(written.read_text())
    assert (record["interrupted"], record["verdict"]) == (True, "incomplete")
    assert record["steps"][-1]["name"] == "measure ONNX Runtime on the CPU"
    assert record["steps"][-1]["state"] == "interrupted"
    assert all(one["good"] for case in record["comparisons"] for one in case["differences"])
    assert "interrupted: the report has what was done until then" in capsys.readouterr().out


def test_how_arrays_are_judged() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2, 3, 4)).astype(np.float32)
    assert compare("x", "output", one, one * np.float32(1.0005), BOUNDS).good
    assert not compare("x", "output", one, one * np.float32(1.002), BOUNDS).good
    assert compare("x", "gradient", one, one * np.float32(1.1), BOUNDS).good
    assert not compare("x", "raw", one, one * np.float32(1.1), BOUNDS).good
    assert compare("x", "raw", one, one * np.float32(1.02), BOUNDS).good
    assert not compare("x", "gradient", one, -one, BOUNDS).good
    noisy = one + 0.1 * np.abs(one).max() * np.sign(rng.standard_normal(one.shape))
    found = compare("x", "gradient", one, noisy, BOUNDS)
    assert found.relative == pytest.approx(0.1, rel=1e-3)
    assert found.correlation == pytest.approx(np.corrcoef(one.ravel(), noisy.ravel())[0, 1])
    assert not found.good  # near enough in size, too unlike in form
    assert not compare("x", "choice", np.array([3]), np.array([4]), BOUNDS).good
    assert not compare("x", "map", np.zeros(3), np.full(3, 0.04), BOUNDS).good
    assert compare("x", "overlay", np.zeros(3), np.full(3, 15), BOUNDS).good
    assert not compare("x", "overlay", np.zeros(3), np.full(3, 16), BOUNDS).good
    assert not compare("x", "output", one, np.full_like(one, np.nan), BOUNDS).good
    assert not compare("x", "output", np.zeros(3), np.full(3, 1e-9), BOUNDS).good
    assert compare("x", "output", np.zeros(3), np.zeros(3), BOUNDS).good


def test_the_bounds_follow_from_how_the_engine_was_built() -> None:
    plain, scaled = read_manifest(model("stretch")), read_manifest(model("scaled"))
    assert precision_of(plain, {}) == "float32"
    assert precision_of(plain, {"precision": "typed", "tf32": True}) == "tf32"
    assert precision_of(plain, {"precision": "float16", "tf32": True}) == "float16"
    assert precision_of(scaled, {"precision": "typed", "tf32": False}) == "float16"
    assert precision_of(replace(plain, precision="float16"), {"precision": "typed"}) == "float16"  # before the layer


def test_what_is_sent_back_names_no_place_and_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "Jane Doe"))
    monkeypatch.setattr(socket, "gethostname", lambda: "jetson-of-jane")
    texts = {
        f"{tmp_path}/Jane Doe/flights/model.engine: no record": "flights/model.engine: no record",
        "/mnt/usb disk/model.onnx": "usb disk/model.onnx",
        "libcudart.so.12 in /mnt/jane/lib64/libcudart.so.12": "libcudart.so.12 in libcudart.so.12",
        "/usr/local/../../home/jane/a.onnx": "a.onnx",
        "PATH=/usr/bin:/home/jane/bin:$PATH": "PATH=/usr/bin:bin:$PATH",
        "see https://pypi.jetson-ai-lab.io/jp6/cu126 for 1/2": "see https://pypi.jetson-ai-lab.io/jp6/cu126 for 1/2",
        "~/models/a.onnx": "a.onnx",
        "cannot reach jane@jetson-of-jane": "cannot reach jane@HOST",
    }
    assert anonymous(list(texts)) == list(texts.values())
    assert anonymous({"/home/jane/x": [1, None, True, 2.5]}) == {"x": [1, None, True, 2.5]}
    assert anonymous("/opt/jane/a.onnx: no record", [Path("/opt/jane")]) == "a.onnx: no record"


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
def test_the_systems_own_paths_are_kept(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.base_prefix", prefix)
    kept = [
        "run: export PATH=/usr/local/cuda/bin:$PATH",
        "no camera: ls /dev/video*",
        "/etc/nv_tegra_release: none, /proc/device-tree/model too, nor /sys/class/video4linux/video0/name",
        "libcudart.so.12 in /opt/nvidia/lib/libcudart.so.12",
    ]
    assert anonymous(kept) == kept


class Counting:
    """A session that counts how many runs are under way, and in which order results are taken."""

    depth = 2

    def __init__(self) -> None:
        self.under_way, self.most, self.taken = 0, 0, []
        self.submitted = 0

    def submit(self, feeds: object) -> Any:
        """Begin one."""
        self.under_way += 1
        self.submitted += 1
        self.most = max(self.most, self.under_way)
        session, number = self, self.submitted

        class Run:
            def result(self) -> dict[str, Any]:
                session.under_way -= 1
                session.taken.append(number)
                return {}

        return Run()


@pytest.mark.parametrize("depth", [1, 2])
def test_throughput_keeps_so_many_runs_under_way(depth: int) -> None:
    session: Any = Counting()
    assert throughput(session, {}, depth, 7) > 0
    assert session.most == depth
    assert session.taken == list(range(1, 8))


@pytest.mark.slow
def test_the_whole_command_on_this_machine(tmp_path: Path) -> None:
    """With a real look at the machine, and nothing in the report that says whose it is."""
    same = tmp_path / "same.onnx"
    same.write_bytes(model("head_and_layers").read_bytes())
    arguments = ["check", "--device", str(model("head_and_layers")), str(same), "-o", str(tmp_path / "out"), "-q"]
    assert cli.main([*arguments, "--iterations", "4"]) == 0
    (written,) = (tmp_path / "out").iterdir()
    text = written.read_text()
    record = json.loads(text)
    assert record["doctor"]["probes"]["numpy"]["version"] == np.__version__
    assert set(record["after"]) == set(record["before"]) == set(device_report.WATCHED)
    assert record["model"]["head"] == "gradcam"
    assert str(tmp_path) not in text
    assert str(Path.cwd()) not in text
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
