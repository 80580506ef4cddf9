"""What the device side says: it names parameters, and the command line has a flag for each of them."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

from aerocam.cli import build_parser
from aerocam.cli.flags import FLAGS, with_flags
from checkout import ROOT

ANOTHER_PROGRAMS = {("power.py", "--show"), ("platforms.py", "--system-site-packages")}
"""Flags of other programs that are called as ours are: those of `jetson_clocks` and of Python's `venv`."""


def flags() -> set[str]:
    """All long flags of the command line."""
    (verbs,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    names = (name for verb in verbs.choices.values() for action in verb._actions for name in action.option_strings)
    return {name for name in names if name.startswith("--")}


def strings() -> Iterator[tuple[Path, str]]:
    """Every string in the sources, the parts of formatted ones and docstrings too."""
    for path in sorted((ROOT / "runtime").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_no_string_names_a_flag() -> None:
    known = flags()
    assert {"--head", "--workspace", "--show"} <= known
    found = {(path.name, name) for path, text in strings() for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}
    assert {(file, name) for file, name in found if name in known} <= ANOTHER_PROGRAMS


def test_every_parameter_with_a_value_has_a_flag() -> None:
    """But for the options of methods, which docstrings name."""
    named = {name for path, text in strings() for name in re.findall(r"`(\w+)=", text) if path.parent.name != "methods"}
    assert {"packaging", "hardware", "destination", "map_form"} <= named
    assert named <= set(FLAGS)


def test_a_message_as_the_command_line_prints_it() -> None:
    said = "export the model again with `packaging='split'`, `batch=32`, or with `head='reciprocam'`"
    assert with_flags(said) == "export the model again with --packaging split, --batch 32, or with --head reciprocam"
    assert with_flags("export it again without `map_form`") == "export it again without --map"
