"""How the tests are built: what several test modules need is in tests/helpers, and no test module is imported."""

from __future__ import annotations

import ast
from pathlib import Path

from checkout import HELPERS, ROOT

TESTS = ROOT / "tests"
MODULES = sorted(path for path in TESTS.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, wherever in it; `from a import b` counts as `a.b` too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_test_module_is_imported() -> None:
    """What one needs of another belongs into a module of tests/helpers."""
    tests = {path.stem for path in MODULES if path.stem.startswith("test_")}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for name in imported(path)
        if not tests.isdisjoint(name.split("."))
    }
    assert wrong == set()


def test_helpers_hold_no_tests_and_tests_lie_in_folders() -> None:
    assert sorted(HELPERS.rglob("test_*.py")) == []
    assert sorted(TESTS.glob("test_*.py")) == []
