"""The page "On a Jetson": every `aerocam` command on it is one that the command line takes, its table the code's."""

from __future__ import annotations

import re
import shlex

import pytest

from aerocam.benchmarks.device.differences import TOLERANCES
from aerocam.bundle import TARGETS
from aerocam.cli import build_parser
from aerocam.cli.arguments import joined
from aerocam.runtime.doctor.platforms import CUDA_PYTHON, INDEXES, JETSON
from checkout import ROOT

PAGE = (ROOT / "docs/jetson.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def without_comment(line: str) -> str:
    """A shell's line without what is said behind it."""
    return re.sub(r" {2,}# .*$| {2,}#.*$", "", line).strip()


COMMANDS_SHOWN = [without_comment(line) for line in LINES if line.startswith("aerocam ")]


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_a_command_of_the_page_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    args = build_parser().parse_args(joined(words))
    assert args.command == words[0]


def test_the_page_shows_what_a_board_needs() -> None:
    verbs = {shlex.split(line)[1] for line in COMMANDS_SHOWN}
    assert {"export", "doctor", "build", "explain", "stream", "bundle", "check"} <= verbs
    assert len(COMMANDS_SHOWN) > 15
    sources = [shlex.split(line)[3] for line in COMMANDS_SHOWN if line.startswith("aerocam stream")]
    pipelines = [source for source in sources if "!" in source]
    assert len(pipelines) == 3
    assert all(re.search(r"! video/x-raw, format=BGR ! appsink drop=true max-buffers=1$", one) for one in pipelines)


def test_its_bounds_are_those_of_the_check() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
    shown = {row[0].split(" ")[0].lower(): row[1:] for row in rows if row[0].split(" ")[0].lower() in TOLERANCES}
    for name, bounds in TOLERANCES.items():
        figures = [bounds.output, bounds.gradient, bounds.correlation, bounds.raw, bounds.map]
        assert [float(cell) for cell in shown[name]] == figures


def test_its_packages_are_those_of_doctor_and_bundle() -> None:
    for platform, requirement in CUDA_PYTHON.items():
        assert f"'{requirement}'" in PAGE
        assert requirement in TARGETS[platform].requirements
        assert f"--no-deps --index-url {INDEXES[platform]} onnxruntime-gpu" in PAGE
    assert JETSON["numpy"] in PAGE


def test_nothing_on_it_puts_pypis_packages_over_jetpacks() -> None:
    for line in LINES:
        command = without_comment(line)
        if "pip install" in command and "--index-url" not in command and "'.[all]'" not in command:
            assert not re.search(r"opencv|onnxruntime|tensorrt", command), command


def test_links_on_it_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in re.findall(r"^## .*$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE.replace("\n", " "))) <= headings
