"""What the tests of `aerocam check --device` share: a machine, steps of a report, models with other weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.benchmarks.device import report as device_report
from aerocam.benchmarks.device.record import DeviceReport
from tiny_models import model

MACHINE = {"probes": {"board": {"model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"}}}
MACHINE["probes"] |= {name: {"state": "absent", "reason": "none here"} for name in device_report.WATCHED}


def step(report: DeviceReport, name: str) -> dict[str, Any]:
    """The step of this name."""
    (found,) = [one for one in report.record["steps"] if one["name"] == name]
    return found


def altered(name: str, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], tensor: str = "W") -> Path:
    """A model whose weights are others, and whose manifest is the same."""
    onnx = pytest.importorskip("onnx", reason="models are altered with onnx")
    proto = onnx.load(model(name))
    for item in proto.graph.initializer:
        if item.name == tensor or (tensor == "W" and len(item.dims) >= 2):
            item.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(item)).copy(), item.name))
    onnx.save(proto, tmp_path / f"{name}.onnx")
    return tmp_path / f"{name}.onnx"
