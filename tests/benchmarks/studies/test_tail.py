"""The tail as a model of its own, and the table of what gradients cost there."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.benchmarks.studies.costs.processes import export_cost
from aerocam.benchmarks.studies.costs.tail import find_tail, measure_tail
from aerocam.benchmarks.studies.pages.tails import PAGE, RECORD, networks, table
from checkout import ROOT
from onnx_graphs import run_ort

RESULTS = ROOT / "benchmarks/studies/results"


def test_the_tail_computes_from_its_inputs_what_the_model_computes() -> None:
    """At a layer with a residual connection around it, so that the tail reads two tensors."""
    path = zoo.lite0.model()
    tail = find_tail(path, layers="blocks.4/depthwise/act")
    assert tail.layers == ("blocks.4/depthwise/act",)
    assert set(tail.inputs) == {"blocks.4/depthwise/act", "blocks.3/project/conv"}
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    plain = onnx.load(path)
    (output,) = (item.name for item in tail.proto.graph.output)
    plain.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in (*tail.inputs, output))
    *read, expected = run_ort(plain, {"images": image}, [*tail.inputs, output])
    (found,) = run_ort(tail.proto, dict(zip(tail.inputs, read, strict=True)), [output])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert len(tail.proto.graph.node) < len(plain.graph.node)


def test_a_measurement_says_what_was_added() -> None:
    one = measure_tail(zoo.lite0.model(), layers="blocks.10/add", protocol=Protocol(iterations=4, warmup=0, pause=0))
    assert one["settings"]["layers"] == ("blocks.10/add",)
    assert one["nodes"]["after"] - one["nodes"]["before"] > 20
    assert set(one["milliseconds"]) == {"plain", "explained", "tail"}
    assert one["ratio"] == pytest.approx(one["added"]["median"] / one["milliseconds"]["tail"])


def test_an_export_in_a_process_of_its_own() -> None:
    found = export_cost(zoo.lite0.model())
    assert 0.1 < found["seconds"] < 60
    assert 90 < found["peak MB"] < 500
    assert found["MB"] == pytest.approx(18.6, abs=0.2)


def test_a_row_of_the_table() -> None:
    one = {
        "settings": {"layers": ["a", "b"], "threads": 1, "protocol": {"iterations": 30}},
        "nodes": {"before": 50, "after": 61},
        "milliseconds": {"plain": 10.04, "explained": 11.0, "tail": 2.0},
        "added": {"median": 1.004, "q1": 0.5, "q3": 1.5},
        "ratio": 0.502,
        "export": {"seconds": 1.26, "peak MB": 200.4, "MB": 12.6},
    }
    host = {"processor": "Q", "cores": 3, "onnxruntime": "1.2"}
    row = "| n | `a`, `b` | 50 | 11 | 10.0 | 2.00 | 1.00 (0.50 to 1.50) | 0.100 | 0.50 | 1.3 | 200 | 13 |"
    assert table({"machine": host, "networks": {"n": one}}).splitlines()[-1] == row


def test_the_committed_table_is_that_of_the_committed_record_and_has_all_networks() -> None:
    record = json.loads((RESULTS / RECORD).read_text())
    assert (RESULTS / PAGE).read_text() == table(record)
    assert list(record["networks"]) == [name for name, _ in networks()]
