"""Whether an engine may run here, from its record: TensorRT itself gives no reason but a log line, or none."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.errors import EngineError
from aerocam.files import sha256
from aerocam.runtime.cuda.access import Device
from aerocam.runtime.trt.bindings import TensorRt
from aerocam.runtime.trt.engine_file import EngineRecord, EngineTensor, build_command

logger = logging.getLogger(__name__)

AMPERE = 8
"""Major compute capability from which on `ampere_plus` engines run."""


def check_model(path: Path, record: EngineRecord) -> None:
    """Make sure that the model beside an engine is the one that it was built from. Without that model nothing is said.

    Raises:
        EngineError: The model was exported anew since the engine was built.
    """
    model = path.parent / record.model
    if model.is_file() and sha256(model) != record.model_sha256:
        raise EngineError(
            f"{path}: it was built from another {record.model} than the one beside it, which was exported since;"
            f" run: {build_command(path, record)}"
        )


def check_tensorrt(path: Path, record: EngineRecord, tensorrt: TensorRt) -> None:
    """Make sure that this TensorRT can run the engine.

    Raises:
        EngineError: It is the other module's, or of another version.
    """
    built = f"{record.bindings} {record.tensorrt}"
    if tensorrt.name == record.bindings and tensorrt.version == record.tensorrt:
        return
    newer = _series(tensorrt.version) >= _series(record.tensorrt)
    if tensorrt.name == record.bindings and record.settings.version_compatible and newer:
        return
    expected = f"{built} or newer" if record.settings.version_compatible else f"{built} alone"
    raise EngineError(
        f"{path}: it was built by {built}, here is {tensorrt}; it runs on {expected}, so build it with the one"
        f" that is here: {build_command(path, record)}"
    )


def check_device(path: Path, record: EngineRecord, device: Device) -> None:
    """Make sure that the engine was built for this GPU, or for others of its kind.

    Raises:
        EngineError: It was built for another compute capability.
    """
    ampere = record.settings.hardware == "ampere_plus" and int(device.compute_capability.partition(".")[0]) >= AMPERE
    if device.compute_capability != record.compute_capability and not ampere:
        built = f"{record.device}, " if record.device else ""
        raise EngineError(
            f"{path}: it was built for {built}compute capability {record.compute_capability}, here is {device.name},"
            f" {device.compute_capability}; build it on this machine: {build_command(path, record)}"
        )
    if record.settings.hardware == "none" and record.device not in ("", device.name):
        logger.warning(
            "%s: it was built on %s, here is %s of the same compute capability; it may be slower than one built here",
            path,
            record.device,
            device.name,
        )


def check_tensors(path: Path, record: EngineRecord, trt: Any, engine: Any) -> None:
    """Make sure that an engine has the inputs and outputs that its record says, all of them on the GPU.

    Args:
        path: The engine's file.
        record: Its record.
        trt: TensorRT's module.
        engine: TensorRT's own object.

    Raises:
        EngineError: The engine has other tensors.
    """
    tensors, recorded = engine_tensors(trt, engine), {tensor.name: tensor for tensor in record.tensors}
    for name in dict.fromkeys((*recorded, *tensors)):
        if tensors.get(name) != recorded.get(name):
            here, there = _described(tensors.get(name), name), _described(recorded.get(name), name)
            raise EngineError(
                f"{path}: found {here}, its record says {there};"
                f" the two are not of one build, run: {build_command(path, record)}"
            )
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise EngineError(
                f"{path}: TensorRT reads '{name}' on the host, as a shape, every tensor is expected on the GPU; export"
                " the model with static shapes (`input_shapes`) and build it again"
            )


def engine_tensors(trt: Any, engine: Any) -> dict[str, EngineTensor]:
    """Return inputs and outputs of TensorRT's engine, by name."""
    tensors = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        mode = "input" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "output"
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        tensors[name] = EngineTensor(name, mode, _dtype(trt, engine.get_tensor_dtype(name)), shape)  # type: ignore[arg-type]
    return tensors


def _dtype(trt: Any, dtype: Any) -> str:
    """Return NumPy's name of an element type, or TensorRT's where NumPy has none."""
    try:
        return np.dtype(trt.nptype(dtype)).name
    except TypeError:  # bfloat16, float8 and smaller
        return str(dtype)


def _described(tensor: EngineTensor | None, name: str) -> str:
    return f"no tensor '{name}'" if tensor is None else f"{tensor.mode} '{name}' {tensor.dtype} {tensor.shape}"


def _series(version: str) -> tuple[int, ...]:
    """Return the numbers of a version that count for compatibility: major and minor."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
