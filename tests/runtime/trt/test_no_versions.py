"""TensorRT's modules are told apart by what they have, never by their names or versions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aerocam.runtime import trt

pytestmark = pytest.mark.runtime


def version_comparisons(source: str) -> list[int]:
    """Lines where a version, or a module's name, decides: compared with a constant, ordered, or taken apart."""

    def speaks(node: ast.AST) -> bool:
        names = (getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node))
        return any("version" in name.lower() or name == "tensorrt" for name in names)

    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constant = any(isinstance(part, ast.Constant) and isinstance(part.value, str | int) for part in sides)
            ordered = any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.In | ast.NotIn) for op in node.ops)
            named = any(isinstance(part, ast.Constant) and str(part.value).startswith("tensorrt") for part in sides)
            if named or (any(map(speaks, sides)) and (constant or ordered)):
                lines.append(node.lineno)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            apart = name in ("split", "startswith", "partition", "fullmatch", "match") and speaks(node)
            if apart or (name in ("int", "float", "Version", "parse") and any(map(speaks, node.args))):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "source",
    [
        "if trt.__version__ >= minimum: pass",
        "if found.version == '10.3': pass",
        "major = int(found.version[0])",
        "parts = trt.__version__.split('.')",
        "if found.name == 'tensorrt_rtx': pass",
    ],
)
def test_a_version_that_decides_is_found(source: str) -> None:
    assert version_comparisons(source) == [1]


ALLOWED = {"engine_checks.py"}
"""Whether an engine's version fits the one that is to run it: about the engine, not about what there is to call."""


def test_no_version_decides() -> None:
    files = [path for path in sorted(Path(trt.__file__).parent.glob("*.py")) if path.name not in ALLOWED]
    assert len(files) > 5
    assert {path.name: lines for path in files if (lines := version_comparisons(path.read_text()))} == {}
