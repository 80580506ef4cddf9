"""The page on networks that nobody here made: what counts as right, and that its totals are those of its rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from aerocam.benchmarks.studies.networks import making, real
from aerocam.benchmarks.studies.networks.judging import judge
from aerocam.benchmarks.studies.networks.truth import HALVES, Place, Truth
from aerocam.benchmarks.studies.pages.networks import page
from checkout import ROOT

RESULTS = ROOT / "benchmarks/studies/results"

MODEL = """<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[1,1000] y) {
    c = Conv<strides=[2,2]>(x, w)
    a = Relu(c)
    p = GlobalAveragePool(a)
    y = Flatten(p)
}"""
TRUTH = Truth((Place("^a$", (4, 4)),))


@pytest.fixture
def path(tmp_path: Any) -> Any:
    proto = parser.parse_model(MODEL)
    weights = np.random.default_rng(0).standard_normal((1000, 3, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    ("truth", "wrong"),
    [
        (TRUTH, {}),
        (replace(TRUTH, task="embed", link=None), {"task": "silent", "activation": "silent"}),
        (replace(TRUTH, link="sigmoid"), {"activation": "silent"}),
        (replace(TRUTH, classes=9), {"output": "silent"}),
        (replace(TRUTH, layers=(Place("^c$", (4, 4)),)), {"layers": "silent"}),
        (replace(TRUTH, layers=(Place("^a$", (8, 8)),)), {"layers": "silent"}),
        (replace(TRUTH, numbers=HALVES), {"preprocessing": "warned"}),
        (replace(TRUTH, resize=("stretch",)), {"preprocessing": "warned"}),
        (replace(TRUTH, color="BGR"), {"preprocessing": "warned"}),
        (replace(TRUTH, label="cat"), {"labels": "silent"}),
    ],
)
def test_what_is_not_true_is_wrong(path: Any, truth: Truth, wrong: dict[str, str]) -> None:
    judgement = judge(path, truth)
    found = {v.subject: v.outcome.partition(" ")[0] for v in judgement.verdicts if "wrong" in v.outcome}
    assert found == wrong
    assert all(bool(v.expected) == ("wrong" in v.outcome) for v in judgement.verdicts)


def test_what_is_refused_has_a_reason(path: Any) -> None:
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    onnx.save(proto, path)
    assert judge(path, TRUTH).refused
    assert not judge(path, TRUTH).verdicts


def test_the_committed_page_is_that_of_the_committed_record() -> None:
    record = json.loads((RESULTS / "networks.json").read_text())
    assert (RESULTS / "networks.md").read_text() == page(record)
    names = {row["network"] for row in record["rows"]}
    assert names <= {*real.NETWORKS, *making.NETWORKS}
    assert len(names) >= 40


def test_the_totals_are_those_of_the_rows() -> None:
    def row(network: str, *outcomes: str, refused: str = "") -> dict[str, Any]:
        found = [{"subject": "task", "outcome": outcome, "decided": "a", "expected": "b"} for outcome in outcomes]
        return {"network": network, "file": "f", "verdicts": found, "refused": refused}

    rows = [
        row("a", "right", "warned and wrong"),
        row("a", "right"),
        row("b", "silent and wrong"),
        row("c", refused="x|y"),
    ]
    published = {"weights": 200, "imagenet": 100, "assumed": 150, "possible": 190}
    text = page({"rows": rows, "not written": {}, "published": published})
    assert "3 networks in 4 files, 1 networks refused" in text
    assert "silent and wrong: 1 (33%)" in text
    assert "warned and wrong: 1 (33%)" in text
    assert "with a warning: 1 of 4 (25%)" in text
    assert "x\\|y" in text
    shares = [text.index(share) for share in ("50.0% take ImageNet's", "right for 75.0%", "95.0%.")]
    assert shares == sorted(shares)
