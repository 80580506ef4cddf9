"""The table of measured costs, and that the README quotes nothing else."""

from __future__ import annotations

import json

import pytest

from aerocam.benchmarks.studies.pages.overhead import ROWS, table
from checkout import ROOT

RESULTS = ROOT / "benchmarks/studies/results"

RECORD = {
    "settings": {"method": "gradcam", "threads": 2},
    "machine": {"processor": "Q", "cores": 3, "onnxruntime": "1.2", "numpy": "3.4", "python": "5.6"},
    "milliseconds": {"plain": {"infer": {"p50": 12.34}}, "runtime": {"cam": {"p50": 0.567}}},
    "ratio to plain": {"runtime": {"median": 1.0444, "q1": 0.99, "q3": 1.5}},
}


def test_a_row_of_the_table() -> None:
    text = table([(ROWS[1], RECORD)])
    assert "on this machine: Q, 3 cores,\nONNX Runtime 1.2 on the CPU, NumPy 3.4, Python 5.6." in text
    row = "| EfficientNet-Lite0, last layer | gradcam | 2 | 12.3 |  | 1.044 (0.990 to 1.500) | 0.57 |"
    assert text.splitlines()[-1] == row


def test_the_committed_table_is_that_of_the_committed_records() -> None:
    records = [(row, json.loads((RESULTS / f"{row.name}.json").read_text())) for row in ROWS]
    assert (RESULTS / "README.md").read_text() == table(records)
    for row, record in records:
        assert record["settings"]["threads"] == int(row.options[row.options.index("--threads") + 1])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_readme_quotes_the_table(row: object) -> None:
    quoted = (ROOT / "README.md").read_text()
    line = table([(row, json.loads((RESULTS / f"{row.name}.json").read_text()))]).splitlines()[-1]  # type: ignore[attr-defined]
    assert line in quoted
