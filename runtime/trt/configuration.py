"""What TensorRT's builder is told, from `BuildSettings`.

Modules differ in what their enums have, and that alone decides here: no version is looked at.
"""

from __future__ import annotations

from typing import Any

from aerocam.errors import EngineError, UsageError
from aerocam.runtime.trt.bindings import TensorRt
from aerocam.runtime.trt.build_target import BuildTarget
from aerocam.runtime.trt.engine_file import BuildSettings, Hardware

LEVELS = range(6)
"""TensorRT's builder optimization levels."""

HARDWARE = {"ampere_plus": "AMPERE_PLUS", "same_compute_capability": "SAME_COMPUTE_CAPABILITY"}
"""Names of `HardwareCompatibilityLevel`."""


def configure(tensorrt: TensorRt, builder: Any, settings: BuildSettings, target: BuildTarget) -> Any:
    """Return the builder's configuration.

    Raises:
        UsageError: A setting that TensorRT never takes.
        EngineError: A setting that this TensorRT does not have.
    """
    trt, config = tensorrt.module, builder.create_builder_config()
    # What is rounded to TF32 breaks equality masks, clusters' distances and grey levels; TensorRT has it on by default.
    _flag(tensorrt, config, "TF32", settings.tf32, "tf32=True", "leave it out")
    if settings.precision == "float16":
        advice = "export the model with `precision='float16'`, and build that as it is"
        _flag(tensorrt, config, "FP16", True, "precision='float16'", advice)
    if settings.version_compatible:
        _flag(tensorrt, config, "VERSION_COMPATIBLE", True, "version_compatible=True", "leave it out")
    if settings.hardware != "none":
        config.hardware_compatibility_level = _hardware(tensorrt, settings.hardware)
    if settings.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    if settings.optimization_level >= 0:
        if settings.optimization_level not in LEVELS:
            raise UsageError(f"`optimization_level={settings.optimization_level}`: 0 to {LEVELS[-1]} is expected")
        config.builder_optimization_level = settings.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector has no types to report
    if hasattr(config, "set_compute_capability"):
        config.num_compute_capabilities = 1
        config.set_compute_capability(_compute_capability(trt, target), 0)
    return config


def _flag(tensorrt: TensorRt, config: Any, name: str, wanted: bool, setting: str, advice: str) -> None:
    """Set or clear a flag; one that is not wanted need not exist.

    Raises:
        EngineError: The flag is wanted and does not exist.
    """
    flag = getattr(tensorrt.module.BuilderFlag, name, None)
    if flag is not None:
        (config.set_flag if wanted else config.clear_flag)(flag)
    elif wanted:
        raise EngineError(f"`{setting}`: {tensorrt} has no builder flag {name}; {advice}")


def _hardware(tensorrt: TensorRt, wanted: Hardware) -> Any:
    """Return TensorRT's own name for a kind of hardware compatibility."""
    levels = getattr(tensorrt.module, "HardwareCompatibilityLevel", None)
    level = getattr(levels, HARDWARE[wanted], None)
    if level is None:
        levels_here = [name for name, theirs in HARDWARE.items() if hasattr(levels, theirs)]
        raise EngineError(
            f"`hardware={wanted!r}`: {tensorrt} has no such hardware compatibility"
            f" ({', '.join(levels_here) or 'none at all'}); leave it out, and build on each kind of device"
        )
    return level


def _compute_capability(trt: Any, target: BuildTarget) -> Any:
    """Return TensorRT's own name for a compute capability."""
    if target.present:
        return trt.ComputeCapability.CURRENT
    return getattr(trt.ComputeCapability, f"SM{target.compute_capability.replace('.', '')}")
