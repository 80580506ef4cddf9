"""ONNX Runtime's execution providers: which ones, with which options; the defaults that gradients and maps need."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from aerocam.errors import AerocamError, UsageError, WriteError, did_you_mean
from aerocam.files import sha256

logger = logging.getLogger("aerocam.providers")

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

Provider: TypeAlias = "str | tuple[str, Mapping[str, Any]]"
"""A provider's name, or its name and its options."""

TF32_SINCE = (1, 18)
"""First version of ONNX Runtime whose CUDA provider has the option `use_tf32`; older ones refuse it."""

FLAGS = re.compile(
    r"trt_\w+_enable|trt_(int8_use_native_calibration_table|dump_subgraphs|force_sequential_engine_build"
    r"|layer_norm_fp32_fallback|force_timing_cache|detailed_build_log|dump_ep_context_model|engine_hw_compatible)"
)
"""Options of the TensorRT provider that are on or off: ONNX Runtime takes `True` or `False` there, and no numbers."""

REFUSED = re.compile(r"provider option|\[TensorRT\] The value for the key|Invalid TensorRT EP option", re.IGNORECASE)
"""How ONNX Runtime says that it does not take an option; the TensorRT provider reads its own."""

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""Environment variable that switches TF32 off in NVIDIA's libraries, where it is 0."""


def names(providers: Sequence[Provider]) -> list[str]:
    """Return the providers' names.

    Raises:
        UsageError: A provider is named twice.
    """
    own = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    for name in own:
        if own.count(name) > 1:
            raise UsageError(f"execution provider '{name}': it is named twice; name it once, with all its options")
    return own


def with_options(providers: Sequence[str], options: Sequence[str]) -> list[Provider]:
    """Combine providers with their options as the command line has them.

    Args:
        providers: Names of the providers.
        options: `NAME=VALUE` or `PROVIDER:NAME=VALUE` each. Without a provider, NAME is TensorRT's where it begins with
            `trt_`, else that of the first provider that is not TensorRT's.

    Raises:
        UsageError: An option is not of that form, is of a provider that is not named, or is given twice.
    """
    values: dict[str, dict[str, str]] = {name: {} for name in providers}
    for text in options:
        left, equals, value = text.partition("=")
        provider, _, name = (part.strip() for part in left.rpartition(":"))
        if not (name and equals and value.strip()):
            raise UsageError(
                f"--provider-option {text}: NAME=VALUE or PROVIDER:NAME=VALUE is expected,"
                " as in trt_engine_cache_enable=0"
            )
        provider = provider or _owner(name, providers)
        if provider not in values:
            raise UsageError(
                f"--provider-option {text}: it is of '{provider}', which is not among --providers"
                f" {','.join(providers)}; name it there too"
            )
        if name in values[provider]:
            raise UsageError(
                f"--provider-option {text}: it was given before, as {values[provider][name]}; give it once"
            )
        values[provider][name] = value.strip()
    return [(name, own) if own else name for name, own in values.items()]


def _owner(name: str, providers: Sequence[str]) -> str:
    """Return the provider that an option without one is meant for."""
    if name.startswith("trt_"):
        return TENSORRT
    return next((provider for provider in providers if provider != TENSORRT), CPU)


def require_available(providers: Sequence[Provider], available: Sequence[str], version: str) -> None:
    """Make sure that this build of ONNX Runtime has the providers.

    Args:
        providers: Those asked for.
        available: What `onnxruntime.get_available_providers` says.
        version: Version of ONNX Runtime.

    Raises:
        UsageError: No provider is named, one is named twice, or one is not available.
    """
    if not providers:
        raise UsageError(f"execution providers: none were named; available here: {', '.join(available)}")
    for name in names(providers):
        if name not in available:
            raise UsageError(
                f"execution provider '{name}' is not in this ONNX Runtime {version};"
                f" available here: {', '.join(available)}. {did_you_mean(name, available)}"
            )


def with_defaults(
    providers: Sequence[Provider], version: str, model: str | os.PathLike[str] | None = None
) -> list[tuple[str, dict[str, str]]]:
    """Return providers with every option that ONNX Runtime is given; the caller's values take precedence.

    CUDA: no TF32, which rounds what masks and clusters need exact. TensorRT: no float16 but what the model says itself,
    and where a model is named, engines and timings kept beside it, by the hash of its file: ONNX Runtime's own names
    for them are the same for two models that differ in their weights alone.

    Args:
        providers: Those asked for.
        version: Version of ONNX Runtime.
        model: The model's file; None where it does not stay.

    Raises:
        UsageError: A provider is there twice, or the CPU's has options, which ONNX Runtime would ignore.
        WriteError: The folder for the engines cannot be made.
    """
    asked = dict(
        zip(names(providers), ({} if isinstance(provider, str) else provider[1] for provider in providers), strict=True)
    )
    complete = []
    for name, own in asked.items():
        options = {key: _text(value) for key, value in own.items()}
        if name == CPU and options:
            raise UsageError(
                f"execution provider '{CPU}': it takes no options, {', '.join(options)} was given; leave it out"
            )
        if name == CUDA and _numbers(version) >= TF32_SINCE:
            options = {"use_tf32": "0", **options}
        if name == TENSORRT:
            options = _tensorrt_options({key: _flag(key, value) for key, value in options.items()}, model)
        complete.append((name, options))
    return complete


def _tensorrt_options(options: dict[str, str], model: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return TensorRT's options with the defaults, and make the folder for engines."""
    options = {"trt_fp16_enable": "False", **options}
    if os.environ.get(TF32_VARIABLE) != "0":
        logger.warning(
            "%s may round products in float32 to TF32, and has no option against it; set %s=0 before the start"
            " where maps must be exact (CF-CAM, resized frames)",
            TENSORRT,
            TF32_VARIABLE,
        )
    if model is None:
        return options
    options = {"trt_engine_cache_enable": "True", **options}
    if options["trt_engine_cache_enable"] in ("False", "false"):
        return options
    if "trt_engine_cache_path" not in options:
        options["trt_engine_cache_path"] = str(cache_folder(model))
    folder = options["trt_engine_cache_path"]
    try:
        os.makedirs(folder, exist_ok=True)  # ONNX Runtime makes the last folder only
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot make this folder for TensorRT's engines ({error.strerror}); name another with"
            " the provider's option trt_engine_cache_path=FOLDER, or keep none with trt_engine_cache_enable=0"
        ) from error
    logger.info("%s: engines are kept in %s; building one takes minutes", TENSORRT, folder)
    return {"trt_timing_cache_enable": "True", **options}


def option_error(error: Exception) -> UsageError | None:
    """Make the error for an option that ONNX Runtime does not know or cannot read; None if it failed otherwise."""
    text = " ".join(str(error).split())
    if isinstance(error, AerocamError) or not REFUSED.search(text):
        return None
    return UsageError(f"execution providers: ONNX Runtime takes no such option ({text}); leave it out or correct it")


def described(providers: Sequence[tuple[str, Mapping[str, str]]], started: Sequence[str]) -> list[str]:
    """Describe the providers that ONNX Runtime started, with the options that it was given."""
    asked = dict(providers)
    options = {name: ", ".join(f"{key}={value}" for key, value in asked.get(name, {}).items()) for name in started}
    return [f"{name} ({text})" if text else name for name, text in options.items()]


def cache_folder(model: str | os.PathLike[str]) -> Path:
    """Return the folder for the engines of a model file: beside it, named by the hash of its content."""
    path = Path(model)
    return path.with_name(f"{path.stem}.trt-cache") / sha256(path)[:16]


def _text(value: Any) -> str:
    """Return an option's value as ONNX Runtime reads it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _flag(name: str, value: str) -> str:
    """Return the value of an option of TensorRT's provider; 0 and 1 become False and True if it is one of `FLAGS`."""
    return {"0": "False", "1": "True"}.get(value, value) if FLAGS.fullmatch(name) else value


def _numbers(version: str) -> tuple[int, ...]:
    """Return the major and the minor version as numbers."""
    return tuple(int(part) for part in version.split(".")[:2])
