"""What the text for a source means, and how it is shown."""

from __future__ import annotations

import glob
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["file", "device", "pictures", "stdin", "url", "camera", "pipeline", "absent"]

SEQUENCE = re.compile(r"%(0?)(\d*)d")
"""The number in the name of a sequence's pictures, as in `%04d.png`."""

RAW = re.compile(r"raw:([1-9]\d{0,4})x([1-9]\d{0,4})")
"""Uncompressed pictures on standard input, width x height."""

REAL_TIME = re.compile(r"(rtsps?|rtmp\w*|s?rtp|srt|udp\w*|tcp|unix|mms\w*)://", re.IGNORECASE)
"""Addresses that send as it happens, whatever duration they announce."""

SECRET = re.compile(r"\b((?:user-)?(?:pass|passwd|password|pw|pwd|token|secret|key|auth)=)[^&\s!]+", re.IGNORECASE)
"""A secret in a query or among an element's properties."""


@dataclass(frozen=True)
class Address:
    """Says what a source is.

    Attributes:
        text: As it was given.
        kind: What it means. `file` is a regular one, `device` what else has a path, such as `/dev/video0` or a FIFO.
        name: How messages show it: without what lies between `://` and the last `@`, and without secrets by name.
    """

    text: str
    kind: Kind
    name: str


def address_of(source: str | int | Path) -> Address:
    """Return what a source means: what exists first, then standard input, a URL, a lone integer, a pipeline.

    >>> address_of("rtsp://admin:p@ss/word@camera/live")
    Address(text='rtsp://admin:p@ss/word@camera/live', kind='url', name='rtsp://***@camera/live')

    Args:
        source: A path, a text, or the index of a camera.
    """
    text = str(source)
    kind: Kind = "camera" if isinstance(source, int) else _kind(text)
    userinfo = r"://.*@" if kind == "url" else r"://\S*@"
    return Address(text, kind, SECRET.sub(r"\1***", re.sub(userinfo, "://***@", text)))


def _kind(text: str) -> Kind:
    """Return what a text means."""
    if os.path.exists(text):
        mode = os.stat(text).st_mode
        return "pictures" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "device"
    if sequence_of(text) or (glob.has_magic(text) and glob.glob(text, recursive=True)):
        return "pictures"
    if text == "-" or RAW.fullmatch(text):
        return "stdin"
    if re.match(r"[A-Za-z][\w+.-]*://", text):
        return "url"
    if re.fullmatch(r"[0-9]+", text):
        return "camera"
    return "pipeline" if "!" in text else "absent"


def sequence_of(pattern: str) -> list[str]:
    """Return the files of a sequence such as `frames/%04d.png`, by number; none where it is no sequence."""
    folder, file = os.path.split(pattern)
    if not (found := SEQUENCE.search(file)) or not os.path.isdir(folder or "."):
        return []
    digits = rf"(\d{{{found[2]},}})" if found[1] and found[2] else r"(\d+)"
    name = re.compile(re.escape(file[: found.start()]) + digits + re.escape(file[found.end() :]))
    numbered = [(int(match[1]), entry) for entry in os.listdir(folder or ".") if (match := name.fullmatch(entry))]
    return [os.path.join(folder, entry) for _, entry in sorted(numbered)]
