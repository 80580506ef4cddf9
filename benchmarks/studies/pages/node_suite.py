"""`python -m aerocam.benchmarks.studies.pages.node_suite`: ONNX's own node tests, each explained on its own data.

Each test becomes a network: a picture, reshaped to the test's first float input, then its nodes, then a weighted sum of
its first float output. It is exported with its gradients at the picture, and checked on the numbers of the test.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.errors import CheckError, ModelError
from aerocam.export import export_model
from aerocam.export.checking.self_check import check_model
from aerocam.export.layers.tensor_names import GRADIENTS
from aerocam.export.reading.onnx_file import read_model

RECORD, PAGE = "node-suite.json", "node-suite.md"

LEFT_OUT = {
    "training": ("adagrad", "adam", "momentum", "nesterov", "training", "sce", "nllloss"),
    "sequences and optional values": ("sequence", "optional", "identity_seq", "identity_opt", "split_to_seq"),
    "text": ("string", "regex", "tfidf"),
    "control flow": ("loop", "if", "scan"),
    "encoded pictures": ("image",),
    "another domain": ("ai_onnx_ml",),
}
"""What is no operator between a picture and a score, by the beginnings of tests' names behind `test_`."""

PASSED, BESIDE, REFUSED, WRONG = "passed", "passed beside", "refused", "wrong"
NO_FLOAT = "no float to follow"


def as_network(case: Any) -> tuple[onnx.ModelProto, NDArray[np.float32]] | None:
    """Return a test as a network of one picture, and that picture; None where it has no float to follow."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    graph, (inputs, outputs) = proto.graph, case.data_sets[0]
    if len(inputs) != len(graph.input) or any(isinstance(a, list) or a is None for a in (*inputs, *outputs)):
        return None
    arrays, results = [np.asarray(a) for a in inputs], [np.asarray(a) for a in outputs]
    floats = [i for i, a in enumerate(arrays) if a.dtype == np.float32 and a.size > 1]
    followed = [i for i, y in enumerate(graph.output) if y.type.tensor_type.elem_type == TensorProto.FLOAT]
    if not floats or not followed or results[followed[0]].size == 0:
        return None
    x, y = arrays[floats[0]], results[followed[0]]
    name, output = graph.input[floats[0]].name, graph.output[followed[0]].name
    constants = {value.name: a for i, (value, a) in enumerate(zip(graph.input, arrays, strict=True)) if i != floats[0]}
    constants |= {
        "suite_one": np.float32(1),
        "suite_shape": np.array(x.shape, np.int64),
        "suite_weights": np.random.default_rng(0).standard_normal(y.shape).astype(np.float32),
        "suite_single": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(a, key) for key, a in constants.items())
    nodes = list(graph.node)
    del graph.input[:], graph.node[:], graph.output[:], graph.value_info[:]
    rows = 2 if x.size % 2 == 0 else 1
    graph.input.append(helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, rows, x.size // rows]))
    graph.output.append(helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]))
    graph.node.extend(
        [
            helper.make_node("Mul", ["picture", "suite_one"], ["features"]),
            helper.make_node("Reshape", ["features", "suite_shape"], [name]),
            *nodes,
            helper.make_node("Mul", [output, "suite_weights"], ["suite_weighted"]),
            helper.make_node("ReduceSum", ["suite_weighted"], ["suite_total"], keepdims=0),
            helper.make_node("Reshape", ["suite_total", "suite_single"], ["score"]),
        ]
    )
    return proto, x.reshape(1, 1, rows, -1)


def outcome(case: Any, folder: Path) -> tuple[str, str]:
    """Return what became of a test: `PASSED`, ..., `WRONG`, or a reason to leave it out; and why, or "".

    A test whose own numbers lie on a tie or a kink, or where the gradient is infinite, is checked a step aside.
    """
    beginning = case.name.removeprefix("test_")
    for reason, names in LEFT_OUT.items():
        if beginning.startswith(names):
            return reason, ""
    if (network := as_network(case)) is None:
        return NO_FLOAT, ""
    proto, picture = network
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    aside = np.random.default_rng(0).uniform(0.01, 0.02, picture.shape) * max(1.0, float(np.abs(picture).mean()))
    try:
        try:
            _check(path, picture)
        except CheckError:
            _check(path, (picture + aside).astype(np.float32))
            return BESIDE, ""
    except CheckError as error:
        return (REFUSED if "exactly 0" in str(error) or "score is not finite" in str(error) else WRONG), _why(error)
    except ModelError as error:
        return REFUSED, _why(error)
    return PASSED, ""


def _check(path: Path, picture: NDArray[np.float32]) -> None:
    """Export the network of a test, and check it on a picture.

    Raises:
        ModelError: It is refused, or wrong (CheckError).
    """
    done = export_model(path, layers="features", task="scalar", check=False)
    pairs = {"features": ("features", GRADIENTS.format(0))}
    exported = read_model(done.path).whole()
    check_model(read_model(path), exported, done.manifest, pairs, given={"picture": picture}).require()


def _why(error: Exception) -> str:
    """Return an error without what is true of this one test alone: names, and the way out."""
    text = re.sub(r"operator \S+ \(node '[^']*'(, output '[^']*')?\):? ", "", str(error).split("; choose")[0])
    if "ONNX Runtime cannot run" in text:
        return "ONNX Runtime has no kernel for it"
    if "its shape" in text:
        return "a shape that depends on the data, or that ONNX does not infer"
    if "no tensor of channels" in text:
        return "no gradient flows through it"
    return re.sub(r"^layers? '[^']*': |lies between the target layer and the score and has |\|", "", text)


def measure() -> dict[str, Any]:
    """Run all tests of the onnx that is installed, and return the record: per test its operator, outcome and reason."""
    from onnx.backend.test.case.node import collect_testcases

    tests = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in sorted(collect_testcases(None), key=lambda case: case.name):
            found, why = outcome(case, Path(folder))
            tests[case.name] = {"operator": _operator(case), "outcome": found, "why": why}
    return {"versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}, "tests": tests}


def _operator(case: Any) -> str:
    """Return the operator of a test; of a definition written out, that of its last node."""
    return case.model.graph.node[-1].op_type


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    tests, versions = record["tests"], record["versions"]
    counts = Counter(test["outcome"] for test in tests.values())
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, test in tests.items():
        if test["outcome"] in (REFUSED, WRONG):
            by_reason[test["outcome"], test["why"]].append(name)
    refusals = sorted(by_reason.items(), key=lambda item: (item[0][0] == REFUSED, -len(item[1])))
    passed = Counter(test["operator"] for test in tests.values() if test["outcome"] in (PASSED, BESIDE))
    named = [f"{name} {count}" for name, count in sorted(passed.items())]
    judged = (PASSED, BESIDE, REFUSED, WRONG)
    others = [f"{count} {reason}" for reason, count in counts.most_common() if reason not in judged]
    return "\n".join(
        [
            "# ONNX's own node tests",
            "",
            f"`make nodes` wrote this page and `{RECORD}`, with onnx {versions['onnx']} and ONNX Runtime"
            f" {versions['onnxruntime']}.",
            "Each test stands between a picture and a weighted sum; its gradients at the picture are compared with",
            "finite differences, on the test's own numbers.",
            "",
            f"Of {len(tests)} tests {counts[PASSED] + counts[BESIDE]} pass ({counts[BESIDE]} of them a step aside, as"
            " their own numbers lie on a",
            f"tie or a kink, or where the gradient is infinite), {counts[REFUSED]} are refused, {counts[WRONG]} are"
            f" wrong. Not run: {', '.join(others)}.",
            "",
            "| | tests | why | which |",
            "|---|--:|---|---|",
            *(f"| {kind} | {len(names)} | {why} | {_some(names)} |" for (kind, why), names in refusals),
            "",
            f"Passed, by the operator, or the last one of a definition: {', '.join(named)}.",
            "",
        ]
    )


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    shown = ", ".join(f"`{name.removeprefix('test_')}`" for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def main() -> int:
    """Run the tests, and write record and page; the exit code."""
    logging.getLogger("aerocam").setLevel(logging.ERROR)
    return publish("studies.pages.node_suite", measure, page, RECORD, PAGE)


if __name__ == "__main__":
    sys.exit(main())
