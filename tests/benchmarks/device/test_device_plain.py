"""The plain model that a device's times are compared with."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from aerocam.benchmarks.device.inputs import open_plain
from aerocam.errors import ManifestError
from aerocam.runtime import open_session
from tiny_models import model

pytestmark = pytest.mark.runtime

CPU = ["CPUExecutionProvider"]


def test_a_plain_model_has_the_options_of_the_explained_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 in one of them, or another provider behind its back, would make the ratio of their times mean nothing."""
    asked: list[dict[str, Any]] = []
    real = onnxruntime.InferenceSession

    def on_the_cpu(path: str, providers: Any, **options: Any) -> Any:
        asked.append({"providers": providers, **options})
        return real(path, providers=CPU)

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.0")
    with ExitStack() as opened, open_session(model("stretch")) as session:
        asked.clear()
        monkeypatch.setattr("aerocam.benchmarks.device.inputs.open_session", _no_manifest)
        open_plain(model("no_manifest"), session, ["CUDAExecutionProvider", *CPU], opened)()
    (given,) = asked
    assert given["providers"] == [("CUDAExecutionProvider", {"use_tf32": "0"}), (CPU[0], {})]
    assert given["enable_fallback"] == "0"


def _no_manifest(path: Path, **options: Any) -> Any:
    raise ManifestError("no manifest")
