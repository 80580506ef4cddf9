"""`build_engines`: an exported model's ONNX files in, its engines out; the recipe, top to bottom."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from aerocam import __version__
from aerocam.errors import EngineError
from aerocam.files import sha256, write_together
from aerocam.progress import TerminalLine
from aerocam.runtime.trt import timing_cache
from aerocam.runtime.trt.bindings import TensorRt, load_tensorrt, message_logger
from aerocam.runtime.trt.build_target import BuildTarget, build_target
from aerocam.runtime.trt.configuration import configure
from aerocam.runtime.trt.engine_file import Bindings, BuildSettings, EngineRecord, engine_files
from aerocam.runtime.trt.inspection import Inspection, inspect_plan
from aerocam.runtime.trt.jobs import EngineJob, engine_jobs, needs_float32
from aerocam.runtime.trt.monitor import build_monitor
from aerocam.runtime.trt.network import computed_in, empty_network, network_tensors, parse

logger = logging.getLogger("aerocam.runtime")

MEMORY = re.compile(r"out ?of ?memory|memory ?allocation|bad_alloc|insufficient memory|could not allocate", re.I)
"""How TensorRT and CUDA say that memory ran out."""

FALLING_BACK = re.compile(r"fall(s|ing)? ?back|fell back|no implementation .*precision", re.I)
"""How TensorRT's log says that a layer does not run as it was asked to."""


@dataclass(frozen=True)
class Built:
    """Describes an engine, as it was built.

    Attributes:
        path: Its file.
        record: What lies beside it.
        layers: Layers of TensorRT's network, before the builder joins them.
        computed_in: Element types in which its convolutions and products can run, the most frequent first.
        parse_seconds: What reading the ONNX file took.
        build_seconds: What building took.
        warnings: What TensorRT's log says of layers that fell back.
        inspection: What became of the layers; None where the engine cannot be loaded, for want of its GPU, or where
            TensorRT does not say.
    """

    path: Path
    record: EngineRecord
    layers: int
    computed_in: tuple[str, ...]
    parse_seconds: float
    build_seconds: float
    warnings: tuple[str, ...]
    inspection: Inspection | None


@dataclass(frozen=True)
class _Workshop:
    """Holds what all engines of a model are built with; see `build_engines`."""

    tensorrt: TensorRt
    settings: BuildSettings
    target: BuildTarget
    cache: Path | None
    stopped: Callable[[], bool]


def build_engines(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    settings: BuildSettings | None = None,
    compute_capability: str | None = None,
    cache_folder: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Built]:
    """Build the engine of an exported model; of a split one, those of all its files. All are written, or none.

    Args:
        model: A file written by `aerocam export`; of a split model, the one that runs on every frame.
        output: Where to write; None: beside the model, `.engine` for `.onnx`. The other engines of a split model get
            `.explain` and `.tail` before the suffix.
        settings: How to build; None: the defaults.
        compute_capability: Of the GPU to build for, as in "8.6"; None: that of the GPU here.
        cache_folder: Where timing caches are kept; None: nowhere.
        stopped: Asked at every step, by TensorRT's threads: whether to end the build.

    Raises:
        ModelError: One of its kinds: no exported model, or no engine can be built of it.
        UsageError: A setting or a name that cannot be.
        WriteError: An engine cannot be written.
        MissingDependencyError: TensorRT is not installed.
        KeyboardInterrupt: `stopped` said so; nothing is written.
    """
    jobs = engine_jobs(Path(model), None if output is None else Path(output))
    if settings is not None and settings.tf32 and (part := needs_float32(jobs[0].manifest)):
        logger.warning("%s: TF32 rounds what %s needs exact: build it without `tf32`", model, part)
    tensorrt = load_tensorrt()
    target = build_target(tensorrt, compute_capability)
    cache = None if cache_folder is None else timing_cache.cache_file(cache_folder, tensorrt, target)
    workshop = _Workshop(tensorrt, settings or BuildSettings(), target, cache, stopped)
    done, files = [], {}
    for job in jobs:
        built, plan = _build(workshop, job)
        done.append(built)
        files.update(engine_files(job.engine, plan, built.record))
    write_together(files)
    return done


def _build(shop: _Workshop, job: EngineJob) -> tuple[Built, memoryview]:
    """Build one engine; return what is said of it, and the plan."""
    trt, log = shop.tensorrt.module, message_logger(shop.tensorrt.module)
    logger.info("%s: building for compute capability %s", job.model.name, shop.target.compute_capability)
    begun = perf_counter()
    builder = _builder(shop.tensorrt, log)
    network = empty_network(trt, builder, shop.settings.precision == "typed")
    parser = parse(shop.tensorrt, log, network, job.model)
    tensors, parsed = network_tensors(network, job.model), perf_counter()
    config = configure(shop.tensorrt, builder, shop.settings, shop.target)
    plan = _plan(shop, log, builder, network, config, job.model)
    seconds, layers, types = perf_counter() - parsed, network.num_layers, computed_in(trt, network)
    # The engine is loaded below, where memory may be short. Not before: weights of the network may lie in the parser.
    del parser, network, config, builder
    for severity, text in log.messages:
        logger.debug("TensorRT, %s: %s", severity.lower(), text)
    built = Built(
        job.engine,
        _record(shop, job, plan, tensors),
        layers,
        tuple(dtype for dtype, _ in Counter(types.values()).most_common()),
        parsed - begun,
        seconds,
        tuple(text for _, text in log.messages if FALLING_BACK.search(text)),
        _inspection(shop, log, plan, types),
    )
    return built, plan


def _builder(tensorrt: TensorRt, log: Any) -> Any:
    """Return TensorRT's builder.

    Raises:
        EngineError: The builder does not start.
    """
    try:
        return tensorrt.module.Builder(log)
    except (TypeError, RuntimeError) as error:  # the bindings' word for a builder that is null
        raise EngineError(
            f"{tensorrt}: its builder does not start: {log.errors() or error}; `aerocam doctor` says what this machine"
            " has"
        ) from error


def _plan(shop: _Workshop, log: Any, builder: Any, network: Any, config: Any, model: Path) -> memoryview:
    """Build the engine and return it serialised.

    Raises:
        EngineError: TensorRT builds no engine.
        KeyboardInterrupt: The build was to end.
    """
    line = TerminalLine()
    if hasattr(shop.tensorrt.module, "IProgressMonitor"):
        monitor = build_monitor(shop.tensorrt.module, line, shop.stopped)
        config.progress_monitor = monitor
    if shop.cache is not None:
        timing_cache.use(config, shop.cache)
    try:
        plan = builder.build_serialized_network(network, config)
    except MemoryError:
        plan = None
        log.log(shop.tensorrt.module.ILogger.Severity.ERROR, "out of memory")
    finally:
        line.close()
    if shop.stopped():
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(_failure(shop.tensorrt, log, model))
    if shop.cache is not None:
        timing_cache.keep(config, shop.cache)
    return memoryview(plan)


def _inspection(shop: _Workshop, log: Any, plan: memoryview, types: Mapping[str, str]) -> Inspection | None:
    """Return what became of the layers; None where the engine's GPU is not here, or TensorRT does not say."""
    if not shop.target.present:
        return None
    in_int8 = {name for name, dtype in types.items() if dtype == "int8"}
    return inspect_plan(shop.tensorrt, log, plan, shop.settings, in_int8)


def _failure(tensorrt: TensorRt, log: Any, model: Path) -> str:
    """Say why there is no engine, and what to do."""
    said = log.errors() or "it gave no reason"
    if MEMORY.search(said):
        return (
            f"{model}: {tensorrt} ran out of memory while it built the engine: {said}. Close what else holds memory,"
            " and give a smaller `workspace` or `optimization_level`"
        )
    if "nvinfer_lean" in said:
        return (
            f"{model}: {tensorrt} builds no engine of it: {said}. An engine for later versions holds TensorRT's lean"
            " runtime; leave out `version_compatible`, or install that library"
        )
    return (
        f"{model}: {tensorrt} builds no engine of it: {said}. Export the model with `destination='tensorrt'`; if it"
        " was, this is a limit of that TensorRT: choose another layer, or a method of the runtime in place of a head"
    )


def _record(shop: _Workshop, job: EngineJob, plan: memoryview, tensors: Any) -> EngineRecord:
    """Return what is written beside the engine."""
    return EngineRecord(
        bindings=cast(Bindings, shop.tensorrt.name),
        tensorrt=shop.tensorrt.version,
        compute_capability=shop.target.compute_capability,
        device=shop.target.device,
        model=job.model.name,
        model_sha256=sha256(job.model),
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=plan.nbytes,
        tensors=tensors,
        settings=shop.settings,
        manifest=job.manifest,
        aerocam=__version__,
    )
