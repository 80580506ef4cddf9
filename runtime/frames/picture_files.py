"""Which pictures the arguments of `aerocam explain` mean: files, folders, patterns and standard input."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aerocam.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STDIN = "-"

SUFFIXES = (".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as a picture in a folder, in small or capital letters."""

OVERLAY = re.compile(r"\.cam(\.\d+)?\.png$")
"""How the overlays end that `explain` writes: in a folder they are results, not pictures to explain."""


def find_pictures(arguments: Sequence[str], recursive: bool | None = None) -> list[str]:
    """The pictures that are meant, in the order of the arguments, those of a folder or pattern by name.

    Args:
        arguments: Files, which need not exist; folders; patterns with `*`, `?`, `[...]`, `**`; `-` for standard input.
        recursive: Whether folders are searched to their depth; None: they are not, and no option would.

    Raises:
        UsageError: A folder without pictures, a pattern that matches no file, or standard input twice.
    """
    if list(arguments).count(STDIN) > 1:
        raise UsageError("IMAGES: - is there twice, standard input holds one picture; give it once")
    found: list[str] = []
    for argument in arguments:
        if os.path.isdir(argument):
            found += _in_folder(Path(argument), recursive)
        elif glob.has_magic(argument) and not os.path.exists(argument):
            found += _matching(argument)
        else:
            found.append(argument)
    return found


def _in_folder(folder: Path, recursive: bool | None) -> list[str]:
    """The pictures in a folder, by suffix; hidden ones and our own overlays are left out."""
    try:
        paths = folder.rglob("*") if recursive else folder.iterdir()
        found = sorted(path for path in paths if _is_picture(path.relative_to(folder)) and path.is_file())
    except OSError as error:
        raise UsageError(f"{folder}: cannot read this folder: {error.strerror}; give another one") from error
    if not found:
        deeper = "; `recursive=True` also looks into the folders below" if recursive is False else ""
        raise UsageError(f"{folder}: found no picture in this folder, expected {', '.join(SUFFIXES)}{deeper}")
    return [str(path) for path in found]


def _is_picture(path: Path) -> bool:
    """Whether a file of this name, relative to the folder searched, is taken."""
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not OVERLAY.search(path.name)


def _matching(pattern: str) -> list[str]:
    """The files of a pattern, all but our own overlays."""
    paths = glob.glob(pattern, recursive=True)
    found = sorted(path for path in paths if os.path.isfile(path) and not OVERLAY.search(path))
    if not found:
        raise UsageError(f"{pattern}: found no picture by this pattern, expected one or more; try ls {pattern}")
    return found


def read(path: str) -> NDArray[Any]:
    """The picture at a path, or on standard input; uint8 (H, W, 3), BGR.

    Raises:
        MediaError: It is not there, or not a picture.
    """
    from aerocam.runtime.frames.pictures import decode_picture, read_picture

    return decode_picture(sys.stdin.buffer.read(), shown(path)) if path == STDIN else read_picture(path)


def shown(path: str) -> str:
    """What a picture is called in messages."""
    return "standard input" if path == STDIN else path


def distinct_stems(paths: Sequence[str]) -> list[str]:
    """A stem for each path's output files; equal ones (`a/x.png`, `b/x.jpg`) are numbered: `x`, `x-2`."""
    plain = ["stdin" if path == STDIN else Path(path).stem for path in paths]
    stems: list[str] = []
    taken, used = set(plain), set()
    for stem in plain:
        number, distinct = 2, stem
        if stem in used:
            while f"{stem}-{number}" in taken:
                number += 1
            distinct = f"{stem}-{number}"
            taken.add(distinct)
        used.add(distinct)
        stems.append(distinct)
    return stems
