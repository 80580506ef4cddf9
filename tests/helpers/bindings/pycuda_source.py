"""What pycuda has, read from the source of its wrapper: it has no wheels, and to compile it takes CUDA's headers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

START = re.compile(r"py::(?:class_|enum_)<")
NAME = re.compile(r'"(\w+)"')
MEMBER = re.compile(
    r'(?:\.def|\.add_property|\.value|attr)\("(\w+)"([^;]*?)(?=\n\s*\.|;|\Z)|DEF_SIMPLE_METHOD\((\w+)\)'
)
FUNCTION = re.compile(r'py::def\("(\w+)"([^;]*);|DEF_SIMPLE_FUNCTION\((\w+)\)')
ERROR = re.compile(r"DECLARE_EXC\((\w+),")
ARGUMENTS = re.compile(r"py::args?\(([^()]*)\)(\s*=)?")
INIT = re.compile(r"py::init<.*?\n")


def describe(source: Path) -> dict[str, Any]:
    """Classes and functions of `pycuda.driver`, in the form of `describe.describe`."""
    text = (source / "src/wrapper/wrap_cudadrv.cpp").read_text()
    body = text[text.index("BOOST_PYTHON_MODULE") :]
    places = [start.start() for start in START.finditer(body)] + [len(body)]
    classes: dict[str, Any] = {name: {} for name in ERROR.findall(body)}
    for first, end in itertools.pairwise(places):
        part = body[first:end]
        name = NAME.search(part)
        assert name is not None
        members = {called or simple: _signature(rest) for called, rest, simple in MEMBER.findall(part)}
        init = INIT.search(part)
        classes[name[1]] = members | {"__init__": _signature(init[0]) if init else members.get("__init__")}
    names = {called or simple: _signature(rest) for called, rest, simple in FUNCTION.findall(body)}
    return {"classes": classes, "names": names}


def _signature(rest: str) -> list[str] | None:
    """The arguments, where the wrapper names them."""
    found = []
    for names, default in ARGUMENTS.findall(rest):
        given = default or "py::optional" in rest
        found += [f"{name} = 0" if given else name for name in NAME.findall(names) if name != "self"]
    return [f"({', '.join(['self', *found])}) -> "] if found else None
