"""What a Python package has, as JSON: `python tests/helpers/bindings/describe.py MODULE`, in an interpreter of its own.

Classes with their attributes, and functions; of whatever can be called a line per signature where one can be had, as
`name(self: X, a: int, b: int = 0) -> Y`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from typing import Any


def describe(module: Any) -> dict[str, Any]:
    """The module's classes and other names."""
    classes, names = {}, {}
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if isinstance(value, type):
            classes[name] = attributes(value)
            for inner, nested in vars(value).items():
                if isinstance(nested, type) and not inner.startswith("_"):
                    classes[f"{name}.{inner}"] = attributes(nested)
        else:
            names[name] = signatures(name, value)
    return {"classes": classes, "names": names}


def attributes(kind: type) -> dict[str, list[str] | None]:
    """What a class has, inherited or not."""
    found = {}
    for name in dir(kind):
        if name == "__init__" or not name.startswith("_"):
            found[name] = signatures(name, getattr(kind, name, None))
    return found


def signatures(name: str, value: Any) -> list[str] | None:
    """The signatures of something that can be called, None of anything else, or where it does not say."""
    if not callable(value) or isinstance(value, type):
        return None
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}(\(.*\) -> .*)$", value.__doc__ or "", re.MULTILINE)
    if lines:  # as pybind11 writes them
        return [line for line in lines if not line.startswith("(*args")]
    try:
        return [f"{inspect.signature(value)} -> "]
    except (TypeError, ValueError):
        return None


if __name__ == "__main__":
    print(json.dumps(describe(importlib.import_module(sys.argv[1]))))
