"""The table of all methods by all metrics: that it has all, and a small run with real weights."""

import json
from collections import Counter

import pytest

from aerocam.benchmarks.evaluation.metrics import METRICS
from aerocam.benchmarks.evaluation.pictures import find_data
from aerocam.benchmarks.studies import method_table
from aerocam.benchmarks.studies.method_table import FURTHER, ONCE, PARTS, QUICK, SLOW, SLOWEST, Part
from aerocam.benchmarks.studies.pages.eval import page
from aerocam.methods import METHODS


def test_every_method_is_in_it_once_and_every_metric_of_every_method():
    named = [one for part in (QUICK, SLOW, SLOWEST) for names in part.values() for one in names.split(",")]
    assert Counter(one.partition(":")[0] for one in named) == Counter([*METHODS])
    assert {*ONCE, *FURTHER, "gridpg"} == {*METRICS}
    for methods in (QUICK, SLOW, SLOWEST):
        metrics = Counter(name for part in PARTS if part.methods is methods for name in part.metrics)
        assert set(metrics) == {*METRICS}
        assert {name for part in PARTS if part.methods is methods and part.data == "mosaics" for name in part.metrics}


@pytest.mark.slow
def test_a_small_run_and_its_page(tmp_path, monkeypatch):
    both = {"tensors": "cfcam,eigencam"}
    some = {"input": "saliency"}
    parts = (
        Part("photographs", "photographs", both, ("deletion_auc", "class_sensitivity", "box_iou"), 3),
        Part("photographs-slow", "photographs", some, ("deletion_auc", "box_iou"), 1),
        Part("mosaics", "mosaics", both, ("gridpg", "iou")),
    )
    monkeypatch.setattr(method_table, "PARTS", parts)
    monkeypatch.setattr(method_table, "MOSAICS", 1)
    said = []
    found = json.loads(json.dumps(method_table.measure(tmp_path, 1, said.append)))
    assert said == ["photographs", "photographs-slow", "mosaics"]
    assert found["failed"] == 0
    photographs, mosaics = found["photographs"], found["mosaics"]
    assert {method: {name: one["n"] for name, one in cells.items()} for method, cells in photographs.items()} == {
        "cfcam": {"deletion_auc": 3, "class_sensitivity": 3, "box_iou": 3},
        "eigencam": {"deletion_auc": 3, "class_sensitivity": 3, "box_iou": 3},
        "saliency": {"deletion_auc": 1, "box_iou": 1},
    }
    assert photographs["eigencam"]["class_sensitivity"]["value"] == pytest.approx(1)
    assert mosaics["eigencam"]["gridpg"] == {"value": pytest.approx(0.25, abs=1e-6), "n": 4}
    assert mosaics["cfcam"]["gridpg"]["value"] > 0.7
    assert mosaics["cfcam"]["iou"]["value"] > mosaics["eigencam"]["iou"]["value"]

    again = method_table.measure(tmp_path, 1, said.append)
    assert again["done before"] == 2 * 3 + 1 + 2 * 4
    assert again["photographs"] == photographs

    host = {"processor": "P", "cores": 2, "onnxruntime": "1"}
    shown = page({"machine": host, "jobs": 2, "seconds": 90.0, **found})
    area = f"{photographs['saliency']['deletion_auc']['value']:.3g}"
    assert "with 2 processes, in 1.5 minutes" in shown
    assert f"| saliency | {area} (n 1) |" in shown
    assert "| cfcam | **" in shown.partition("## Mosaics")[2]
    assert "gridpg 1 of 2, iou 1 of 2" in shown
    assert "**deletion_auc** (lower is better)" in shown


def test_the_boxes_of_the_photographs_are_theirs(tmp_path):
    found = find_data(method_table.write_photographs(tmp_path)).samples
    assert len(found) == 20
    assert [one.name for one in found if not one.boxes] == ["imagenet-12.jpg"]
    assert found[0].labels == (243,)
    assert found[0].boxes == ((118, 0, 312, 460),)
