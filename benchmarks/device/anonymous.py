"""What is sent back says nothing of its sender: no folders of theirs, no home, no names of users or hosts."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDERS = re.compile(r"(?<![\w:/.])~?/(?:[^\s/'\":;,()<>]+/)+|(?<=\w:)/(?!/)(?:[^\s/'\":;,()<>]+/)+")
"""The folders of an absolute path, up to its last name, behind a colon too; not those of an address on the web."""

SYSTEM = ("/usr/", "/etc/", "/dev/", "/proc/", "/sys/", "/opt/")
"""The system's folders: they name nobody, and commands and facts are none without them."""


def anonymous(data: Any, folders: Iterable[Path] = ()) -> Any:
    """JSON-able data with paths cut to their last names, in keys and values alike; the system's folders are kept.

    Args:
        data: What is to be sent.
        folders: More of its sender's folders, wherever they are.
    """
    homes = (Path.home(), Path.cwd(), Path(sys.prefix), Path(sys.base_prefix), *folders)
    roots = {"/", "/usr/local", *(folder.rstrip("/") for folder in SYSTEM)}
    known = {os.path.abspath(folder) for folder in homes} - roots
    return _cut(data, sorted(known, key=len, reverse=True))


def _cut(data: Any, known: list[str]) -> Any:
    """The same of every part."""
    if isinstance(data, dict):
        return {_cut(key, known): _cut(value, known) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_cut(value, known) for value in data]
    return _text(data, known) if isinstance(data, str) else data


def _text(text: str, known: list[str]) -> str:
    """One text; known folders first, whose names may have blanks."""
    for folder in known:
        text = text.replace(folder + "/", "").replace(folder, "")
    text = FOLDERS.sub(lambda found: found[0] if _of_the_system(found[0]) else "", text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if len(host) > 3 and f"@{host}" in text else text


def _of_the_system(folders: str) -> bool:
    """Whether they are the system's, and lead out of it by no `..`."""
    return folders.startswith(SYSTEM) and "/../" not in folders
