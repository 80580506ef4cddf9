"""What the source asks of a package: every attribute of its objects, and every call with how many arguments.

Its objects are known by the names of the variables that hold them, or by what a method says that it returns.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODULE = "module"
"""In a table of variables: the package itself."""

CALLER = "_call"
"""A method that calls its first argument with the others; `asked` is its own."""

Api = Mapping[str, Any]


@dataclass(frozen=True)
class Use:
    """An attribute that is asked for.

    Attributes:
        where: File and line.
        owner: The class, or `MODULE`.
        name: The attribute.
        call: Where it is called: number of positional arguments, and the names of the others.
        asked_first: Whether the same file asks with hasattr or getattr whether it is there.
    """

    where: str
    owner: str
    name: str
    call: tuple[int, tuple[str, ...]] | None
    asked_first: bool

    def wrong(self, api: Api) -> str | None:
        """What is wrong with it for a package as `describe` describes it; None where nothing is."""
        members = api["names"] | api["classes"] if self.owner == MODULE else api["classes"].get(self.owner)
        if members is None:
            return f"{self.where}: there is no class {self.owner}"
        if self.name not in members:
            return f"{self.where}: {self.owner} has no {self.name}"
        found = members[self.name]
        if isinstance(found, dict):  # a class that is called
            found = found.get("__init__")
        if self.call is None or not found or any(takes(signature, *self.call) for signature in found):
            return None
        return f"{self.where}: {self.owner}.{self.name} takes {found}, it is called with {self.call}"


def takes(signature: str, positional: int, named: tuple[str, ...]) -> bool:
    """Whether a call fits a signature."""
    inside = signature[1 : signature.rindex(") -> ")]
    inside = re.sub(r"<[^<>]*>|\[[^\[\]]*\]", "", inside)  # defaults as <Flag.X: 0>, annotations as list[int, ...]
    parameters = [part.strip() for part in inside.split(",") if part.strip() not in ("", "/", "*")]
    names = [re.split(r"[:=\s]", part)[0] for part in parameters]
    if names[:1] == ["self"]:
        parameters, names = parameters[1:], names[1:]
    required = {name for name, part in zip(names, parameters, strict=True) if "=" not in part}
    given = {*names[:positional], *named}
    return positional <= len(names) and set(named) <= set(names[positional:]) and required <= given


@dataclass
class Reader:
    """Reads a source file.

    Attributes:
        api: The package, as `describe` describes it; of several, the newest.
        variables: The class that a variable holds, by its name without leading underscores; `name[]` for what a
            dictionary holds, `file.py:name` for one file alone. Empty: nothing of the package's.
        uses: What was found.
        strange: Attributes that the package has, of objects that nobody knows.
    """

    api: Api
    variables: Mapping[str, str]
    uses: list[Use] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def read(self, path: Path, ignored: frozenset[str]) -> None:
        """Add what a file asks for.

        Args:
            path: The file.
            ignored: Attributes that other objects have too, and which say nothing by themselves.
        """
        tree = ast.parse(path.read_text(), str(path))
        known = {name for members in self.api["classes"].values() for name in members} - ignored
        asked = set(_asked(tree))
        calls = dict(_calls(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = self._class_of(node.value, path.name)
                where = f"{path.name}:{node.lineno}"
                if owner is not None:
                    call = None if node.attr == "__init__" else calls.get(node)  # of a base class, with self
                    self.uses.append(Use(where, owner, node.attr, call, node.attr in asked))
                elif node.attr in known:
                    self.strange.append(f"{where}: {ast.unparse(node)}")

    def _class_of(self, node: ast.expr, file: str) -> str | None:
        """The class of the package that an expression is an object of, or is itself; None where it is of none."""
        name = _name(node)
        known = self.variables.get(f"{file}:{name}", self.variables.get(name or ""))
        if known is not None:
            return known or None
        if isinstance(node, ast.Attribute):
            owner = self._class_of(node.value, file)
            inner = node.attr if owner == MODULE else f"{owner}.{node.attr}"
            if owner is not None:
                return inner if inner in self.api["classes"] else None
            return self.variables.get(f".{node.attr}")
        if isinstance(node, ast.Call):
            return self._returned(node.func, file)
        return None

    def _returned(self, function: ast.expr, file: str) -> str | None:
        """The class that a method says that it returns, or the class itself where that is called."""
        kind = self._class_of(function, file)
        if kind is not None and kind != MODULE:
            return kind
        if not isinstance(function, ast.Attribute):
            return None
        owner = self._class_of(function.value, file)
        signatures = self.api["classes"].get(owner, {}).get(function.attr) if owner else None
        found = re.search(r"(\w+)$", signatures[0]) if signatures else None
        return found[1] if found and found[1] in self.api["classes"] else None


def _name(node: ast.expr) -> str | None:
    """`x` and `self._x` as `x`, `self._x[...]` as `x[]`."""
    if isinstance(node, ast.Subscript):
        inner = _name(node.value)
        return None if inner is None else f"{inner}[]"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr.lstrip("_")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and (held := _name(node.func.value)):
        return f"{held}.{node.func.attr}()"
    return node.id.lstrip("_") if isinstance(node, ast.Name) else None


def _asked(tree: ast.AST) -> Iterator[str]:
    """Names in hasattr and getattr."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Attribute, tuple[int, tuple[str, ...]]]]:
    """What is called, with how many arguments and which named ones."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(isinstance(arg, ast.Starred) for arg in node.args):
            continue
        function, arguments = node.func, node.args
        named = tuple(keyword.arg for keyword in node.keywords if keyword.arg is not None)
        if isinstance(function, ast.Attribute) and function.attr == CALLER and arguments:
            function, arguments = arguments[0], arguments[1:]
            named = tuple(name for name in named if name != "asked")
        if isinstance(function, ast.Attribute):
            yield function, (len(arguments), named)
