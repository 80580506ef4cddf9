"""Text that others wrote: what is meant is read, and what would take memory or a deep stack is refused before."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from aerocam.foreign import MOST_BYTES, MOST_DEPTH, MOST_LITERAL, parse_json, parse_literal, read_text


@pytest.mark.parametrize("text", ['{"a": [1, -2.5e3, "Größe", null, true]}', '"\\ud83d\\ude00"', "1" + "0" * 299, "{}"])
def test_json_is_what_json_says(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "deeper in one another than 32"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "deeper in one another than 32"),
        ('{"a":' * 40 + "1" + "}" * 40, "deeper in one another than 32"),
        ("9" * 5000, "a whole number of 5000 digits"),
        ("1e999", "no finite number"),
        ("[NaN]", "no finite number"),
        ("-Infinity", "no finite number"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        (" " * (MOST_BYTES + 1), "more than 16 Mi characters"),
        ("{'a': 1}", "Expecting property name"),
    ],
    ids=range(11),
)
def test_json_that_means_no_good_is_a_value_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_as_deep_as_may_be_is_read() -> None:
    data: Any = parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    for _ in range(MOST_DEPTH - 1):
        (data,) = data
    assert data == []


@pytest.mark.parametrize(
    "text",
    [
        "{0: 'person', 1: \"driver's\", 2: 'a\\'b \\\\'}",
        "['a', 'b,c: [d]', '-1 + 2']",
        " (640, -1, 2.5e-3, .5) ",
        "{'steps': [1, None, True], 'x': {}}",
        "-3",
    ],
)
def test_literals_are_what_python_says(text: str) -> None:
    assert parse_literal(text) == ast.literal_eval(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "-" * 9000 + "1",
        "1+" * 50_000 + "1",
        "1-" * 50_000 + "1",
        "(" * 100 + ")" * 100,
        "[" * 90_000,
        "'a' 'b'",
        "b'a'",
        "f'{1}'",
        "{[]: 1}",
        "{0: 'a'",
        "9" * 5000,
        "print(1)",
        "'a\0'",
        "'" + "a" * MOST_LITERAL + "'",
        "",
    ],
    ids=range(15),
)
def test_what_is_no_plain_literal_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"plain Python literal|deeper|more than 1 Mi|null bytes"):
        parse_literal(text)


def test_files_are_utf8_of_a_limited_size(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffgrün\n".encode())
    assert read_text(path) == "grün\n"
    path.write_bytes(b"gr\xfcn")
    with pytest.raises(ValueError, match="utf-8"):
        read_text(path)
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match="more than 16 MiB"):
        read_text(path)
