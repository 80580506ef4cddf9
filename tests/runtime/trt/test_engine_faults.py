"""Every way in which an engine does not fit, or a machine cannot run it: one clear error each."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import EngineError, ManifestError, MissingDependencyError, UsageError
from aerocam.runtime import open_session
from aerocam.runtime.cuda.choice import open_cuda
from aerocam.runtime.trt.engine_file import BuildSettings
from aerocam.runtime.trt.session import TensorRtSession
from stand_ins import machine, tensorrt
from stand_ins.gpu import Gpu
from stand_ins.refusals import built, refused
from tiny_models import model

pytestmark = pytest.mark.runtime

FEEDS = {"images": np.zeros((1, 3, 32, 48), np.float32), manifest.TARGET: np.array([-1], np.int32)}
AGAIN = "run: aerocam build tiny.onnx -o tiny.engine"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    machine.install(monkeypatch, gpu)
    return gpu


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return Path(shutil.copy(model("stretch"), tmp_path / "tiny.onnx"))


def test_one_that_fits_is_opened_by_its_suffix(gpu: Gpu, onnx: Path) -> None:
    for suffix in (".engine", ".plan", ".trt"):
        with open_session(machine.build(onnx, onnx.with_suffix(suffix))) as session:
            assert isinstance(session, TensorRtSession)
            assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0


@pytest.mark.parametrize("option", [{"providers": ["CPUExecutionProvider"]}, {"threads": 2}])
def test_options_of_onnx_runtime(gpu: Gpu, onnx: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"were given .* which are ONNX Runtime's; a TensorRT engine has none"):
        open_session(built(onnx), **option)


def test_an_engine_of_another_version(gpu: Gpu, onnx: Path) -> None:
    said = refused(built(onnx, tensorrt="10.7.0"), EngineError, gpu)
    assert "it was built by tensorrt 10.7.0, here is tensorrt 10.3.0; it runs on tensorrt 10.7.0 alone" in said
    assert "aerocam build tiny.onnx -o tiny.engine" in said


def test_an_engine_of_the_other_module(gpu: Gpu, onnx: Path) -> None:
    said = refused(built(onnx, bindings="tensorrt_rtx", tensorrt="1.7.1"), EngineError, gpu)
    assert "it was built by tensorrt_rtx 1.7.1, here is tensorrt 10.3.0" in said


@pytest.mark.parametrize(
    ("version", "here", "runs"),
    [("10.3.0", "10.13.3", True), ("10.13.3", "11.4.0", True), ("10.13.3", "10.3.0", False), ("11.4", "10.13", False)],
)
def test_a_version_compatible_engine(
    monkeypatch: pytest.MonkeyPatch, onnx: Path, version: str, here: str, runs: bool
) -> None:
    """A newer TensorRT runs it, an older one does not."""
    machine.install(monkeypatch, Gpu(), version=here)
    settings = BuildSettings(version_compatible=True)
    engine = built(onnx, tensorrt=version, plan=(version, "8.7"), settings=settings)
    if runs:
        with TensorRtSession(engine) as session:
            assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0
    else:
        assert f"it runs on tensorrt {version} or newer" in refused(engine, EngineError)


def test_an_engine_of_another_gpu(gpu: Gpu, onnx: Path) -> None:
    said = refused(built(onnx, compute_capability="8.6", device="RTX A2000"), EngineError, gpu)
    assert "it was built for RTX A2000, compute capability 8.6, here is Orin (stand-in), 8.7" in said
    assert "build it on this machine: aerocam build tiny.onnx -o tiny.engine" in said


@pytest.mark.parametrize(("capability", "runs"), [((8, 7), True), ((12, 0), True), ((7, 5), False)])
def test_an_engine_for_ampere_and_later(
    monkeypatch: pytest.MonkeyPatch, onnx: Path, capability: tuple[int, int], runs: bool
) -> None:
    machine.install(monkeypatch, Gpu(capability=capability))
    settings = BuildSettings(hardware="ampere_plus")
    engine = built(onnx, compute_capability="8.6", plan=("10.3.0", "any"), settings=settings)
    if runs:
        TensorRtSession(engine).close()
    else:
        assert "here is Orin (stand-in), 7.5" in refused(engine, EngineError)


def test_another_device_of_the_same_kind_is_warned_of(gpu: Gpu, onnx: Path, caplog: pytest.LogCaptureFixture) -> None:
    TensorRtSession(built(onnx)).close()
    assert not caplog.records
    TensorRtSession(built(onnx, device="AGX Orin")).close()
    assert "it was built on AGX Orin, here is Orin (stand-in) of the same compute capability" in caplog.text


def test_an_engine_of_another_export_of_the_model(gpu: Gpu, onnx: Path) -> None:
    engine = built(onnx)
    shutil.copy(model("crop"), onnx)
    said = refused(engine, EngineError, gpu)
    assert "it was built from another tiny.onnx than the one beside it, which was exported since" in said
    assert said.endswith(AGAIN)
    onnx.unlink()  # on the device the engine may lie alone
    TensorRtSession(engine).close()


def test_an_engine_whose_tensors_are_not_the_records(gpu: Gpu, onnx: Path) -> None:
    tensors = machine.tensors(onnx)
    changed = replace(tensors[0], shape=(1, 3, 64, 64)), *tensors[1:]
    said = refused(built(onnx, tensors=changed), EngineError, gpu)
    assert "found input 'images' float32 (1, 3, 32, 48), its record says input 'images' float32 (1, 3, 64, 64)" in said
    said = refused(built(onnx, tensors=tensors[:-1]), EngineError, gpu)
    assert "found output 'G' float32 (1, 3, 8, 12), its record says no tensor 'G'" in said
    said = refused(built(onnx, tensors=(*tensors, replace(tensors[-1], name="H"))), EngineError, gpu)
    assert "found no tensor 'H', its record says output 'H'" in said


def test_a_tensor_that_is_read_on_the_host(gpu: Gpu, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tensorrt.TensorLocation.HOST
    monkeypatch.setattr(tensorrt.Engine, "get_tensor_location", lambda engine, name: host)
    said = refused(built(onnx), EngineError, gpu)
    assert "TensorRT reads 'images' on the host, as a shape, every tensor is expected on the GPU" in said


def test_a_truncated_engine(gpu: Gpu, onnx: Path) -> None:
    engine = built(onnx)
    content = engine.read_bytes()
    engine.write_bytes(content[:-9])
    said = refused(engine, EngineError, gpu)
    assert f"found {len(content) - 9} bytes, its record was written for {len(content)} bytes; it was truncated" in said
    engine.write_bytes(content[:-1] + b"?")
    assert "bytes with another checksum" in refused(engine, EngineError, gpu)
    engine.unlink()
    assert "there is no such file, expected an engine written by `aerocam build`" in refused(engine, EngineError, gpu)


def test_an_engine_that_tensorrt_does_not_take(gpu: Gpu, onnx: Path) -> None:
    """Its reason is in its log alone."""
    said = refused(built(onnx, plan=("9.0.0", "8.7")), EngineError, gpu)
    assert "tensorrt 10.3.0 does not take this engine: Serialized Engine Version does not match" in said
    assert said.endswith(AGAIN)


def test_a_missing_or_altered_record(gpu: Gpu, onnx: Path) -> None:
    engine = built(onnx)
    record = engine.with_name("tiny.engine.json")
    data = json.loads(record.read_text())
    record.write_text(json.dumps(data | {"compute_capability": "9.0"}))
    assert "it was changed since it was written" in refused(engine, ManifestError, gpu)
    record.write_text("{")
    assert "tiny.engine.json: cannot read it" in refused(engine, ManifestError, gpu)
    record.unlink()
    said = refused(engine, ManifestError, gpu)
    assert "there is no tiny.engine.json beside it, which says what is in it; copy both files, or run" in said


@pytest.mark.parametrize("package", ["cuda-python", "pycuda"])
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, onnx: Path, package: str) -> None:
    machine.install(monkeypatch, Gpu(count=0), package)
    said = refused(built(onnx), EngineError)
    assert said.startswith(f"CUDA: {package} finds no GPU with a driver here (")
    assert "run it on the machine it was built for, or run the .onnx file here" in said


def test_no_driver_for_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own module does not load without libcuda."""
    from aerocam.runtime.cuda import pycuda_driver

    machine.install(monkeypatch, Gpu(), "pycuda")

    def fail(name: str) -> None:
        raise ImportError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(pycuda_driver.importlib, "import_module", fail)
    with pytest.raises(EngineError, match=r"pycuda finds no GPU with a driver here \(libcuda.so.1: cannot open"):
        open_cuda("pycuda")


def test_no_package_for_cuda(monkeypatch: pytest.MonkeyPatch, onnx: Path) -> None:
    machine.install(monkeypatch, Gpu(), None)
    said = refused(built(onnx), MissingDependencyError)
    assert "CUDA: neither cuda-python nor pycuda is installed" in said
    assert "pip install 'cuda-python==12.6.*'" in said
    assert "pip install pycuda" in said


def test_the_package_for_cuda_can_be_chosen(monkeypatch: pytest.MonkeyPatch, onnx: Path) -> None:
    machine.install(monkeypatch, Gpu(), "pycuda")
    assert open_cuda().name == open_cuda("pycuda").name == "pycuda"
    assert "CUDA: cuda-python is not installed, and was asked for: pip install" in refused(
        built(onnx), MissingDependencyError, cuda="cuda-python"
    )
    monkeypatch.setenv("AEROCAM_CUDA", "cuda-python")
    assert "cuda-python is not installed, and was asked for" in refused(built(onnx), MissingDependencyError)
    monkeypatch.setenv("AEROCAM_CUDA", "cupy")
    assert "AEROCAM_CUDA: there is no package 'cupy' for CUDA." in refused(built(onnx), UsageError)
    monkeypatch.delenv("AEROCAM_CUDA")
    assert "capture: pycuda has no CUDA graphs; install cuda-python" in refused(built(onnx), UsageError, capture=True)


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch, onnx: Path) -> None:
    machine.install(monkeypatch, Gpu(), version=None)
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")
    monkeypatch.setattr("aerocam.runtime.trt.session.MODULES", ("tensorrt_that_is_not_there",))
    with pytest.raises(MissingDependencyError, match=r"TensorRT: it is not installed; on a Jetson: sudo apt install"):
        TensorRtSession(built(onnx, bindings="tensorrt"))
