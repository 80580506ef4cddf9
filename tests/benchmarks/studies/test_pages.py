"""What the pages and the Makefile name is there: modules and attributes of aerocam, files, links."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from checkout import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", ".pre-commit-config.yaml")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks/studies/results").glob("*.md")),
]
OTHERS = {"aerocam.service"}
"""Names that look like a module's and are none: a unit of systemd."""

NAME = re.compile(r"\baerocam(?:\.\w+)+")
FILE = re.compile(r"(?<![\w/.-])((?:\.\./)*(?:export|runtime|benchmarks|src|tests|docs)/[\w./-]*[\w/])(?![\w*])")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of aerocam, or an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not [name for name in NAME.findall(text) if name not in OTHERS and not resolves(name)]
    folders = (page.parent, ROOT)
    assert not [name for name in FILE.findall(text) if not any((folder / name).exists() for folder in folders)]
    assert not [name for name in LINK.findall(text) if not (page.parent / name).exists()]


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert resolves("aerocam.benchmarks.zoo.lite0.PREPROCESS")
    assert not resolves("aerocam.benchmarks.zoo.lite9")
    assert FILE.findall("see `tests/none.py` and [it](../docs/it.md), tests/test_*.py") == [
        "tests/none.py",
        "../docs/it.md",
    ]
