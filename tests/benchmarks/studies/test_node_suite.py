"""The page of ONNX's own node tests: what becomes of a test, and how the page counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from aerocam.benchmarks.studies.pages.node_suite import BESIDE, NO_FLOAT, PASSED, REFUSED, WRONG, outcome, page
from aerocam.export.gradients.adjoints import ADJOINTS
from onnx_graphs import f32, node_model, run_ort


@dataclass(frozen=True)
class Test:
    """What onnx's backend tests have of a node test."""

    __test__ = False

    name: str
    model: onnx.ModelProto
    data_sets: list[tuple[list[Any], list[Any]]]


def single(op: str, inputs: Mapping[str, NDArray[Any]], name: str = "", opset: int = 17, **attributes: Any) -> Test:
    """The test of one node, with ONNX Runtime's outputs."""
    proto = node_model(op, inputs, {}, list(inputs), attributes, opset=opset)
    return Test(f"test_{name or op.lower()}", proto, [(list(inputs.values()), run_ort(proto, inputs))])


TESTS: dict[str, tuple[Test, str, str]] = {
    "smooth": (single("Tanh", {"x": f32(2, 3)}), PASSED, ""),
    "two inputs": (single("MatMul", {"x": f32(2, 3), "w": f32(3, 4)}), PASSED, ""),
    "an infinite gradient": (single("Sqrt", {"x": np.float32([[0, 1], [4, 9]])}), BESIDE, ""),
    "no gradient": (single("Floor", {"x": f32(2, 3)}), REFUSED, "no gradient flows through it"),
    "no rule": (single("Det", {"x": f32(2, 3, 3)}), REFUSED, "no adjoint rule: its gradient takes an inverse matrix"),
    "flat": (single("Relu", {"x": -abs(f32(2, 3)) - 1}), REFUSED, "exactly 0"),
    "integers": (single("Abs", {"x": np.arange(6)}), NO_FLOAT, ""),
    "training": (single("Tanh", {"x": f32(2, 3)}, "training_dropout"), "training", ""),
}


@pytest.mark.parametrize("kind", TESTS)
def test_what_becomes_of_a_test(tmp_path: Path, kind: str) -> None:
    case, expected, reason = TESTS[kind]
    found, why = outcome(case, tmp_path)
    assert found == expected
    assert reason in why


def test_a_wrong_rule_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADJOINTS, "Tanh", lambda op, node, dy: [op.Neg(dy)])
    assert outcome(TESTS["smooth"][0], tmp_path)[0] == WRONG


def test_the_page_counts_what_passed_was_refused_and_was_not_run() -> None:
    tests = {f"test_{i}": {"operator": "Relu", "outcome": PASSED, "why": ""} for i in range(3)}
    tests |= {f"test_r{i}": {"operator": "Det", "outcome": REFUSED, "why": "no rule"} for i in range(6)}
    tests["test_t"] = {"operator": "Adam", "outcome": "training", "why": ""}
    tests["test_b"] = {"operator": "Pow", "outcome": BESIDE, "why": ""}
    text = page({"versions": {"onnx": "1", "onnxruntime": "2"}, "tests": tests})
    assert "Of 11 tests 4 pass (1 of them a step aside" in text
    assert "6 are refused, 0 are" in text
    assert "Not run: 1 training." in text
    assert "| refused | 6 | no rule | `r0`, `r1`, `r2`, `r3` and 2 more |" in text
    assert "Pow 1, Relu 3." in text
