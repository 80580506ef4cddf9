"""The bench: what it calls and in what order, its arithmetic, and one real run of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.overhead import measure_overhead
from aerocam.benchmarks.latency.timing import Protocol, Samples, alternate, percentiles, ratio
from aerocam.benchmarks.studies.costs import ends
from aerocam.cli import main
from aerocam.errors import UsageError
from onnx_graphs import saved, with_input, with_outputs
from small_networks import cnn


def test_candidates_run_in_turn_forwards_and_backwards_each_twice() -> None:
    calls: list[str] = []

    def candidate(name: str):
        def call(timed: bool) -> dict[str, float]:
            calls.append(name.upper() if timed else name)
            return {"infer": float(len(calls))}

        return call

    done: list[int] = []
    samples = alternate(
        {name: candidate(name) for name in "abc"}, Protocol(iterations=4, warmup=1, pause=0), done.append
    )
    assert "".join(calls) == "cCbBaA" + "aAbBcC" + "cCbBaA" + "aAbBcC" + "cCbBaA"
    assert done == [0, 1, 2, 3, 4]
    # the second call of each pair is the timed one, warm-up rounds are not kept
    assert [one["infer"] for one in samples["a"].rounds] == [8, 18, 20, 30]


def test_totals_percentiles_and_ratios() -> None:
    samples = Samples([{"infer": 1.0, "cam": 0.5, "overlay": 9.0}, {"infer": 2.0, "cam": 1.0, "overlay": 9.0}])
    np.testing.assert_array_equal(samples.total(["infer", "cam"]), [1.5, 3.0])
    np.testing.assert_array_equal(samples.total(), [10.5, 12.0])
    np.testing.assert_array_equal(samples.stages()["cam"], [0.5, 1.0])
    assert percentiles(np.arange(101.0)) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    base = np.array([10.0, 100.0, 20.0, 50.0, 10.0])
    assert ratio(base * [1.0, 1.1, 1.2, 1.3, 1.4], base) == pytest.approx({"median": 1.2, "q1": 1.1, "q3": 1.3})


@pytest.mark.parametrize("wrong", [{"iterations": 3}, {"warmup": -1}, {"pause": -0.1}])
def test_impossible_protocols_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at least 4, 0 and 0"):
        Protocol(**wrong)  # type: ignore[arg-type]


def test_command_measures_all_forms_and_records_every_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_file = tmp_path / "bench.json"
    model = str(zoo.lite0.model())
    assert main(["bench", "-q", model, "--iterations", "4", "--warmup", "1", "--json", str(record_file)]) == 0
    text = capsys.readouterr().out
    record = json.loads(record_file.read_text())
    assert record["settings"] == {
        "model": "lite0-224.onnx",
        "layers": ["head/act"],
        "method": "gradcam",
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
        "protocol": {"iterations": 4, "warmup": 1, "pause": 0.005},
    }
    assert list(record["milliseconds"]) == ["plain", "fused", "runtime"]
    assert list(record["milliseconds"]["plain"]) == ["preprocess", "infer"]
    assert {"preprocess", "infer", "cam", "overlay"} <= record["milliseconds"]["runtime"].keys()
    assert record["milliseconds"]["plain"]["infer"]["p50"] > 0.5
    assert 0.3 < record["ratio to plain"]["fused"]["median"] < 3  # no claim on speed: only that it is such a ratio
    for shown in ("head/act", "gradcam", "threads 1", "4 rounds after 1", "pause 5 ms", "p99", "fused / plain"):
        assert shown in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "--threads 0: 1 or more"),
        (["--iterations", "2"], "iterations 2"),
        (["--method", "gradcm"], "Did you mean 'gradcam'"),
        (["--providers", "CudaExecutionProvider"], "CPUExecutionProvider"),
    ],
)
def test_bad_calls_end_with_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-q", str(zoo.lite0.model()), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert said in error


@pytest.mark.slow
def test_fused_ends_are_measured_against_the_steps() -> None:
    samples = ends.measure((224, 224), threads=1, protocol=Protocol(iterations=4, warmup=0, pause=0))
    assert list(samples) == ["steps", "frame in", "both ends"]
    stages = {name: one.stages() for name, one in samples.items()}
    assert all(values["infer"].min() > 0 for values in stages.values())
    first, *rest = ends.lines((224, 224), samples)
    assert first.split()[:2] == ["224x224", "steps"]
    assert first.endswith("1.000 (1.000 to 1.000)")
    assert [line.split("  ")[-1] != "1.000 (1.000 to 1.000)" for line in rest] == [True, True]


@pytest.mark.parametrize(
    ("method", "forms"),
    [
        ("Reciprocam", ["plain", "fused", "runtime"]),
        ("relevance", ["plain", "fused", "runtime"]),
        ("guided_gradcam", ["plain", "runtime"]),
    ],
)
def test_every_kind_of_method_gets_the_files_that_it_needs(method: str, forms: list[str], tmp_path: Path) -> None:
    source = saved(tmp_path, cnn())
    record = measure_overhead(source, layers="r1", method=method, protocol=Protocol(4, 0, 0))
    assert record["settings"]["method"] == method.lower()
    assert list(record["milliseconds"]) == forms
    assert "refused" not in record


def test_a_head_that_is_refused_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aerocam.export.heads.tail.MOST", 1000)  # bytes
    call = ["bench", "-q", str(saved(tmp_path, cnn())), "--layer", "r0", "--method", "reciprocam", "--iterations", "4"]
    assert main([*call, "--json", str(tmp_path / "r.json")]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert list(record["ratio to plain"]) == ["runtime"]
    assert record["refused"]["fused"].startswith("`head='reciprocam'`: at layer 'r0' it runs ")
    assert "fused / plain: refused: --head reciprocam: at layer 'r0' it runs " in capsys.readouterr().out


def test_a_further_input_is_fixed_for_every_form_and_several_pictures_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = with_outputs(cnn(), ["z"])
    proto.graph.node.append(onnx.helper.make_node("Add", ["y", "n"], ["z"]))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("n", onnx.TensorProto.FLOAT, ["k"]))
    two = saved(tmp_path, proto, "two.onnx")
    four = saved(tmp_path, with_input(cnn(), 4, 3, 8, 8), "four.onnx")
    quick = ["--iterations", "4", "--warmup", "0", "--pause", "0", "--method", "eigencam", "--json", "-"]
    for model, words, said in [
        (two, ["--fix", "n=0.5"], ""),
        (two, [], "input 'n' is no picture; give it a value by --fix"),
        (four, [], "input 'x' takes 4 pictures at once"),
    ]:
        assert main(["bench", "-q", str(model), *quick, *words]) == (2 if said else 0)
        out, err = capsys.readouterr()
        assert said in err
        assert said or json.loads(out)["milliseconds"]["plain"]["infer"]["p50"] > 0
