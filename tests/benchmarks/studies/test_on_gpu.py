"""The page of what only a GPU can show: here without one, its figures on the CPU, its sessions on a stand-in GPU."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam import cli
from aerocam.benchmarks.device import report as device_report
from aerocam.benchmarks.device.differences import compare
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.benchmarks.studies import gpu_steps as steps
from aerocam.benchmarks.studies import on_gpu
from aerocam.benchmarks.studies.gpu_steps import Network, attempt
from aerocam.errors import AerocamError
from aerocam.providers import CPU, CUDA
from aerocam.runtime import open_session
from aerocam.runtime.cuda.choice import INSTALL, PACKAGES
from checkout import ROOT
from stand_ins import machine
from stand_ins.gpu import Gpu
from tiny_models import model

RESULTS = ROOT / "benchmarks/studies/results"
NO_DRIVER = {"reason": "no NVIDIA GPU: none in this test"}
A_GPU = {"name": "A GPU", "compute capability": "9.0", "driver": "580.65.06"}
ABSENT = {"state": "absent", "reason": "is not installed"}
DOCTOR: dict[str, Any] = {
    "probes": {
        "onnxruntime": {"state": "found", "version": "1.30.0", "providers": [CPU]},
        "tensorrt": ABSENT,
        "cuda_packages": ABSENT,
        "numpy": {"state": "found", "version": "2.4.6"},
        "driver": {"state": "found", "version": "580.65.06"},
        "cuda": {"state": "found", "device": "A GPU", "compute_capability": "9.0"},
    }
}


def without_gpu() -> dict[str, Any]:
    """What the doctor says of the same machine without a GPU."""
    return {"probes": {**DOCTOR["probes"], "driver": {"state": "absent", **NO_DRIVER}, "cuda": ABSENT}}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a plain network: a convolution, a ReLU, means over all places, a linear layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"]),
    ]
    weights = {"w": rng.standard_normal((8, 3, 3, 3), np.float32), "v": rng.standard_normal((8, 4), np.float32)}
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    folder = tmp_path / "models"
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "plain.onnx"
    )
    return folder


def written(out: Path) -> tuple[dict[str, Any], str]:
    """The record and the page in a folder."""
    record: dict[str, Any] = json.loads((out / on_gpu.RECORD).read_text(encoding="utf-8"))
    return record, (out / on_gpu.PAGE).read_text(encoding="utf-8")


def test_without_a_gpu_no_step_runs_and_the_page_says_so(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_gpu, "examine", without_gpu)
    out = tmp_path / "out"
    assert on_gpu.main(["--out", str(out), "--models", str(models)]) == 3
    record, page = written(out)
    assert page.splitlines()[2].startswith("**Nothing of this has run on a GPU yet.**")
    assert {row["step"] for row in record["rows"]} == {
        "machine", "memory", "speed", "maps", "build", "session", "check --device",
    }  # fmt: skip
    for row in record["rows"]:
        assert row["state"] == "not run"
        assert row["said"].startswith("no NVIDIA GPU: none in this test [run `make gpu` on a machine with")
        assert row["figures"] is None
        assert f"| {row['step']} | {row['case']} | not run | {row['said']} |" in page.splitlines()
    assert str(tmp_path) not in json.dumps(record)
    assert "doctor" not in record
    assert "passed" not in capsys.readouterr().out


def test_figures_of_a_gpu_are_not_written_over_and_a_folder_without_models_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu, "examine", without_gpu)
    kept = tmp_path / on_gpu.RECORD
    kept.write_text(json.dumps({"gpu": A_GPU}))
    assert on_gpu.main(["--out", str(tmp_path), "--models", str(models)]) == 3
    assert json.loads(kept.read_text()) == {"gpu": A_GPU}
    assert not (tmp_path / on_gpu.PAGE).exists()
    with pytest.raises(SystemExit) as ended:
        on_gpu.main(["--models", str(tmp_path / "nowhere")])
    assert ended.value.code == 2


def test_the_committed_page_is_that_of_its_record() -> None:
    record, page = written(RESULTS)
    assert page == on_gpu.page(record)
    ran = [row for row in record["rows"][1:] if row["state"] != "not run"]
    assert ("Nothing of this has run on a GPU yet" in page) == (not ran)
    if "reason" in record["gpu"]:
        assert not ran


def test_a_gpu_without_anything_to_run_on_it(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step names what it lacks and the command for it; nothing counts as shown, and nothing as failed."""
    monkeypatch.setattr(on_gpu, "examine", lambda: DOCTOR)
    monkeypatch.setattr(on_gpu, "installed", lambda: ())
    assert on_gpu.main(["--out", str(tmp_path), "--models", str(models)]) == 0
    record, page = written(tmp_path)
    assert page.splitlines()[2].startswith("**Nothing of this has run on a GPU yet.**")
    assert record["doctor"]["probes"].keys() == DOCTOR["probes"].keys()
    first, *rows = record["rows"]
    assert (first["state"], first["figures"]) == ("passed", A_GPU)
    assert "A GPU, compute capability 9.0, driver 580.65.06" in first["said"]
    assert {row["state"] for row in rows} == {"not run"}
    said = {(row["step"], row["case"]): row["said"] for row in rows}
    for package in PACKAGES:
        assert said["memory", package] == f"{package} is not installed [{INSTALL[package]}]"
        assert said["session", f"plain, {package}"].startswith("TensorRT: is not installed [python3 -m pip install ten")
    assert said["speed", "plain"].startswith(f"no {CUDA}: ONNX Runtime 1.30.0 has only {CPU} [")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in said["maps", "plain"]


def test_the_exit_code_is_that_of_the_worst_row() -> None:
    def code(*states: str, gpu: Any = A_GPU) -> int:
        return on_gpu.exit_code({"gpu": gpu, "rows": [{"state": state} for state in states]})

    assert code("passed", "not run") == 0
    assert code("passed", "failed", "not run") == 1
    assert code("not run", gpu=NO_DRIVER) == 3


def test_the_gpu_is_what_the_doctor_found() -> None:
    """The driver alone (no package for CUDA) or CUDA alone (the kernel shows no driver) is enough."""
    assert on_gpu.gpu_of(DOCTOR) == A_GPU
    assert on_gpu.gpu_of(without_gpu()) == NO_DRIVER
    probes = DOCTOR["probes"]
    driver_alone = on_gpu.gpu_of({"probes": {**probes, "cuda": ABSENT}})
    assert driver_alone == {"name": "an NVIDIA GPU", "compute capability": "not shown", "driver": "580.65.06"}
    assert on_gpu.gpu_of({"probes": {**probes, "driver": ABSENT}}) == {**A_GPU, "driver": "not shown"}


GOOD = {"name": "y", "kind": "output", "absolute": 2e-4, "relative": 1e-4, "correlation": None, "good": True}


def test_a_case_that_ends_its_process_is_a_failed_row() -> None:
    good = partial(steps.judge, [{"differences": [GOOD]}])
    passed, ended, silent = (
        steps.run_apart("maps", "net, first", good),
        steps.run_apart("maps", "net, second", partial(os._exit, 7)),  # type: ignore[arg-type]
        steps.run_apart("speed", "net", good, limit=0),
    )
    assert (passed.step, passed.case, passed.state) == ("maps", "net, first", "passed")
    assert passed.figures["largest"] == {"output": {"largest": 1e-4, "bound": 1e-3}}
    assert (ended.case, ended.state, ended.said) == ("net, second", "failed", "its process ended with code 7")
    assert (silent.case, silent.state, silent.said) == ("net", "failed", "no answer within 0 s")


def test_ratios_are_taken_round_by_round() -> None:
    """Plain doubles from round to round; a tenth more of it every time is a ratio of 1.1 with no spread."""
    plain = np.array([10.0, 20.0, 40.0, 80.0])
    times = {"plain": plain, "gradcam": 1.1 * plain, "cfcam": plain * [1, 2, 3, 4]}
    said, figures = steps.compare_times(times)
    assert figures["rounds"] == 4
    assert figures["milliseconds"]["plain"]["p50"] == 30
    assert figures["ratio to plain"]["gradcam"] == pytest.approx({"median": 1.1, "q1": 1.1, "q3": 1.1})
    assert figures["ratio to plain"]["cfcam"] == pytest.approx({"median": 2.5, "q1": 1.75, "q3": 3.25})
    assert said == "plain 30.00 ms; over plain: gradcam 1.100 (1.100 to 1.100), cfcam 2.500 (1.750 to 3.250)"


def test_speed_is_measured_of_three_exports(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ON_CUDA", [CPU])
    monkeypatch.setattr(steps, "PROTOCOL", Protocol(4, 0, 0))
    good, said, figures = steps.measure_speed(Network("plain", models, tmp_path))
    assert good
    assert set(figures["milliseconds"]) == {"plain", "gradcam", "cfcam"}
    assert set(figures["ratio to plain"]) == {"gradcam", "cfcam"}
    assert (figures["rounds"], figures["providers"]) == (4, [CPU])
    assert said.endswith(f"; on {CPU}")


def test_the_largest_difference_by_kind_is_what_counts() -> None:
    """Two outputs differ by 2.5e-4 and 5e-4 of the largest; a raw map differs by 0.05, its bound is 0.03."""
    reference = np.array([1.0, 2.0, 4.0], np.float32)

    def difference(name: str, kind: Any, change: float) -> dict[str, Any]:
        return vars(compare(name, kind, reference, reference + np.array([0, 0, change], np.float32), steps.BOUNDS))

    near = {"differences": [difference("y", "output", 1e-3), difference("map", "map", 0.01)]}
    good, said, figures = steps.judge([near, {"differences": [difference("y", "output", 2e-3)]}])
    assert good
    assert figures["largest"]["output"] == {"largest": pytest.approx(5e-4, rel=1e-3), "bound": 1e-3}
    assert figures["largest"]["map"] == {"largest": pytest.approx(0.01, rel=1e-3), "bound": 0.03}
    assert said == "largest differences: output 0.0005 (bound 0.001), map 0.01 (bound 0.03)"
    good, said, _ = steps.judge([near, {"differences": [difference("raw map", "raw", 0.2)]}])
    assert not good
    assert said.endswith("raw 0.05 (bound 0.03); too large: raw map")
    good, said, _ = steps.judge([near, {"differences": [difference("y", "output", np.nan)]}])
    assert not good
    assert said.startswith("largest differences: output not finite")
    assert not steps.judge([])[0]


def test_maps_of_one_file_are_equal_and_of_other_weights_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny network's logits, gradients and maps are linear in its weights: a twentieth more is 0.05 of each."""
    monkeypatch.setattr(steps, "ON_CUDA", [CPU])
    network = Network("tiny", None, tmp_path)
    for head, recipe in (("gradcam", "head"), (steps.TENSORS, "stretch")):
        shutil.copy(model(recipe), network.folder / f"tiny.{head}.onnxruntime.cam.onnx".replace(" ", "-"))
        good, said, figures = steps.compare_maps(network, head)
        assert good
        assert {one["largest"] for one in figures["largest"].values()} == {0.0}
        assert sum(figures["kernels"].values()) == figures["kernels"][CPU] > 0
        assert said.endswith(f"{figures['kernels'][CPU]} of {figures['kernels'][CPU]} kernels ran on {CPU}")
    proto = onnx.load(model("stretch"))
    for item in proto.graph.initializer:
        if item.name == "W":
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(1.05), "W"))
    onnx.save(proto, tmp_path / "other.onnx")
    monkeypatch.setattr(
        steps, "open_session", lambda path, providers=None: open_session(tmp_path / "other.onnx" if providers else path)
    )
    good, _, figures = steps.compare_maps(network, steps.TENSORS)
    assert not good
    assert figures["largest"]["output"]["largest"] == pytest.approx(0.05, rel=1e-4)
    assert figures["largest"]["gradient"]["largest"] == pytest.approx(0.05, rel=1e-4)
    assert figures["largest"]["raw"]["largest"] == pytest.approx(0.05, rel=1e-4)


def test_that_nothing_ran_on_cuda_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session may be given CUDA and place every node on the CPU; equal maps show nothing then."""
    real = steps.open_on_cuda
    network = Network("tiny", None, tmp_path)
    shutil.copy(model("head"), tmp_path / "tiny.gradcam.onnxruntime.cam.onnx")

    def on_the_cpu(path: Path, **options: Any) -> Any:
        with monkeypatch.context() as inner:
            inner.setattr(steps, "ON_CUDA", [CPU])
            return real(path, **options)

    monkeypatch.setattr(steps, "open_on_cuda", on_the_cpu)
    monkeypatch.setattr(steps, "open_session", lambda path, providers=None: open_session(path))
    row = attempt("maps", "tiny", partial(steps.compare_maps, network, "gradcam"))
    assert row.state == "failed"
    assert f"; 0 of {row.figures['kernels'][CPU]} kernels ran on {CUDA}" in row.said


def test_a_head_that_is_refused_and_an_engine_that_was_not_built(models: Path, tmp_path: Path) -> None:
    refused = attempt("maps", "", partial(steps.compare_maps, Network("plain", models, tmp_path), "no-such-head"))
    assert refused.state == "not run"
    assert refused.said.startswith("the export refuses it: ")
    missing = attempt("build", "", lambda: (True, str(Network("plain", models, tmp_path).engine("gradcam")), None))
    assert (missing.state, missing.said) == ("not run", "there is no engine; its build has a row above")
    broken = attempt("speed", "", partial(steps.compare_times, {}))  # type: ignore[arg-type]
    assert (broken.state, broken.said) == ("failed", "KeyError: 'plain'")


def test_a_network_that_cannot_be_fetched_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse() -> None:
        asked.append(1)
        raise AerocamError("cannot fetch it:\nthe network is needed")

    monkeypatch.setattr("aerocam.benchmarks.zoo.lite0.model", refuse)
    network = Network(steps.LITE0, None, tmp_path)
    rows = [attempt("speed", "", partial(steps.measure_speed, network)) for _ in range(2)]
    said = "it cannot be had: cannot fetch it: the network is needed; or give files of your own by --models"
    assert [(row.state, row.said) for row in rows] == [("not run", said)] * 2
    assert asked == [1]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("eager", [False, True])
def test_bytes_go_there_and_back_on_a_stand_in_gpu(package: str, eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(eager=eager)
    machine.install(monkeypatch, gpu, package)
    good, said, figures = steps.exercise_memory(package, 1001)
    assert good
    ways = ["on a stream"] + ["by a captured graph"] * (package == "cuda-python")
    assert said == "Orin (stand-in): " + ", ".join(
        [*(f"1001 bytes went there and back {way}" for way in ways), "twice the GPU's memory is refused"]
    )
    assert (figures["name"], figures["compute_capability"]) == ("Orin (stand-in)", "8.7")
    assert gpu.launched == (package == "cuda-python")
    gc.collect()
    assert gpu.held == {}


class Forgetful(Gpu):
    """A GPU whose memory does not keep what it is given."""

    def copy(self, destination: int, source: int, size: int, stream: int) -> None:
        """Copy, but for the last byte."""
        super().copy(destination, source, size - 1, stream)


@pytest.mark.parametrize("package", PACKAGES)
def test_bytes_that_come_back_altered_are_a_failure(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install(monkeypatch, Forgetful(), package)
    row = attempt("memory", package, partial(steps.exercise_memory, package, 1001))
    assert row.state == "failed"
    assert row.said == "EngineError: Orin (stand-in): 1001 bytes came back altered on a stream; the same were expected"


@pytest.mark.parametrize(("package", "capture"), [("cuda-python", False), ("cuda-python", True), ("pycuda", False)])
def test_an_engine_is_compared_on_a_stand_in_gpu(
    package: str, capture: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu()
    machine.install(monkeypatch, gpu, package)
    network = tiny_with_engine(tmp_path)
    good, _, figures = steps.run_engine(network, "gradcam", package, capture)
    assert good
    assert {one["largest"] for one in figures["largest"].values()} == {0.0}
    assert {"output", "raw", "map"} <= set(figures["largest"])
    assert (gpu.launched > 0) == capture


def tiny_with_engine(folder: Path) -> Network:
    """A network whose export for TensorRT and its engine for the stand-in GPU are there."""
    exported = Path(shutil.copy(model("head"), folder / "tiny.gradcam.tensorrt.cam.onnx"))
    machine.build(exported, exported.with_suffix(".engine"))
    return Network("tiny", None, folder)


def test_the_device_check_is_the_command_lines_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install(monkeypatch, Gpu())
    found = dict.fromkeys((*device_report.WATCHED, "board"), ABSENT)
    monkeypatch.setattr(device_report, "examine", lambda: {"probes": found})

    def in_this_process(*arguments: Any) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            return cli.main([*map(str, arguments), "--iterations", "4"]), said.getvalue()

    monkeypatch.setattr(steps, "call_aerocam", in_this_process)
    row = attempt("check --device", "tiny", partial(steps.check_device, tiny_with_engine(tmp_path), True))
    assert (row.state, row.said) == ("passed", "exit code 0; verdict: agrees")
    assert row.figures["reports"][0]["verdict"] == "agrees"
    assert "the engine agrees with ONNX Runtime on the CPU" in row.figures["text"]


def test_the_command_line_is_called_with_a_provider_and_the_plain_network(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own parser and checks take the call; what it says of the provider is the machine's affair."""
    seen: list[str] = []
    monkeypatch.setattr(steps, "call_aerocam", lambda *given: (seen.extend(map(str, given)) or 1, "it said\nno"))
    row = attempt("check --device", "", partial(steps.check_device, Network("plain", models, tmp_path), False))
    assert (row.state, row.said, row.figures["reports"]) == ("failed", "exit code 1; it said no", [])
    args = cli.build_parser().parse_args(seen)
    assert (args.device, args.exported, args.providers) == (True, None, f"{CUDA},{CPU}")
    assert Path(args.model).is_file()
    assert Path(args.plain) == models / "plain.onnx"


def test_the_command_line_runs_in_a_process_of_its_own() -> None:
    code, text = steps.call_aerocam("build", "no-such-file.onnx")
    assert code == 1
    assert text.startswith("aerocam build: error: no-such-file.onnx: no such file")
