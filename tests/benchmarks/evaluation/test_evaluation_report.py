"""The report of an evaluation with many methods, two models, and many metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aerocam.benchmarks.evaluation import diagrams, report
from aerocam.benchmarks.evaluation.metrics import METRICS
from aerocam.benchmarks.evaluation.pictures import Data, Sample
from aerocam.benchmarks.evaluation.run import ModelFile, Results
from aerocam.benchmarks.evaluation.settings import MethodSpec, Settings, metrics_of
from aerocam.benchmarks.evaluation.table import as_record, left_out
from aerocam.cli import eval as command
from checkout import ROOT

LABELS = tuple(f"method{i}:option={i}" for i in range(20))


def page(labels: tuple[str, ...], models: tuple[str, ...]) -> str:
    """The page of records in which each method's deletion curve lies below that of the method before it."""
    specs = tuple(MethodSpec(label, label) for label in labels)
    settings = Settings(specs, metrics_of(["deletion_auc", "insertion_auc"]))
    files = tuple(ModelFile(name, name, "", specs, {}, {"sha256": "0123456789" * 6}) for name in models)
    found = {(name, label): [_record(i)] for name in models for i, label in enumerate(labels)}
    results = Results(settings, Data((Sample("a.png", "a.png"),), "none"), files, found)
    return report.as_html(results, as_record(results))


def _record(number: int) -> dict[str, Any]:
    """One picture's."""
    scores = [1.0, 0.9 - number / 100, 0.0]
    curve = {"value": 1 - number / 100, "fraction": [0.0, 0.5, 1.0], "score": scores}
    known = {"correct": None, "runs": {"forward": 0, "explained": 0, "known": 0}}
    why = {"left out": {}, "refused": {}, "failed": {}}
    return {**known, **why, "values": {"deletion_auc": curve, "insertion_auc": 0.5}}


def test_what_is_alike_for_all_methods_is_one_line() -> None:
    rows = [
        {"model": model, "method": method, "metrics": {"gridpg": {"left out": why, "refused": {}, "undefined": 0}}}
        for model, method, why in [
            *(("a", label, {"no mosaic": 3}) for label in LABELS),
            ("b", "cam", {"no mosaic": 3}),
            ("b", "rise", {"no mosaic": 2}),
        ]
    ]
    assert left_out({"rows": rows}) == [
        "a: gridpg: no mosaic (3 targets)",
        "b: gridpg (cam): no mosaic (3 targets)",
        "b: gridpg (rise): no mosaic (2 targets)",
    ]


def test_each_model_has_its_rows_below_its_name_and_its_own_diagram() -> None:
    text = page(LABELS, ("float", "int8"))
    assert re.findall(r'scope="rowgroup" colspan="5"><span>(\w+)<', text) == ["float", "int8"]
    assert text.count('scope="row"') == 40
    assert re.findall(r'<svg [^>]*aria-label="([^"]*)"', text) == [
        "deletion_auc: score over fraction, float",
        "deletion_auc: score over fraction, int8",
    ]
    assert "method1:<wbr>option=1" in text
    assert "sha256 012345678901<" in text


def test_twenty_curves_have_twenty_pens_and_a_legend_from_the_highest_to_the_lowest() -> None:
    (diagram,) = re.findall(r"<svg .*?</svg>", page(LABELS, ("one",)))
    assert len(set(re.findall(r'<polyline points="[^"]*" ([^>]*)>', diagram))) == len(LABELS)
    assert re.findall(r"<text x=.{9,20}>(method[^<]*)<", diagram) == list(LABELS)
    columns = {re.sub(r"\D", "", one) for one in re.findall(r"<text x=\"\d+\" y=\"(\d+)\">method", diagram)}
    assert len(columns) == len(LABELS) / 2


def test_few_curves_of_two_models_lie_in_one_diagram() -> None:
    (diagram,) = re.findall(r"<svg .*?</svg>", page(LABELS[:2], ("float", "int8")))
    assert re.findall(r"<polyline[^>]*><title>([^<]*)<", diagram) == [
        f"{model} {label}" for label in LABELS[:2] for model in ("float", "int8")
    ]


def test_the_best_is_bold_unless_all_are_alike() -> None:
    assert re.findall(r'<td class="best">([^<]*)<', page(LABELS[:3], ("one",))) == ["0.98"]
    assert METRICS["deletion_auc"].direction == "lower"


@pytest.mark.parametrize("name", ["a" * diagrams.LONGEST, "a" * (diagrams.LONGEST + 1)])
def test_a_long_name_is_cut_in_the_legend_and_whole_in_its_title(name: str) -> None:
    text = diagrams.diagrams("x", {("m", name): [(0, 0), (1, 1)]}, {name: 0})
    shown = name if len(name) == diagrams.LONGEST else f"{name[: diagrams.LONGEST - 1]}…"
    assert f">{shown}<title>{name}</title></text>" in text


def test_the_help_of_the_command_names_every_group_of_metrics() -> None:
    said = (command.__doc__ or "").partition("The groups: ")[2].partition(";")[0]
    named = re.sub(r"\(.*?\)", "", " ".join(said.split())).split(",")
    assert [one.strip() for one in named] == sorted({metric.group for metric in METRICS.values()})


def test_the_readme_names_every_group_of_metrics() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = readme.partition("| group | metrics |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    named = [group for row in rows for group in row.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted({metric.group for metric in METRICS.values()})
