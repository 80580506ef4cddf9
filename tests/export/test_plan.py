"""The plan of an export: what is decided before anything is changed, on what evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx.printer
import onnx_ir as ir
import pytest

from aerocam import manifest
from aerocam.decisions import Decision
from aerocam.export import export_model
from aerocam.export.plan import Plan, make_plan
from aerocam.export.reading.graph import load_model
from aerocam.export.request import ExportRequest
from onnx_graphs import saved
from small_networks import cnn
from two_scale_detector import ultralytics


def planned(path: Path, **options: Any) -> Plan:
    request = ExportRequest.of(path, **options)
    return make_plan(load_model(request.path), request, "source")


def decisions(plan: Plan) -> dict[str, tuple[str, str, str]]:
    return {item.subject: (item.decided, item.evidence, item.source) for item in plan.manifest.decisions}


def test_a_plan_changes_nothing_of_the_model(tmp_path: Path) -> None:
    request = ExportRequest.of(saved(tmp_path, cnn()), head="gradcam", frame=(20, 30), overlay=True)
    model = load_model(request.path)
    before = onnx.printer.to_text(ir.to_proto(model))
    plan = make_plan(model, request, "source")
    assert onnx.printer.to_text(ir.to_proto(model)) == before
    assert manifest.KEY not in model.metadata_props
    assert (plan.outputs, [item.name for item in plan.layers], plan.batch) == (["y"], ["r1"], 0)
    assert {"x", "c0", "r0", "c1", "r1", "y"} <= plan.tensors
    assert plan.manifest.head == manifest.Head("gradcam", manifest.MAP, "raw", manifest.OVERLAY)
    assert plan.manifest.preprocess is not None
    assert plan.manifest.preprocess.frame == (20, 30)


@pytest.mark.parametrize(
    ("options", "made"),
    [({}, 1), ({"head": "gradcam", "frame": (20, 30), "overlay": True}, 1), ({"packaging": "split", "batch": 2}, 2)],
)
def test_the_manifest_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], made: int
) -> None:
    """And completed once where the model is split: only the rewriting shows what is carried from file to file."""
    made_here: list[manifest.Manifest] = []
    check = manifest.Manifest.__post_init__

    def noted(self: manifest.Manifest) -> None:
        made_here.append(self)
        check(self)

    monkeypatch.setattr(manifest.Manifest, "__post_init__", noted)
    done = export_model(saved(tmp_path, cnn()), **options)
    assert len(made_here) == made
    assert done.manifest is made_here[-1]
    if done.manifest.split is not None:
        assert done.manifest.split.carried == ("r1",)
        assert made_here[0].split == manifest.Split("model.cam.explain.onnx", (), "model.cam.tail.onnx", 2)


def test_what_is_asked_for_is_no_guess(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    rule = manifest.Preprocess("x", (8, 8))
    plan = planned(
        saved(tmp_path, cnn()),
        task="classify",
        score_output="y",
        activation="softmax",
        layers="r0",
        preprocess=rule,
        labels=names,
    )
    assert {subject: decided for subject, (decided, _, _) in decisions(plan).items()} == {
        "task": "classify",
        "output": "y",
        "activation": "softmax of logits",
        "layers": "r0 1x4x8x8",
        "preprocessing": "stretch to 8x8, RGB, mean 0, std 255",
        "labels": "a, b, c, ...",
    }
    assert {(item.evidence, item.source, item.is_guess) for item in plan.manifest.decisions} == {
        ("asked for", "asked", False)
    }


def test_what_is_taken_by_the_form_of_the_graph_alone(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, cnn()))
    assert {subject: source for subject, (_, _, source) in decisions(plan).items()} == {
        "task": "assumed",
        "output": "graph",
        "activation": "measured",
        "layers": "graph",
        "preprocessing": "assumed",
        "labels": "graph",
    }
    assert [str(item).partition(":")[0] for item in plan.manifest.decisions if item.is_guess] == [
        "task, a guess",
        "activation, a guess",
        "preprocessing, a guess",
    ]
    assert decisions(plan)["task"][1] == "output 'y' (1, 5), which may be a regression or an embedding as well"
    assert decisions(plan)["output"][:2] == ("y", "the only one")


def test_what_the_metadata_say(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, ultralytics("['cat', 'dog', 'emu']")))
    assert [subject for subject, (_, _, source) in decisions(plan).items() if source == "metadata"] == [
        "task",
        "preprocessing",
        "labels",
    ]
    assert plan.manifest.decisions[0] == Decision("task", "detect", "the model's metadata", "task", "metadata")
    (guess,) = (item for item in plan.manifest.decisions if item.is_guess)
    assert (guess.subject, guess.decided) == ("layers", "n0 1x4x4x4, n1 1x4x2x2")
    assert guess.conflict == "one answer depends on one cell of it: the map is a dot whatever the network saw"


def test_a_contradiction_is_a_guess_and_said(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, ultralytics("['cat', 'dog']")))
    labels = plan.manifest.decisions[-1]
    assert (labels.is_guess, plan.manifest.labels) == (True, ())
    assert str(labels) == (
        "labels, a guess: classes go by number (no names fit, but the model's metadata names 2 classes, the output has"
        " 3); `labels` settles it"
    )
