"""The plan of an export: what is decided before anything is changed, on what evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx.printer
import onnx_ir as ir
import pytest

from aerocam import manifest
from aerocam.export import export_model
from aerocam.export.plan import Decision, Plan, make_plan
from aerocam.export.preprocessing import default_preprocess
from aerocam.export.reading.graph import load_model
from aerocam.export.request import ExportRequest
from onnx_graphs import saved
from small_networks import cnn
from two_scale_detector import ultralytics


def planned(path: Path, **options: Any) -> Plan:
    request = ExportRequest.of(path, **options)
    return make_plan(load_model(request.path), request, "source")


def decisions(plan: Plan) -> dict[str, tuple[str, str, bool]]:
    return {item.subject: (item.decided, item.evidence, item.is_guess) for item in plan.decisions}


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
        saved(tmp_path, cnn()), task="classify", score_output="y", layers="r0", preprocess=rule, labels=names
    )
    asked = "asked for"
    assert decisions(plan) == {
        "task": ("classify", asked, False),
        "output": ("y", asked, False),
        "layers": ("r0", asked, False),
        "preprocessing": ("stretch, RGB, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)", asked, False),
        "labels": ("a, b, c", asked, False),
    }


def test_what_is_taken_by_the_form_of_the_graph_alone(tmp_path: Path) -> None:
    found = decisions(planned(saved(tmp_path, cnn())))
    assert found["task"] == ("classify", "the form of output 'y'", False)
    assert found["output"] == ("y", "the only one", False)
    assert found["layers"] == ("r1", "the last that everything from the picture to the score passes", False)
    assert found["preprocessing"][1:] == ("what networks of this form mostly take", True)
    assert found["labels"] == ("by number", "nothing names them", False)


def test_what_the_metadata_say(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, ultralytics("['cat', 'dog', 'emu']")))
    assert {subject: evidence for subject, (_, evidence, guess) in decisions(plan).items() if not guess} == {
        "task": "the model's metadata",
        "output": "the only one",
        "preprocessing": "the model's metadata",
        "labels": "the model's metadata",
    }
    layers = "what boxes and classes are both predicted from; one answer sees one cell of them"
    assert decisions(plan)["layers"] == ("n0, n1", layers, True)
    assert plan.decisions[0] == Decision("task", "detect", "the model's metadata", "task")
    assert ExportRequest.of(tmp_path / "model.onnx").preprocess is default_preprocess
