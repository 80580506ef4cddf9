"""ONNX Runtime's sessions replaced by ones that keep what they are given: providers, their options, fallback."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest

from aerocam.providers import CPU, CUDA, TENSORRT

NEW = "1.23.0"


class Started:
    """What sessions were opened with, in place of ONNX Runtime's: it says that all providers started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str = NEW) -> None:
        """Take the place of ONNX Runtime's class."""
        self.providers: list[list[tuple[str, dict[str, str]]]] = []
        self.fallback: list[bool] = []
        started, real = self, onnxruntime.InferenceSession

        class Session(real):  # type: ignore[misc, valid-type]
            def __init__(self, path: Any, sess_options: Any = None, providers: Any = (), **options: Any) -> None:
                started.providers.append(providers)
                self.named = [name for name, _ in providers]
                super().__init__(path, sess_options, providers=[CPU], **options)

            def get_providers(self) -> list[str]:
                return self.named

            def disable_fallback(self) -> None:
                super().disable_fallback()
                started.fallback.append(self._enable_fallback)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "__version__", version)
