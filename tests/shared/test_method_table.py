"""The table of methods: nothing is forgotten, nothing registered without a row, and pages say what it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from aerocam.benchmarks.studies.pages.methods import TABLES, main, page
from aerocam.cli import build_parser
from aerocam.errors import UsageError
from aerocam.export.heads import CAM_HEADS, TAIL_HEADS, fuses
from aerocam.methods import HEADS, HEADS_ANYWHERE, METHODS, OF_TAIL
from aerocam.runtime.methods import COMPUTED, CONTRAST_METHODS, FORWARD_METHODS, computes
from checkout import ROOT
from method_goldens import GOLDENS

FUSED = {**CAM_HEADS, **TAIL_HEADS}


def test_nothing_of_a_method_is_forgotten() -> None:
    """A row has arithmetic, nodes where it can be a head, and a test that knows the values."""
    tests = {
        item.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for item in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(item, ast.FunctionDef)
    }
    forgotten = []
    for name, facts in METHODS.items():
        if name not in COMPUTED:
            forgotten.append(f"{name}: no arithmetic; add a function under @computes({name!r}) in runtime/methods")
        if facts.headless is None and name not in FUSED:
            forgotten.append(
                f"{name}: no nodes; add a function under @fuses({name!r}) in export/heads, or say in its row why it is"
                " headless"
            )
        if GOLDENS.get(name) not in tests:
            forgotten.append(f"{name}: no golden case; write the test of its values, and name it in method_goldens.py")
    assert not forgotten, "\n".join(["of the methods in aerocam/methods.py", *forgotten])


def test_every_table_has_what_its_rows_say() -> None:
    assert COMPUTED.keys() <= METHODS.keys()
    assert FUSED.keys() <= {*HEADS}
    assert TAIL_HEADS.keys() <= {name for name, facts in METHODS.items() if facts.kind == "tail"} == {*OF_TAIL}
    assert {name for name, facts in METHODS.items() if facts.contrast != "none"} >= CONTRAST_METHODS.keys()
    kinds = {name for name, facts in METHODS.items() if facts.kind in ("model", "tail")}
    assert FORWARD_METHODS.keys() <= kinds
    assert all(head.facts is METHODS[name] for name, head in CAM_HEADS.items())
    assert all(method.facts is METHODS[name] for name, method in COMPUTED.items())


def test_a_name_without_a_row_is_refused() -> None:
    for register in (computes, fuses):
        with pytest.raises(
            ValueError, match=r"method 'camcam': METHODS in aerocam/methods.py has no row for it; add one"
        ):
            register("camcam")
    with pytest.raises(ValueError, match="method 'kpcacam': headless in its row is 'its kernel matrix is not definite"):
        fuses("kpcacam")
    with pytest.raises(ValueError, match="method 'cfcam': on_stream is True in its row, and not in @computes"):
        computes("cfcam")


def test_importing_the_table_loads_the_standard_library_alone() -> None:
    code = "import sys, aerocam.methods; print({'numpy', 'cv2', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_readme_has_the_table(tmp_path: Path) -> None:
    """`make docs` writes it."""
    if METHODS.keys() - COMPUTED.keys():
        pytest.skip("a method has no arithmetic, see test_nothing_of_a_method_is_forgotten")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(text, encoding="utf-8")
    main([str(copy)])
    assert copy.read_text(encoding="utf-8") == text, "README.md is not what the table of methods says; run make docs"
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in row.split(" | ")[0].strip("| ").replace("`", "").split(", ")}
    assert METHODS.keys() <= named
    with pytest.raises(UsageError, match=r"found no '<!-- methods: input; \.\.\. -->'"):
        page(text.replace("<!-- methods: input;", "<!-- "))
    with pytest.raises(UsageError, match="one file name is expected"):
        main([])
    assert len(TABLES) == text.count("<!-- end -->")


def test_help_names_the_methods() -> None:
    """Wherever one is asked for, all that can be given."""
    verbs = next(item for item in build_parser()._actions if item.choices and "export" in item.choices).choices
    assert verbs is not None
    helps = {
        command: {flag: item.help or "" for item in verb._actions for flag in item.option_strings}  # type: ignore[attr-defined]
        for command, verb in verbs.items()  # type: ignore[attr-defined]
    }
    for command in ("explain", "stream", "bench"):
        assert helps[command]["--method"].endswith(": " + ", ".join(METHODS))
    assert helps["export"]["--head"].endswith(": " + ", ".join(HEADS))
    assert " and ".join(OF_TAIL) in helps["export"]["--batch"]
    assert set(HEADS_ANYWHERE) == {"eigencam", "fem", "randomcam"}
