"""What is sent back says nothing of its sender: no folders, no home, no names of users or hosts."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

FOLDERS = re.compile(r"(?<![\w:/.])~?/(?:[^\s/'\":;,()<>]+/)+")
"""The folders of an absolute path, up to its last name; not those of an address on the web."""


def anonymous(data: Any) -> Any:
    """JSON-able data with paths cut to their last names, in keys and values alike."""
    if isinstance(data, dict):
        return {anonymous(key): anonymous(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [anonymous(value) for value in data]
    return _text(data) if isinstance(data, str) else data


def _text(text: str) -> str:
    """One text; known folders first, whose names may have blanks."""
    for folder in sorted({str(Path.home()), os.getcwd(), sys.prefix, sys.base_prefix}, key=len, reverse=True):
        if folder not in ("/", "/usr"):
            text = text.replace(folder + "/", "").replace(folder, "")
    text = FOLDERS.sub("", text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if len(host) > 3 and f"@{host}" in text else text
