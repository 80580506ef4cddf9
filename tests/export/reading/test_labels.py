"""Labels files as they come: what each says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from aerocam.errors import UsageError
from aerocam.export.reading.labels import read_labels

COLOURS = ("red", "light green", "0: blue")
FILES = {
    "lines.txt": "red\nlight green\n0: blue\n",
    "windows.txt": "\ufeffred\r\nlight green\r\n0: blue\r\n",
    "numbered.txt": "0: red\n1: light green\n2: 0: blue\n",
    "disordered.txt": "2 : 0: blue\n\n0:red\n1: light green",
    "list.json": '["red", "light green", "0: blue"]',
    "object.json": '{"1": "light green", "0": "red", "2": "0: blue"}',
    "names.json": '{"nc": 3, "names": ["red", "light green", "0: blue"]}',
    "block.yaml": "path: ../a  # root\nnames:\n  0: red\n  1: light green\n\n  2: '0: blue'  # sky\nnc: 3\n",
    "dashes.yaml": "nc: 3\nnames:\n- red\n- light green\n- '0: blue'\ntrain: images\n",
    "flow.yaml": "names: ['red', light green, \"0: blue\"] # three\nnc: 3\n",
    "two_lines.yml": "names: [red,\n  light green,\n  '0: blue']\n",
    "flow_mapping.yaml": "names: {0: red, 1: light green, 2: '0: blue'}\n",
    "bare.yaml": "- red\n- light green\n- '0: blue'\n",
    "no_suffix": "nc: 3\nnames:\n  0: red\n  1: light green\n  2: '0: blue'\n",
}


@pytest.mark.parametrize("name", FILES)
def test_the_names_in_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8", newline="")
    assert read_labels(tmp_path / name) == COLOURS


def test_a_space_is_a_symbol_of_a_text_reader(tmp_path: Path) -> None:
    (tmp_path / "symbols.txt").write_text("a\n4\n \n")
    assert read_labels(tmp_path / "symbols.txt") == ("a", "4", " ")


def test_an_apostrophe_and_a_comma_belong_to_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('names:\n  0: jack-o\'-lantern\n  1: "cup, of tea"\n')
    assert read_labels(tmp_path / "a.yaml") == ("jack-o'-lantern", "cup, of tea")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: red\n2: green\n", "the 2 names are numbered 1 to 2, not from 0 on"),
        ('{"0": "red", "2": "green"}', "the 2 names are numbered 0 to 2, not from 0 on"),
        ('{"red": 0}', "cannot be read .invalid literal"),
        ('[["n01440764", "tench"]]', "no names, or they are no plain text"),
        ("", "there are no names"),
        ("names: {red: 0}\n", "there are no names"),
        ("names:\n  0: red\n  green: 1\n", "no plain list or mapping of names"),
        ("names: *all\n", "no plain list or mapping of names"),
        ("names:\n  - &a red\n", "'&a red' is no plain name"),
        ("names:\n  0: red\n  - green\n", "no plain list or mapping of names"),
    ],
)
def test_what_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "l").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path / "l")
