"""Engines for a stand-in GPU, and what a session says that does not open one."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from aerocam.errors import AerocamError
from aerocam.runtime.trt.session import TensorRtSession
from stand_ins import machine
from stand_ins.gpu import Gpu


def built(onnx: Path, **changes: Any) -> Path:
    return machine.build(onnx, onnx.with_suffix(".engine"), **changes)


def refused(path: Path, kind: type[AerocamError], gpu: Gpu | None = None, **options: Any) -> str:
    """What the session says; nothing may be left behind."""
    with pytest.raises(kind) as caught:
        TensorRtSession(path, **options)
    said = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in said
    del caught
    gc.collect()
    assert gpu is None or gpu.held == {}
    return said
