"""What a session on an engine gets of the GPU, and that all of it goes back, in order, whatever happens."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import EngineError
from aerocam.runtime.trt.session import TensorRtSession
from checkout import HELPERS, ROOT
from runtime_fixtures import run_python
from stand_ins import machine, tensorrt
from stand_ins.gpu import Gpu
from stand_ins.refusals import built, refused
from tiny_models import model

pytestmark = pytest.mark.runtime

FEEDS = {"images": np.zeros((1, 3, 32, 48), np.float32), manifest.TARGET: np.array([-1], np.int32)}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    machine.install(monkeypatch, gpu)
    return gpu


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return Path(shutil.copy(model("stretch"), tmp_path / "tiny.onnx"))


@pytest.mark.parametrize("package", ["cuda-python", "pycuda"])
@pytest.mark.parametrize(("total", "free"), [(20_000, "0.0"), (60_000, "0.0"), (1_500_000_000, None)])
def test_out_of_memory_for_buffers(
    monkeypatch: pytest.MonkeyPatch, onnx: Path, package: str, total: int, free: str | None
) -> None:
    """At the first buffer, and after some, which are given back."""
    gpu = Gpu(total=total)
    machine.install(monkeypatch, gpu, package)
    if free is None:
        monkeypatch.setattr("aerocam.runtime.trt.runs.np.prod", lambda shape, dtype: 400 << 20)
        said = refused(built(onnx), EngineError, gpu)
        assert "CUDA: Orin (stand-in) is out of memory: 1600 MiB were asked for, 1431 MiB of 1431 MiB are free" in said
    else:
        said = refused(built(onnx), EngineError, gpu)
        assert "CUDA: Orin (stand-in) is out of memory: 0.0 MiB were asked for" in said
    assert "are free; end other programs, or export the model with fewer layers or targets" in said
    assert gpu.log.count("push") == gpu.log.count("pop")


def test_out_of_memory_for_a_run(monkeypatch: pytest.MonkeyPatch, onnx: Path) -> None:
    gpu = Gpu(total=300_000)
    machine.install(monkeypatch, gpu)
    said = refused(built(onnx), EngineError, gpu)
    assert "TensorRT cannot make room for a run: [defaultAllocator.cpp::allocate] out of memory" in said
    assert "it asks for 1.0 MiB beside the weights, 0.2 MiB of 0.3 MiB are free: end other programs, or build" in said


def test_a_run_that_tensorrt_refuses(gpu: Gpu, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TensorRtSession(built(onnx)) as session:
        with monkeypatch.context() as patch:
            patch.setattr(tensorrt.Context, "execute_async_v3", _refuse)
            with pytest.raises(EngineError, match=r"TensorRT failed, it did not start a run: enqueueV3: Cask error"):
                session.run(FEEDS)
            patch.setattr(tensorrt.Context, "set_tensor_address", lambda context, name, memory: False)
            with pytest.raises(EngineError, match=r"it does not take an address for 'images'"):
                session.run(FEEDS)
        assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0
    assert gpu.held == {}


def _refuse(context: tensorrt.Context, stream_handle: int) -> bool:
    context._logger.log(tensorrt.ILogger.Severity.ERROR, "enqueueV3: Cask error")
    return False


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("cuda-python", "cudaEventSynchronize failed: cudaErrorIllegalAddress"),
        ("pycuda", "event_synchronize failed: 700"),
    ],
)
def test_an_error_on_the_gpu(monkeypatch: pytest.MonkeyPatch, onnx: Path, package: str, said: str) -> None:
    """Then nothing works any more, and the first error is the one that is told."""
    gpu = Gpu()
    machine.install(monkeypatch, gpu, package)
    session = TensorRtSession(built(onnx))

    def run() -> None:
        with session:
            submitted = session.submit(FEEDS)
            gpu.broken = True
            submitted.result()

    with pytest.raises(EngineError) as caught:
        run()
    assert str(caught.value).startswith("CUDA: ")
    assert said in str(caught.value)
    assert str(caught.value).endswith("; open the model again, and if that fails too, start the program again")


@pytest.mark.parametrize("package", ["cuda-python", "pycuda"])
def test_tensorrts_objects_do_not_outlive_a_failed_opening(
    monkeypatch: pytest.MonkeyPatch, onnx: Path, package: str
) -> None:
    """Though the error's traceback holds whoever made them: the GPU's context would be gone before they are."""
    gpu = Gpu()
    machine.install(monkeypatch, gpu, package)
    with pytest.raises(EngineError, match="found output 'G'") as caught:
        TensorRtSession(built(onnx, tensors=machine.tensors(onnx)[:-1]))
    assert gpu.log.index("~engine") < gpu.log.index("~runtime")
    assert package != "pycuda" or "pop" in gpu.log[gpu.log.index("~runtime") :]
    del caught


def test_a_run_that_cannot_be_captured(gpu: Gpu, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is not left in capture: the session goes on without it, or says why again."""
    run = tensorrt.Context.execute_async_v3
    with TensorRtSession(built(onnx), capture=True) as session:
        with monkeypatch.context() as patch:
            patch.setattr(
                tensorrt.Context,
                "execute_async_v3",
                lambda context, stream: (_refuse if gpu.capturing else run)(context, stream),
            )
            for _ in range(2):
                with pytest.raises(EngineError, match="it did not start a run"):
                    session.run(FEEDS)
        assert not gpu.capturing
        assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0
    assert gpu.held == {}


def test_what_is_got_is_given_back_in_order(gpu: Gpu, onnx: Path) -> None:
    with TensorRtSession(built(onnx), capture=True) as session:
        for _ in range(4):
            session.run(FEEDS)
        assert gpu.launched == 2  # the first of each slot are done as they are
        del gpu.log[:]
    kinds = ["cudaStreamSynchronize", "cudaGraphExecDestroy", "~context", "~engine", "~runtime", "cudaEventDestroy"]
    places = [gpu.log.index(kind) for kind in [*kinds, "cudaStreamDestroy"]]
    assert places == sorted(places)
    assert gpu.held == {}


def test_runs_that_nobody_waits_for_do_not_pile_up(gpu: Gpu, onnx: Path) -> None:
    with TensorRtSession(built(onnx)) as session:
        (stream,) = gpu.streams.values()
        waiting = []
        for _ in range(6):
            session.submit(FEEDS)
            waiting.append(len(stream))
    one = waiting[0]
    assert waiting == [one, *[2 * one] * 5]


def test_a_session_that_nobody_closes_gives_everything_back(gpu: Gpu, onnx: Path) -> None:
    session = TensorRtSession(built(onnx))
    session.submit(FEEDS)
    del session
    gc.collect()
    assert gpu.held == {}


AT_EXIT = """
import atexit, sys
sys.path[:0] = sys.argv[1:3]
atexit.register(lambda: print(gpu.held, gpu.log.count("~context")))
from pathlib import Path
import numpy, pytest
from stand_ins import machine
from stand_ins.gpu import Gpu
from aerocam.runtime import open_session
gpu = Gpu()
machine.install(pytest.MonkeyPatch(), gpu, sys.argv[4])
session = open_session(sys.argv[3])
run = session.submit({"images": numpy.zeros((1, 3, 32, 48), "f4"), "aerocam_target": numpy.array([-1], "i4")})
del run
"""


@pytest.mark.parametrize("package", ["cuda-python", "pycuda"])
def test_a_session_that_is_open_at_exit_is_closed(onnx: Path, package: str) -> None:
    done = run_python(AT_EXIT, HELPERS, ROOT / "src", built(onnx), package)
    assert done.stderr == ""
    assert done.stdout == "{} 1\n"
