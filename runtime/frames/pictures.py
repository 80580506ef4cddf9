"""Pictures: the files that arguments name, and reading them."""

from __future__ import annotations

import glob
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import MediaError, UsageError
from aerocam.runtime.frames.opencv import captured_stderr, cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray


logger = logging.getLogger(__name__)


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture in any format that OpenCV has: grey becomes colour, transparency is dropped, EXIF turns applied.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        MediaError: The file is absent or is not a picture that OpenCV can read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot read it: {error.strerror or error}") from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """A picture from the content of its file; see `read_picture`.

    Args:
        content: The file's.
        name: What to call it in messages.

    Raises:
        MediaError: It is not a picture that OpenCV can read.
    """
    if _cut_short(content):
        raise MediaError(f"{name}: found a JPEG that is cut short at {len(content)} bytes, expected a whole one")
    picture = None
    with captured_stderr() as said:
        try:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        except cv2.error as error:
            said.append(str(error))
    for line in said:
        logger.log(logging.DEBUG if picture is None else logging.WARNING, "%s: the decoder says: %s", name, line)
    if picture is None:
        raise MediaError(
            f"{name}: found {len(content)} bytes that OpenCV cannot decode, expected a picture (PNG, JPEG, ...)"
        )
    return picture


def _cut_short(content: bytes) -> bool:
    """Whether this is a JPEG without its end: older OpenCV gives what lies in memory for the missing part."""
    if not content.startswith(b"\xff\xd8"):
        return False
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # segments before the first scan
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) < 0


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
        deeper = "; --recursive also looks into the folders below" if recursive is False else ""
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
