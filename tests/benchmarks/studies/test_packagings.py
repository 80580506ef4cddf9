"""What two files and several targets cost: one measurement, and the table."""

from __future__ import annotations

import json
from pathlib import Path

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.benchmarks.studies.pages.packagings import PAGE, RECORD, ROWS, measure, table
from checkout import ROOT

RESULTS = ROOT / "benchmarks/studies/results"


def test_a_measurement_runs_every_form(tmp_path: Path) -> None:
    one = measure(zoo.lite0.model(), "auto", Protocol(iterations=4, warmup=0, pause=0), tmp_path)
    assert one["settings"]["layers"] == ["head/act"]
    assert set(one["milliseconds"]) == {"plain", "fused", "forward", "split", "tail", "five"}
    assert one["milliseconds"]["tail"] < one["milliseconds"]["plain"]
    assert 0.2 < one["five / one"]["median"] < 5  # no claim on speed: only that it is such a ratio


def test_a_row_of_the_table() -> None:
    ratios = {"median": 1.0444, "q1": 0.99, "q3": 1.5}
    keys = ("forward / plain", "split / (fused + tail)", "five / one")
    one = {"milliseconds": {"plain": 12.34}, **dict.fromkeys(keys, ratios)}
    host = {"processor": "Q", "cores": 3, "onnxruntime": "1.2"}
    said = "1.044 (0.990 to 1.500)"
    assert table({"machine": host, "rows": {"n": one}}).splitlines()[-1] == f"| n | 12.3 | {said} | {said} | {said} |"


def test_the_committed_table_is_that_of_the_committed_record() -> None:
    record = json.loads((RESULTS / RECORD).read_text())
    assert (RESULTS / PAGE).read_text() == table(record)
    assert list(record["rows"]) == list(ROWS)
