"""Which engines a model becomes: one of each of its ONNX files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aerocam.errors import ManifestError, UsageError, WriteError
from aerocam.files import ENGINE_SUFFIXES, beside
from aerocam.manifest import Manifest
from aerocam.methods import find
from aerocam.onnx_metadata import read_manifest


class EngineJob(NamedTuple):
    """Names an engine to build.

    Attributes:
        model: Its ONNX file.
        engine: Where it goes.
        manifest: The model's manifest; of a split model, it names engines where the ONNX file's names ONNX files, so
            that a session finds the one that goes with it.
    """

    model: Path
    engine: Path
    manifest: Manifest


def engine_jobs(model: Path, output: Path | None) -> list[EngineJob]:
    """Return the engines of an exported model, that of the file that runs on every frame first.

    Args:
        model: The file that runs on every frame.
        output: Where its engine goes; None: beside it, `.engine` for `.onnx`.

    Raises:
        ModelError: A file is no exported model, or not of the same export as the others.
        UsageError: The engine's name cannot be, or the model is one half of a split one.
        WriteError: Nothing can be written to that folder.
    """
    manifest, first = read_manifest(model), _engine_path(model, output)
    split = manifest.split
    if split is None:
        return [EngineJob(model, first, manifest)]
    if model.name in (split.explain, split.tail):
        raise UsageError(f"{model}: it explains only; give the file beside it that runs on every frame")
    paths = {"explain": beside(model, split.explain)}
    if split.tail is not None:
        paths["tail"] = beside(model, split.tail)
    engines = {job: first.with_name(f"{first.stem}.{job}{first.suffix}") for job in paths}
    tail = engines["tail"].name if "tail" in engines else None
    written = replace(manifest, split=replace(split, explain=engines["explain"].name, tail=tail))
    for path in paths.values():
        if read_manifest(path) != manifest:
            raise ManifestError(f"{path}: it is not of the same export as {model.name}; export the model again")
    return [EngineJob(model, first, written), *(EngineJob(paths[job], engines[job], written) for job in paths)]


def needs_float32(manifest: Manifest) -> str | None:
    """Return what of a graph TF32 would spoil, as far as the manifest tells; None where it names nothing."""
    if manifest.head is not None and (spoiled := find(manifest.head.method).needs_float32):
        return spoiled
    if manifest.preprocess is not None and manifest.preprocess.frame is not None:
        return "the preprocessing of frames"
    return None


def _engine_path(model: Path, output: Path | None) -> Path:
    """Return where the first engine goes; a build may take minutes, so what can be wrong with that is said now.

    Raises:
        UsageError: The suffix is none of an engine, or there is no such folder.
        WriteError: The folder takes no files.
    """
    path = model.with_suffix(".engine") if output is None else output
    if path.suffix.lower() not in ENGINE_SUFFIXES:
        raise UsageError(f"{path}: found the suffix '{path.suffix}', expected one of {', '.join(ENGINE_SUFFIXES)}")
    if path.resolve() == model.resolve():
        raise UsageError(f"{model}: the engine would take the model's own name; give another `output`")
    if not path.parent.is_dir():
        raise UsageError(f"`output={str(path)!r}`: there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        raise UsageError(f"`output={str(path)!r}`: that is a folder; give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise WriteError(f"{path}: nothing can be written to the folder {str(path.parent)!r}; give another `output`")
    return path
