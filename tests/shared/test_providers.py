"""Execution providers and their options: what reaches ONNX Runtime, and every way in which they can be wrong.

No GPU is at hand: ONNX Runtime's session is replaced by one that keeps what it is given and runs on the CPU.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from aerocam import manifest, providers
from aerocam.cli import main
from aerocam.errors import ModelError, UsageError, WriteError
from aerocam.providers import CPU, CUDA, TENSORRT, option_error, with_defaults, with_options
from aerocam.runtime import Explainer
from aerocam.runtime.sessions.opening import open_session
from started_sessions import NEW, Started
from tiny_models import model

pytestmark = pytest.mark.runtime

FEEDS = {"images": np.zeros((1, 3, 32, 48), np.float32), manifest.TARGET: np.array([-1], np.int32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model in a folder of its own."""
    return Path(shutil.copy(model("stretch"), tmp_path / "net.cam.onnx"))


def test_engines_are_kept_beside_the_model_by_its_hash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models that differ in their weights alone would have the same name in ONNX Runtime's own cache."""
    started = Started(monkeypatch)
    with open_session(path, providers=[TENSORRT, CUDA, CPU]) as session:
        assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0
    folder = path.parent / "net.cam.trt-cache" / hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    (given,) = started.providers
    assert given == [
        (TENSORRT, {
            "trt_fp16_enable": "False", "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "True",
        }),
        (CUDA, {"use_tf32": "0"}),
        (CPU, {}),
    ]  # fmt: skip
    assert folder.is_dir()
    assert started.fallback == [False]


def test_what_the_caller_says_holds(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = Started(monkeypatch)
    own = tmp_path / "far" / "cache"
    tensorrt = {"trt_engine_cache_path": own, "trt_fp16_enable": True, "trt_max_workspace_size": 1 << 30}
    open_session(path, providers=[(TENSORRT, tensorrt), (CUDA, {"use_tf32": 1, "device_id": 1})]).close()
    (first, second), *_ = started.providers
    assert first[1] == {
        "trt_fp16_enable": "True", "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(own),
        "trt_timing_cache_enable": "True", "trt_max_workspace_size": "1073741824",
    }  # fmt: skip
    assert second[1] == {"use_tf32": "1", "device_id": "1"}
    assert own.is_dir()


def test_no_engines_are_kept_where_that_is_switched_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    before = set(path.parent.iterdir())
    open_session(path, providers=[(TENSORRT, {"trt_engine_cache_enable": False}), CPU]).close()
    assert started.providers[0][0][1] == {"trt_fp16_enable": "False", "trt_engine_cache_enable": "False"}
    assert set(path.parent.iterdir()) == before
    assert with_defaults([TENSORRT], NEW)[0][1] == {"trt_fp16_enable": "False"}  # of a model that does not stay


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"trt_int8_enable": "1", "trt_dump_subgraphs": "0"},
            {"trt_int8_enable": "True", "trt_dump_subgraphs": "False"},
        ),
        ({"trt_force_timing_cache": True, "device_id": 1}, {"trt_force_timing_cache": "True", "device_id": "1"}),
        ({"trt_fp16_enable": "true", "trt_dla_core": 0}, {"trt_fp16_enable": "true", "trt_dla_core": "0"}),
    ],
)
def test_the_tensorrt_provider_reads_flags_in_words(given: dict[str, Any], expected: dict[str, str]) -> None:
    """ONNX Runtime says of "1": "The value for the key 'trt_fp16_enable' should be 'True' or 'False'"."""
    assert with_defaults([(TENSORRT, given)], NEW)[0][1] == {"trt_fp16_enable": "False", **expected}


@pytest.mark.parametrize(("version", "options"), [("1.16.3", {}), ("1.17.1", {}), ("1.18.0", {"use_tf32": "0"})])
def test_an_option_that_came_later_is_not_given_to_older_versions(version: str, options: dict[str, str]) -> None:
    assert with_defaults([CUDA], version) == [(CUDA, options)]


def test_tf32_of_the_tensorrt_provider_is_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no option against it; NVIDIA's libraries read a variable."""
    monkeypatch.delenv(providers.TF32_VARIABLE, raising=False)
    with caplog.at_level(logging.WARNING):
        with_defaults([TENSORRT], NEW)
    assert "set NVIDIA_TF32_OVERRIDE=0 before the start" in caplog.text
    caplog.clear()
    monkeypatch.setenv(providers.TF32_VARIABLE, "0")
    with_defaults([TENSORRT, CUDA], NEW)
    assert not caplog.records


def test_a_folder_for_engines_that_cannot_be_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Started(monkeypatch)
    (path.parent / "net.cam.trt-cache").write_text("in the way")
    with pytest.raises(WriteError, match=r"cannot make this folder .* provider's option trt_engine_cache_path=FOLDER"):
        open_session(path, providers=[TENSORRT])


def test_an_absent_model_is_named_before_its_hash_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Started(monkeypatch)
    with pytest.raises(ModelError, match=r"absent\.onnx: there is no such file"):
        open_session("absent.onnx", providers=[TENSORRT])


def test_the_command_line_hands_options_on(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    started = Started(monkeypatch)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((32, 48, 3), 90, np.uint8))
    said = [
        "--providers", f"{TENSORRT},{CUDA},{CPU}", "--provider-option", "trt_engine_cache_enable=0",
        "--provider-option", "use_tf32=1", "--provider-option", f"{TENSORRT}:device_id=1",
    ]  # fmt: skip
    page = tmp_path / "page.html"
    called = ["explain", str(path), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--html", str(page)]
    assert main([*called, *said]) == 0
    assert started.providers == [
        [
            (TENSORRT, {"trt_fp16_enable": "False", "trt_engine_cache_enable": "False", "device_id": "1"}),
            (CUDA, {"use_tf32": "1"}),
            (CPU, {}),
        ]
    ]
    assert "trt_engine_cache_enable=0" in page.read_text(encoding="utf-8")
    assert main([*called, "--provider-option", "use_tf32=1"]) == 2
    assert "--provider-option use_tf32=1: it is of a provider; name that with --providers" in capsys.readouterr().err


def test_an_explainer_hands_options_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    Explainer(path, providers=[(CUDA, {"gpu_mem_limit": 1 << 20}), CPU]).close()
    assert started.providers == [[(CUDA, {"use_tf32": "0", "gpu_mem_limit": "1048576"}), (CPU, {})]]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        ([CPU], [], [CPU]),
        ([TENSORRT, CPU], ["trt_x=1", " trt_y = a b "], [(TENSORRT, {"trt_x": "1", "trt_y": "a b"}), CPU]),
        ([TENSORRT, CUDA, CPU], ["device_id=1"], [TENSORRT, (CUDA, {"device_id": "1"}), CPU]),
        ([CUDA, TENSORRT], [f"{TENSORRT}:device_id=2"], [CUDA, (TENSORRT, {"device_id": "2"})]),
        ([CUDA], ["path=/a:b=c"], [(CUDA, {"path": "/a:b=c"})]),
    ],
)
def test_whose_an_option_is(names: list[str], options: list[str], expected: list[Any]) -> None:
    assert with_options(names, options) == expected


@pytest.mark.parametrize(
    ("names", "option", "message"),
    [
        ([CUDA], "use_tf32", "NAME=VALUE or PROVIDER:NAME=VALUE is expected"),
        ([CUDA], "=1", "NAME=VALUE or PROVIDER:NAME=VALUE is expected"),
        ([CUDA], "use_tf32=", "NAME=VALUE or PROVIDER:NAME=VALUE is expected"),
        ([CUDA], "trt_fp16_enable=1", f"it is of '{TENSORRT}', which is not among --providers {CUDA}"),
        ([TENSORRT], "device_id=1", f"it is of '{CPU}', which is not among"),
        ([CUDA], f"{CPU}:x=1", f"it is of '{CPU}', which is not among"),
        ([CUDA], "use_tf32=1", "it was given before, as 1; give it once"),
    ],
)
def test_an_option_that_cannot_be_read(names: list[str], option: str, message: str) -> None:
    with pytest.raises(UsageError, match="--provider-option") as caught:
        with_options(names, [option, option])
    assert message in str(caught.value)


def test_the_cpus_provider_takes_no_options_and_none_is_named_twice() -> None:
    """ONNX Runtime ignores what the CPU's is given, and the second of two."""
    with pytest.raises(UsageError, match=r"'CPUExecutionProvider': it takes no options, arena was given"):
        open_session(model("stretch"), providers=[(CPU, {"arena": 1})])
    with pytest.raises(UsageError, match="it is named twice"):
        open_session(model("stretch"), providers=[CPU, CPU])


@pytest.mark.parametrize(
    "text",
    [
        'Unknown provider option: "trt_nonsense".',
        'Failed to parse provider option "gpu_mem_limit": no number',
        "Invalid TensorRT EP option: trt_nonsense",
        "[ERROR] [TensorRT] The value for the key 'trt_fp16_enable' should be 'True' or 'False'.",
    ],
)
def test_an_option_that_onnx_runtime_refuses_is_one_clear_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """In the words of its own parser of options; it says nothing on standard output and tries no other provider."""
    Started(monkeypatch)

    def refuse(*_: Any, **options: Any) -> None:
        assert options["enable_fallback"] == "0"
        raise RuntimeError(f"provider_options_utils.h:146 Parse {text}\n")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(UsageError, match="ONNX Runtime takes no such option") as caught:
        open_session(path, providers=[(CUDA, {"trt_nonsense": 1})])
    assert text in str(caught.value)
    assert option_error(RuntimeError("out of memory")) is None


def test_a_provider_that_does_not_start_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Started(monkeypatch)

    def fail(*_: Any, **options: Any) -> None:
        raise RuntimeError("CUDA failure 35: driver version is insufficient")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(ModelError, match=rf"cannot start it on {CUDA}: CUDA failure 35.*ask for other providers"):
        open_session(path, providers=[CUDA])


def test_records_say_what_was_asked(tmp_path: Path) -> None:
    """What a benchmark's record keeps of providers."""
    given = with_defaults([(CUDA, {"device_id": 1})], NEW)
    assert json.dumps(providers.described(given, [CUDA, CPU])) == json.dumps([f"{CUDA} (use_tf32=0, device_id=1)", CPU])
