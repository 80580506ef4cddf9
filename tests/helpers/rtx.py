"""TensorRT for RTX: NVIDIA's parser and builder, which need no GPU there. It is a part of the tests' set-up."""

from __future__ import annotations

import importlib
import platform
import sys
from typing import Any

import pytest

HAS_WHEELS = sys.platform == "linux" and platform.machine() == "x86_64"
"""Whether NVIDIA publishes TensorRT for RTX for this platform; where it does, the test extra brings it."""


def rtx() -> Any:
    """The module `tensorrt_rtx`: a test module is skipped where there is no wheel, else absence is an error."""
    if not HAS_WHEELS:
        pytest.skip("no TensorRT for RTX for this platform", allow_module_level=True)
    return importlib.import_module("tensorrt_rtx")
