"""Which module imports which: no circle, not even for types, and lint fails where somebody imports upward."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from checkout import HALVES, MODULES, ROOT


def named(path: str) -> str:
    """Return the dotted name of a module by its path inside the package."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


NAMES = {named(path): ROOT / "src" / path for path in MODULES}


def imported(module: str) -> Iterator[str]:
    """Yield the modules of aerocam that a module imports, wherever in it, those for types alone included."""
    for node in ast.walk(ast.parse(NAMES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            found = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES.keys()
            yield from found or {node.module}


def test_no_module_is_imported_in_a_circle() -> None:
    """The folders' own circles are looked for by `make lint`; here a package counts as a module beside its parts."""
    graph = {module: set(imported(module)) for module in NAMES}
    assert sum(map(len, graph.values())) > 1000
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' <- '.join(error.args[1])}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the source tree, in which imports can be added."""
    folder = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*HALVES, "src"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run what `make lint` runs on a tree."""
    pytest.importorskip("importlinter")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_lint_follows_the_links_and_finds_nothing(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout
    assert f"Analyzed {len(NAMES)} files" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("benchmarks/latency/timing.py", "import aerocam.cli.bench", "The house BROKEN"),
        ("benchmarks/evaluation/case.py", "import aerocam.benchmarks.studies.grid", "Benchmarks: .* BROKEN"),
        ("runtime/frames/preprocess.py", "import aerocam.export.nodes.builder", "The house BROKEN"),
        ("export/nodes/shapes.py", "import aerocam.export.scores.registry", "Export: .* BROKEN"),
        ("runtime/frames/opencv.py", "import aerocam.runtime.predictions.scores", "Runtime: .* BROKEN"),
        ("src/aerocam/errors.py", "import aerocam.files", "The house BROKEN"),
        ("export/gradients/autodiff.py", "import aerocam.export.gradients.rule_tables", "No circle .* BROKEN"),
    ],
)
def test_lint_fails_where_somebody_imports_upward_for_types_alone(
    tree: Path, module: str, line: str, contract: str
) -> None:
    path = tree / module
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {line}\n", encoding="utf-8")
    try:
        done = lint(tree)
    finally:
        path.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert re.search(contract, done.stdout), done.stdout
