"""What the builder measured of kernels, kept for its next build: most of a build's time on a device goes into that.

A cache fits one TensorRT and one GPU, so each pair has a file of its own.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from aerocam.errors import WriteError
from aerocam.files import cache_folder, make_folder, write_together
from aerocam.runtime.trt.bindings import TensorRt
from aerocam.runtime.trt.build_target import BuildTarget

logger = logging.getLogger("aerocam.runtime")


def default_folder() -> Path:
    """Return where timing caches lie; see `cache_folder`."""
    return cache_folder("tensorrt")


def cache_file(folder: Path, tensorrt: TensorRt, target: BuildTarget) -> Path | None:
    """Return the file for this TensorRT and this GPU; None for a builder that measures nothing."""
    if hasattr(tensorrt.module.IBuilderConfig, "set_compute_capability"):  # it builds without the GPU
        logger.info("no timing cache: %s measures no kernels while it builds", tensorrt)
        return None
    parts = (tensorrt.name, tensorrt.version, f"sm{target.compute_capability}", target.device)
    return folder / ("-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts if part) + ".timing")


def use(config: Any, path: Path) -> None:
    """Let a build begin with what is kept in `path`, or with nothing where there is none, or none that it takes."""
    kept = _read(path)
    if kept:
        if _begin_with(config, kept):
            return
        logger.warning("%s: TensorRT does not take this timing cache; this build measures anew and replaces it", path)
    if not _begin_with(config, b""):
        logger.info("this TensorRT takes no timing cache")


def _read(path: Path) -> bytes:
    """Return what is kept in a file; nothing where there is none, or where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        logger.warning("%s: timing cache not read (%s); this build measures anew", path, error.strerror or error)
        return b""


def _begin_with(config: Any, measured: bytes) -> bool:
    """Let a build begin with a cache; return whether the builder took it."""
    cache = config.create_timing_cache(measured)
    return cache is not None and bool(config.set_timing_cache(cache, ignore_mismatch=False))


def keep(config: Any, path: Path) -> None:
    """Write what a build has measured; where that cannot be done, the engine is none the worse for it."""
    cache = config.get_timing_cache()
    measured = b"" if cache is None else bytes(cache.serialize())
    if not measured:
        return
    try:
        make_folder(path.parent)
        write_together({path: measured})
    except WriteError as error:
        logger.warning("timing cache not kept, the next build measures anew: %s", error)
