"""A machine with a stand-in GPU: its packages in place of the real ones, and engines for it."""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from aerocam.files import sha256
from aerocam.onnx_metadata import read_manifest
from aerocam.runtime.trt.engine_file import BuildSettings, EngineRecord, EngineTensor, write_engine
from stand_ins import cuda_python, pycuda_driver, tensorrt
from stand_ins.gpu import Gpu

PACKAGES = {"cuda-python": ("cuda.bindings.runtime",), "pycuda": ("pycuda.driver",)}
MODULES = ("cuda.bindings.runtime", "cuda.cudart", "pycuda.driver", "tensorrt", "tensorrt_rtx")


def install(
    patch: pytest.MonkeyPatch, gpu: Gpu, package: str | None = "cuda-python", version: str | None = "10.3.0"
) -> None:
    """Let the interpreter find the stand-ins alone, until the test is over.

    Args:
        patch: Takes it back.
        gpu: Theirs.
        package: Which one for CUDA; None: none.
        version: Of TensorRT; None: not installed.
    """
    made: dict[str, ModuleType | None] = dict.fromkeys(MODULES)
    if package == "cuda-python":
        made["cuda.bindings.runtime"] = cuda_python.runtime_api(gpu)
    elif package == "pycuda":
        made["pycuda.driver"] = pycuda_driver.driver(gpu)
    if version is not None:
        made["tensorrt"] = tensorrt.tensorrt(gpu, version)
    patch.delenv("AEROCAM_CUDA", raising=False)
    patch.setattr("aerocam.runtime.cuda.pycuda_driver._RETAINED", threading.local())  # each test has a GPU of its own
    for name, module in made.items():
        if module is not None:
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        patch.setitem(sys.modules, name, module)  # type: ignore[arg-type]


def build(model: Path, engine: Path, **changes: Any) -> Path:
    """An engine of an exported model for the stand-in GPU, and its record.

    Args:
        model: The ONNX file.
        engine: The engine's.
        changes: To the record; `plan` is what the builder says it is for: version and compute capability.
    """
    version, capability = changes.pop("plan", ("10.3.0", "8.7"))
    content = tensorrt.plan(model.read_bytes(), version, capability)
    record = EngineRecord(
        bindings="tensorrt",
        tensorrt="10.3.0",
        compute_capability="8.7",
        device="Orin (stand-in)",
        model=model.name,
        model_sha256=sha256(model),
        plan_sha256="",
        plan_bytes=len(content),
        tensors=tensors(model),
        settings=BuildSettings(),
        manifest=read_manifest(model),
        aerocam="test",
    )
    write_engine(engine, content, replace(record, plan_sha256=_sha256(content), **changes))
    return engine


def tensors(model: Path) -> tuple[EngineTensor, ...]:
    """Inputs and outputs of an ONNX file, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return tuple(
        EngineTensor(node.name, mode, _dtype(node.type), tuple(node.shape))  # type: ignore[arg-type]
        for mode, nodes in (("input", session.get_inputs()), ("output", session.get_outputs()))
        for node in nodes
    )


def _dtype(name: str) -> str:
    return np.dtype(tensorrt.TYPES[name][1]).name


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
