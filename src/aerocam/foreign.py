"""Text, JSON, Python literals and arrays that others wrote, read within limits of size, depth and digits."""

from __future__ import annotations

import ast
import json
import os
import re
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 16 << 20
"""Bytes of a file of text, or characters of JSON: decoded they stay far below 1 GB."""

MOST_LITERAL = 1 << 20
"""Characters of a Python literal."""

MOST_DEPTH = 32
"""Lists and objects within one another."""

MOST_DIGITS = 300
"""Digits of a whole number: more is beyond a float."""

VALUE = re.compile(
    r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|None|True|False"""
    rf"""|-?(?:\d{{1,{MOST_DIGITS}}}\.?\d*|\.\d+)(?:[eE][-+]?\d+)?""",
    re.DOTALL,
)
"""A string, a number or a constant in Python."""


ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON may write half a character, which no file takes as UTF-8."""


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a file of UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too long, or not UTF-8.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB, the most that is read")
    return content.decode("utf-8-sig")


def parse_json(text: str) -> Any:
    """Decode JSON.

    Raises:
        ValueError: It is no JSON, too long or too deep, or has a number that is none or is beyond a float.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} Mi characters, the most that is read")
    try:
        data = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise _too_deep() from error
    if ESCAPED_SURROGATE.search(text):
        json.dumps(data, ensure_ascii=False).encode()  # half of a pair is a ValueError
    level = [data]
    for _ in range(MOST_DEPTH):
        nested = (value for value in level if isinstance(value, (dict, list)))
        level = [part for value in nested for part in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return data
    raise _too_deep()


def parse_literal(text: str) -> Any:
    """Decode a Python literal of strings, numbers, None, True, False, and lists, tuples and dictionaries of these.

    What Python's parser would need memory or a deep stack for, such as sums and signs in a row, is refused before.

    Raises:
        ValueError: It is no such literal, too long or too deep.
    """
    if len(text) > MOST_LITERAL:
        raise ValueError(f"it has more than {MOST_LITERAL >> 20} Mi characters, the most that is read")
    form = VALUE.sub("0", text)
    if re.search(r"[^][(){},:0\s]|0\s*0", form):
        raise ValueError("no plain Python literal")
    if max(accumulate((char in "[({") - (char in "])}") for char in form), default=0) > MOST_DEPTH:
        raise _too_deep()
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError) as error:  # a list as a key is a TypeError
        raise ValueError(f"no plain Python literal: {error}") from error


def load_array(file: str | BinaryIO) -> NDArray[Any]:
    """Read an array of numbers from an .npy file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none, or holds something else.
    """
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # of a damaged header whatever Python's parser and NumPy's types raise
        raise ValueError(f"what NumPy cannot read: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{kind}, not of numbers")
    return array


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise ValueError(f"{digits[:40]}, which is no finite number")
    return value


def _too_deep() -> ValueError:
    return ValueError(f"lists or objects lie deeper in one another than {MOST_DEPTH}")
