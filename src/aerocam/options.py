"""Options given as text: `NAME=VALUE`, as methods and metrics take them on the command line and in settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aerocam.errors import UsageError
from aerocam.foreign import parse_literal


def parse_options(items: Sequence[str], where: str = "--option ") -> dict[str, Any]:
    """Parse items `NAME=VALUE` to a dictionary; a value is a Python literal if it reads as one, else text.

    Args:
        items: The items.
        where: How messages begin, before the item: where the user gave it.

    Raises:
        UsageError: An option is not of that form, or its name is given twice.
    """
    options: dict[str, Any] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            raise UsageError(f"{where}{item}: NAME=VALUE is expected, as in steps=100")
        if name in options:
            raise UsageError(f"{where}{item}: {name} was given before, as {options[name]!r}; give it once")
        try:
            options[name] = parse_literal(value)
        except ValueError:
            options[name] = value
    return options
