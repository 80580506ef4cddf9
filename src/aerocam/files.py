"""Files that are written whole or not at all, and what a file is known by; for export, runtime and benchmarks alike."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from aerocam.errors import ModelError, WriteError

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
"""Suffixes of TensorRT's engines."""

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
"""What counts as a video where pictures are asked for, in small or capital letters."""


def part_name(path: Path) -> Path:
    """Return a hidden name beside `path`, with its suffix, for the time of writing; nobody knows it beforehand."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")


def make_part(path: Path) -> Path:
    """Make an empty file of such a name, for what opens it by name; it is new, and no link.

    Raises:
        OSError: It cannot be made.
    """
    part = part_name(path)
    part.open("xb").close()
    return part


def beside(model: str | os.PathLike[str], name: str) -> Path:
    """Return the path of another file of a model, by its name in the manifest.

    Raises:
        ModelError: It is a link that leads out of the model's folder.
    """
    path = Path(model).with_name(name)
    real = os.path.realpath(path)
    folders = {os.path.dirname(os.path.realpath(model)), os.path.realpath(path.parent)}
    if os.path.dirname(real) not in folders:
        raise ModelError(f"{path}: it leads to {real}, outside of the model's folder; copy that file there")
    return path


def cache_folder(kind: str) -> Path:
    """Return where caches lie: in `$AEROCAM_CACHE`, else `$XDG_CACHE_HOME/aerocam`, else `~/.cache/aerocam`."""
    chosen = os.environ.get("AEROCAM_CACHE")
    if chosen:
        return Path(chosen).expanduser() / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aerocam" / kind


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        WriteError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot make this folder: {error.strerror}; give another one") from error


def write_together(contents: Mapping[Path, bytes | Iterable[bytes | memoryview]]) -> None:
    """Write several files: each whole or not at all, and none before all of them could be written.

    Args:
        contents: What each holds, at once or in parts that are got as they are written.

    Raises:
        WriteError: A file cannot be written.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            part = part_name(path)
            with part.open("xb") as file:
                parts[path] = part
                file.writelines([content] if isinstance(content, bytes) else content)
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise WriteError(f"{path}: cannot write it: {error.strerror or error}") from error
    finally:
        for part in parts.values():  # those that were made here
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        ModelError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise unreadable(path, error) from error
    return digest.hexdigest()


def unreadable(path: str | os.PathLike[str], error: OSError | ValueError) -> ModelError:
    """Make the error for a model's file that does not exist or cannot be read."""
    if os.path.isdir(path):
        return ModelError(f"{os.fspath(path)}: this is a folder, a model's file was expected; give one in it")
    if not os.path.isfile(path):  # also of a name that cannot be one
        return ModelError(f"{os.fspath(path)}: no such file, a model was expected; check the path")
    return ModelError(f"{os.fspath(path)}: cannot be read ({getattr(error, 'strerror', error)}); check its permissions")
