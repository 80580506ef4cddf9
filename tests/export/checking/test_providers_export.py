"""Execution providers and options in the self-check: those asked for, and no engine kept of a model that goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aerocam.cli import main
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.providers import CPU, CUDA, TENSORRT
from aerocam.runtime import Explainer
from onnx_graphs import saved
from small_networks import cnn
from started_sessions import Started


def test_the_self_check_runs_on_the_providers_with_their_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started(monkeypatch)
    path = saved(tmp_path, cnn())
    chosen = ["--providers", f"{TENSORRT},{CUDA},{CPU}", "--provider-option", "trt_fp16_enable=1"]
    assert main(["export", str(path), *chosen]) == 0
    assert main(["check", str(path), str(tmp_path / "model.cam.onnx"), *chosen]) == 0
    assert len(started.providers) >= 6
    expected = [(TENSORRT, {"trt_fp16_enable": "True"}), (CUDA, {"use_tf32": "0"}), (CPU, {})]
    assert all(given == expected for given in started.providers)
    assert started.fallback == [False] * len(started.providers)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.cam.onnx", "model.onnx"]


def test_both_files_of_a_split_export_run_on_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = export_model(saved(tmp_path, cnn()), packaging="split")
    started = Started(monkeypatch)
    with Explainer(done.path, providers=[(CUDA, {"device_id": 1}), CPU]) as explainer:
        explainer(np.zeros((8, 8, 3), np.uint8))
    assert started.providers == [[(CUDA, {"use_tf32": "0", "device_id": "1"}), (CPU, {})]] * 2


def test_a_provider_or_an_option_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, cnn())
    with pytest.raises(UsageError, match="'CPUExecutionProvider': it takes no options"):
        export_model(path, providers=[(CPU, {"arena": 1})])
    with pytest.raises(UsageError, match=r"'CUDAExecutionProvidr' is not in this ONNX Runtime"):
        export_model(path, providers=["CUDAExecutionProvidr"])
    Started(monkeypatch)

    def fail(*_: object, **options: object) -> None:
        assert options["enable_fallback"] == "0"
        raise RuntimeError(said)

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    said = "CUDA failure 35"
    with pytest.raises(ModelError, match=f"cannot start {CUDA}: CUDA failure 35"):
        export_model(path, providers=[CUDA])
    said = 'Unknown provider option: "x"'
    with pytest.raises(UsageError, match="ONNX Runtime takes no such option"):
        export_model(path, providers=[(CUDA, {"x": 1})])
    assert list(tmp_path.iterdir()) == [path]
