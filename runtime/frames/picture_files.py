"""Picture files: which ones files, folders, patterns and standard input mean."""

from __future__ import annotations

import glob
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aerocam.errors import UsageError
from aerocam.files import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

STDIN = "-"

SUFFIXES = (".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as a picture in a folder, in small or capital letters."""

UNREAD = re.compile(r"\.(arw|avif|cr[23]|dng|gif|hei[cf]|jxl|nef|orf|raf|rw2|svg)$")
"""Suffixes of pictures that OpenCV does not read everywhere: in a folder they are left out, which the log says."""

OVERLAY = re.compile(r"\.cam(\.\d+)?\.(png|npy)$")
"""How overlays and raw maps end that `explain` writes: they are results, not pictures to explain."""


def find_pictures(arguments: Sequence[str], recursive: bool | None = None) -> list[str]:
    """Return the pictures that are meant, in the order of the arguments, those of a folder or pattern by name.

    Args:
        arguments: Files, which need not exist; folders; patterns with `*`, `?`, `[...]`, `**`; `-` for standard input.
        recursive: Whether folders are searched to their depth; None: they are not, and no option would.

    Raises:
        UsageError: A folder without pictures, a pattern that matches no file, or standard input twice.
    """
    if list(arguments).count(STDIN) > 1:
        raise UsageError("IMAGES: - is there twice, standard input holds one picture; give it once")
    pictures: list[str] = []
    for argument in arguments:
        if os.path.isdir(argument):
            pictures += _in_folder(Path(argument), recursive)
        elif glob.has_magic(argument) and not os.path.exists(argument):
            pictures += _matching(argument)
        else:
            pictures.append(argument)
    return pictures


def _in_folder(folder: Path, recursive: bool | None) -> list[str]:
    """Return the pictures in a folder, by suffix; hidden ones and our own overlays are left out.

    Videos, and pictures of other suffixes, are counted in a warning.
    """
    try:
        paths = folder.rglob("*") if recursive else folder.iterdir()
        named = [path for path in paths if not _hidden(path.relative_to(folder)) and path.is_file()]
    except OSError as error:
        raise UsageError(f"{folder}: cannot read this folder: {error.strerror}; give another one") from error
    pictures = sorted(path for path in named if path.suffix.lower() in SUFFIXES and not OVERLAY.search(path.name))
    counts = sorted(Counter(path.suffix.lower() for path in named).items())
    left_out = ", ".join(f"{n} {suffix}" for suffix, n in counts if suffix in VIDEO_SUFFIXES or UNREAD.match(suffix))
    if not pictures:
        left_out = f" but {left_out}" if left_out else ""
        deeper = "; `recursive=True` also looks into the folders below" if recursive is False else ""
        raise UsageError(f"{folder}: found no picture in this folder{left_out}, expected {', '.join(SUFFIXES)}{deeper}")
    if left_out:
        way = "convert pictures to PNG or JPEG, give videos to `aerocam stream`"
        logger.warning("%s: left out %s; %s", folder, left_out, way)
    return [str(path) for path in pictures]


def _hidden(path: Path) -> bool:
    """Say whether a file is hidden, or in a hidden folder below the one that is searched."""
    return any(part.startswith(".") for part in path.parts)


def _matching(pattern: str) -> list[str]:
    """Return the files of a pattern, all but our own overlays."""
    paths = glob.glob(pattern, recursive=True)
    pictures = sorted(path for path in paths if os.path.isfile(path) and not OVERLAY.search(path))
    if not pictures:
        raise UsageError(f"{pattern}: found no picture by this pattern, expected one or more; try ls {pattern}")
    return pictures


def read(path: str, bands: bool = False, max_pixels: int = 100_000_000) -> NDArray[Any]:
    """Read the picture at a path, or on standard input, as `read_picture` does.

    Raises:
        MediaError: The file is absent, or not a picture.
    """
    from aerocam.runtime.frames.pictures import decode_picture, most_bytes, read_picture

    if path != STDIN:
        return read_picture(path, bands, max_pixels)
    return decode_picture(sys.stdin.buffer.read(most_bytes(max_pixels) + 1), shown(path), bands, max_pixels)


def shown(path: str) -> str:
    """Return what a picture is called in messages."""
    return "standard input" if path == STDIN else path


def distinct_stems(paths: Sequence[str]) -> list[str]:
    """Return a stem for each path's output files; equal ones (`a/x.png`, `b/x.jpg`) are numbered: `x`, `x-2`."""
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
