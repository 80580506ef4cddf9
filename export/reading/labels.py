"""Class names from a file: lines, plain or numbered, JSON, or what a data.yaml has under `names:`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aerocam.errors import UsageError
from aerocam.foreign import parse_json, read_text

NUMBERED = re.compile(r"(\d+)\s*:\s*(.*)")
"""A line with its class's number in front."""

NAMES = re.compile(r"^names\s*:(.*)$", re.MULTILINE)
"""Where a YAML file has the names."""

ENTRY = re.compile(r"""(?:[^,'"]|'[^']*'|"[^"]*")+""")
"""An entry between commas."""


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Return class names from a file, by number.

    It has one name per line, or per line number and name, as in `0: red`; or it is JSON, a list or an object by number;
    or YAML, a plain list or mapping, under `names:` if it has that.

    Raises:
        UsageError: The file cannot be read, or its numbers are not 0, 1, 2 and so on.
    """
    try:
        text = read_text(path).strip("\r\n")
        if text.lstrip()[:1] in ("[", "{"):
            found = parse_json(text)
            return _ordered(found.get("names", found) if isinstance(found, dict) else found)
        if (names := NAMES.search(text)) or Path(path).suffix in (".yaml", ".yml"):
            return _ordered(_entries(names[1] if names else "", text[names.end() if names else 0 :]))
        lines = [line if line == " " else line.strip() for line in text.splitlines()]  # text readers know a space
        return _ordered(_by_number(lines) or lines)
    except (OSError, ValueError) as error:  # not UTF-8 and not JSON are ValueErrors
        raise UsageError(
            f"`labels={str(path)!r}`: cannot be read ({error}); give one label per line, or a plain list or mapping in"
            " JSON or YAML"
        ) from error


def _ordered(names: Any) -> tuple[str, ...]:
    """Return the names of a mapping, by number, or of a list."""
    if isinstance(names, Mapping):
        numbers = sorted(names, key=int)
        if [int(number) for number in numbers] != list(range(len(names))):
            raise ValueError(f"the {len(names)} names are numbered {numbers[0]} to {numbers[-1]}, not from 0 on")
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, int)) for name in names):
        raise ValueError("there are no names, or they are no plain text")
    return tuple(str(name) for name in names)


def _by_number(lines: Sequence[str]) -> dict[str, str]:
    """Return the names by number where every line has one in front, else none."""
    found = [NUMBERED.fullmatch(line) for line in lines if line]
    return {match[1]: _plain(match[2]) for match in found if match} if all(found) else {}


def _entries(inline: str, below: str) -> dict[str, str] | list[str]:
    """Return the list or mapping that a YAML key has beside it, in brackets, or below it, indented or with dashes."""
    text = re.sub(r"(^|\s)#.*", "", f"{inline}{below}", flags=re.MULTILINE).strip()
    if flow := re.match(r"\[(.*?)\]|\{(.*?)\}", text, re.DOTALL):
        lines = [entry.strip() for entry in ENTRY.findall(flow[1] or flow[2] or "")]
        lines = [line for line in lines if line]
        return _by_number(lines) if flow[2] is not None else [_plain(line) for line in lines]
    block = re.match(r"((?:[ \t]*(?:-\s|\d+\s*:).*\n?)+)([ \t]?)", re.sub(r"\n\s*\n", "\n", text))
    lines = [line.strip() for line in (block[1] if block else "").splitlines()]
    dashed = [line for line in lines if line.startswith("-")]
    if block is None or block[2] or (dashed and len(dashed) < len(lines)):
        raise ValueError("no plain list or mapping of names")
    return [_plain(line[1:]) for line in dashed] if dashed else _by_number(lines)


def _plain(text: str) -> str:
    """Return a scalar of YAML without its quotes.

    Raises:
        ValueError: It is no plain one.
    """
    text = text.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text[:1] in tuple("&*!|>{["):
        raise ValueError(f"{text!r} is no plain name")
    return text
