"""Files that are written whole or not at all, by export, runtime and benchmarks alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from aerocam.errors import WriteError


def part_name(path: Path) -> Path:
    """A hidden name beside `path`, with its suffix, for the time of writing."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        WriteError: It cannot be made.
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
        WriteError: One of them cannot be written.
    """
    parts = {path: part_name(path) for path in contents}
    try:
        for path, content in contents.items():
            with parts[path].open("wb") as file:
                file.writelines([content] if isinstance(content, bytes) else content)
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise WriteError(f"{path}: cannot write it: {error.strerror or error}") from error
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
