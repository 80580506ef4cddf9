"""The run of an evaluation: values, sharing of passes, processes, what is left by a killed one, faults, the results."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import exported_models
import tiny_models
import toy_metrics
from aerocam.benchmarks.evaluation import backends, table
from aerocam.benchmarks.evaluation.pictures import find_data
from aerocam.benchmarks.evaluation.report import write_results
from aerocam.benchmarks.evaluation.run import run
from aerocam.benchmarks.evaluation.settings import Settings, methods_of, metrics_of
from aerocam.benchmarks.evaluation.table import without_value
from aerocam.errors import MissingDependencyError, UsageError
from aerocam.runtime import Explainer
from checkout import HELPERS
from runtime_fixtures import noise, picture, run_cli

TABLES = ("table.md", "table.json", "table.csv")
PROGRAM = """
import sys
import toy_metrics
from aerocam import cli
from aerocam.benchmarks.evaluation.metrics import METRICS
METRICS.update(toy_metrics.TOYS)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    """The toy metrics alone."""
    with toy_metrics.alone():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures with a square of the class's colour: red, green, blue, and red again below."""
    folder = tmp_path / "data"
    folder.mkdir()
    squares = [(2, 0, (0, 0, 16, 24)), (1, 1, (16, 24, 32, 48)), (0, 2, (0, 24, 16, 48)), (2, 0, (16, 0, 32, 24))]
    for number, (channel, label, square) in enumerate(squares):
        frame = picture((32, 48), square, channel) // 2 + noise((32, 48), number) // 8
        cv2.imwrite(str(folder / f"square_{number:02d}_{label}.png"), frame)
    return folder


def evaluated(
    model: str | Path, folder: Path, out: Path, methods: str = "gradcam", metrics: str = "all", **given: Any
) -> dict[str, Any]:
    """The record of a run in this process."""
    settings = Settings(methods_of(methods.split(",")), metrics_of(metrics.split(","), given.pop("parameters", {})))
    path = tiny_models.model(model) if isinstance(model, str) else model
    return write_results(run([str(path)], find_data(folder), settings, out, **given), out)


def cells(record: dict[str, Any], metric: str) -> list[Any]:
    """A metric's values, row by row."""
    return [row["metrics"][metric]["value"] for row in record["rows"]]


def lines_of(out: Path) -> list[dict[str, Any]]:
    """All records."""
    return [one for line in (out / "records.jsonl").read_text().splitlines() for one in json.loads(line)["records"]]


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def test_values_equal_those_worked_out_by_hand(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path / "out", parameters={"toy_mass.scale": 3})
    masses, masked = [], []
    for path, label in zip(sorted(data.iterdir()), (0, 1, 2, 0), strict=True):
        pixels = cv2.imread(str(path))[..., ::-1].astype(np.float64) / 255
        # Grad-CAM of these networks is the patches' mean of the class's own channel, times a constant.
        layer = pixels[..., label].reshape(8, 4, 12, 4).mean(axis=(1, 3)).astype(np.float32)
        layer = (layer - layer.min()) / (layer.max() - layer.min())
        found = cv2.resize(layer, (48, 32), interpolation=cv2.INTER_LINEAR)
        found = (found - found.min()) / (found.max() - found.min())
        masses.append(3 * found.mean())
        plain, under = ((pixels * one).mean(axis=(0, 1)) for one in (1, found[..., None]))
        masked.append(softmax(tiny_models.WEIGHTS @ under)[label] - softmax(tiny_models.WEIGHTS @ plain)[label])
    assert cells(record, "toy_mass") == pytest.approx([np.mean(masses)], rel=1e-5)
    assert cells(record, "toy_masked") == pytest.approx([np.mean(masked)], rel=1e-3)
    assert cells(record, "toy_curve") == pytest.approx([1], rel=1e-5)
    assert record["rows"][0]["accuracy"] == 1
    assert record["settings"]["metrics"]["toy_mass"]["parameters"] == {"scale": 3}


def test_metrics_and_methods_share_passes(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path, "gradcam,gradcam:eigen_smooth=False", "toy_masked,toy_mass")
    first, second = (row["runs"] for row in record["rows"])
    # Of each picture: itself and its masked form; itself is asked for twice.
    assert first == {"forward": 8, "explained": 4, "known": 4}
    # The second method gives the same map, so that its masked form is known, too.
    assert second == {"forward": 0, "explained": 4, "known": 8}


def test_nothing_is_known_before_a_metric_asks_for_it(data: Path, tmp_path: Path) -> None:
    """Each picture runs once for all methods; each method maps it, and once more with noise if it reads gradients."""
    record = evaluated("stretch", data, tmp_path, "gradcam,eigencam,finercam,occlusion:patch=16", "toy_mass,toy_noise")
    runs = [row["runs"] for row in record["rows"]]
    noisy = [row["metrics"]["toy_noise"]["n"] for row in record["rows"]]
    assert [one["known"] for one in runs] == [0, 0, 0, 0]
    assert [one["forward"] for one in runs] == [4, 0, 0, 0]
    assert [one["explained"] for one in runs] == [4 + n for n in noisy] == [8, 4, 8, 4]


def test_a_map_that_two_metrics_ask_for_is_known_to_the_second(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path, "gradcam", "toy_second,toy_second_again")
    assert record["rows"][0]["runs"] == {"forward": 4, "explained": 8, "known": 4}


def test_the_seed_is_the_pictures_own(data: Path, tmp_path: Path) -> None:
    evaluated("stretch", data, tmp_path / "one", "gradcam,layercam", "toy_drawn")
    drawn = {(one["picture"], one["method"]): one["values"]["toy_drawn"] for one in lines_of(tmp_path / "one")}
    names = sorted({name for name, _ in drawn})
    assert all(drawn[name, "gradcam"] == drawn[name, "layercam"] for name in names)
    assert len(set(drawn.values())) == len(names) == 4
    (data / names[0]).unlink()
    evaluated("stretch", data, tmp_path / "two", "gradcam", "toy_drawn")
    assert {one["picture"]: one["values"]["toy_drawn"] for one in lines_of(tmp_path / "two")} == {
        name: drawn[name, "gradcam"] for name in names[1:]
    }


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "jobs"), [("loky", 2), ("threading", 2), ("dask", 2)])
def test_tables_are_the_same_wherever_it_runs(data: Path, tmp_path: Path, backend: str, jobs: int) -> None:
    if backend == "dask":
        pytest.importorskip("distributed", reason="dask is not installed: pip install distributed")
    methods = "gradcam,eigencam,scorecam,rise:masks=20"
    evaluated("stretch", data, tmp_path / "here", methods)
    evaluated("stretch", data, tmp_path / "there", methods, backend=backend, jobs=jobs)
    for name in TABLES:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    whole, killed, notes = tmp_path / "whole", tmp_path / "killed", tmp_path / "notes"
    arguments = ["eval", str(tiny_models.model("stretch")), "--data", str(data), "--methods", "gradcam,layercam"]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--metrics", "toy_mass,toy_masked,toy_drawn"]
    here = os.pathsep.join([str(HELPERS), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": here, "TOY_NOTE": str(notes)}
    assert subprocess.run([*command, "-o", str(whole)], env=env, check=False, timeout=120).returncode == 0
    assert notes.read_text().count("x") == 8
    notes.unlink()

    run_again = [*command, "-o", str(killed)]
    with subprocess.Popen(run_again, env={**env, "TOY_PAUSE": "0.5"}) as process:
        deadline = time.monotonic() + 60
        while not (killed / "records.jsonl").exists() or len((killed / "records.jsonl").read_bytes().splitlines()) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = (killed / "records.jsonl").read_bytes()
    assert left.count(b"\n") == 2
    assert not (killed / "table.md").exists()
    with (killed / "records.jsonl").open("ab") as file:
        file.write(left.splitlines()[0][:-20])  # a line that was being written
    asked = notes.read_text().count("x")
    assert asked in (4, 5)

    assert subprocess.run(run_again, env=env, check=False, timeout=120).returncode == 0
    assert notes.read_text().count("x") == asked + 4  # the two pictures that were left, by two methods
    for name in TABLES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert len(lines_of(killed)) == 8
    assert subprocess.run(run_again, env=env, check=False, timeout=120).returncode == 0
    assert notes.read_text().count("x") == asked + 4  # nothing is left to do


def test_more_methods_are_added_to_what_is_there(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated("stretch", data, tmp_path / "out", "gradcam", "toy_mass")
    monkeypatch.setenv("TOY_NOTE", str(tmp_path / "notes"))
    record = evaluated("stretch", data, tmp_path / "out", "gradcam,eigencam", "toy_mass")
    assert (tmp_path / "notes").read_text().count("x") == 4
    assert [row["method"] for row in record["rows"]] == ["gradcam", "eigencam"]
    assert [row["n"] for row in record["rows"]] == [4, 4]


def test_another_label_or_another_picture_is_measured_anew(data: Path, tmp_path: Path) -> None:
    evaluated("stretch", data, tmp_path / "out", "gradcam", "toy_mass")
    (data / "square_00_0.png").rename(data / "square_00_3.png")
    record = evaluated("stretch", data, tmp_path / "out", "gradcam", "toy_mass")
    assert len(lines_of(tmp_path / "out")) == 5
    assert record["rows"][0]["n"] == 4
    assert record["rows"][0]["accuracy"] == 0.75


def test_other_settings_are_refused_with_what_differs(data: Path, tmp_path: Path) -> None:
    evaluated("stretch", data, tmp_path, "gradcam", "toy_mass")
    with pytest.raises(UsageError, match=r"metrics toy_mass parameters scale 1\.0 there and 2 here"):
        evaluated("stretch", data, tmp_path, "gradcam", "toy_mass", parameters={"toy_mass.scale": 2})
    with pytest.raises(UsageError, match="metrics toy_drawn only here; metrics toy_mass only there"):
        evaluated("stretch", data, tmp_path, "gradcam", "toy_drawn")
    assert len(lines_of(tmp_path)) == 4


def test_two_runs_do_not_write_to_one_folder(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    from aerocam.benchmarks.evaluation.records import Records

    with Records(tmp_path), pytest.raises(UsageError, match="another run writes to it"):
        evaluated("stretch", data, tmp_path, "gradcam", "toy_mass")


def test_a_damaged_line_is_refused(data: Path, tmp_path: Path) -> None:
    evaluated("stretch", data, tmp_path, "gradcam", "toy_mass")
    path = tmp_path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "nothing\n", *lines[1:]]))
    with pytest.raises(UsageError, match="line 2 is no record"):
        evaluated("stretch", data, tmp_path, "gradcam", "toy_mass")


def test_every_fault_is_said_and_counted_and_the_run_goes_on(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (data / "corrupt.png").write_bytes(b"no picture")
    cv2.imwrite(str(data / "alone.png"), noise((32, 48)))
    cv2.imwrite(str(data / "black.png"), picture((32, 48), (0, 0, 0, 0)))
    good = [
        {"file": path.name, "label": ("red", "green", "blue", 0)[i]} for i, path in enumerate(sorted(data.glob("s*")))
    ]
    rows = [
        *good,
        {"file": "corrupt.png", "label": 0},
        {"file": "absent.png", "label": 0},
        {"file": "black.png", "label": 0},
    ]
    rows += [{"file": good[0]["file"], "label": "read"}, {"file": good[0]["file"], "label": 4}]
    (data / "labels.json").write_text(json.dumps(rows))
    out = tmp_path / "out"
    code = run_cli(
        "eval", tiny_models.model("stretch"), "--data", data, "--methods", "gradcam", "--metrics", "toy_mass", "-o", out
    )
    said = capfd.readouterr()
    assert code == 1
    assert "\r" not in said.err
    record = json.loads((out / "table.json").read_text())
    expected = {
        "alone.png": "found no row for it in labels.json, a label is expected; add one",
        "black.png": "the map is zero everywhere",
        "corrupt.png": "found 10 bytes that OpenCV cannot decode, expected a picture (PNG, JPEG, ...)",
        "absent.png": "labels.json names it, and it is no picture in the folder; correct the row",
    }
    for name, reason in expected.items():
        assert f"stretch: {name}: {reason}\n" in said.err
    first = good[0]["file"]
    assert f"stretch: {first}, target 2: label 'read': the model has no such class. Did you mean 'red'" in said.err
    assert f"stretch: {first}, target 3: label 4: the model has classes 0 to 3; correct the label" in said.err
    assert len(record["faults"]) == 6
    row = record["rows"][0]
    assert (row["n"], row["failures"], row["zero maps"], row["metrics"]["toy_mass"]["n"]) == (5, 5, 1, 5)
    assert record["targets"] == 10
    for reason in expected.values():
        assert reason in (out / "table.md").read_text()


def test_a_metric_that_fails_or_is_undefined_is_counted(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path, "gradcam", "toy_faulty,toy_mass")
    cell = record["rows"][0]["metrics"]["toy_faulty"]
    assert cell["failed"] == {"ZeroDivisionError: the peak is in the upper half": 2}
    assert (cell["value"], cell["n"], cell["undefined"]) == (None, 0, 2)
    assert len(record["faults"]) == 2
    assert cells(record, "toy_mass")[0] > 0


def test_a_map_of_nan_is_a_fault(tmp_path: Path, data: Path) -> None:
    record = evaluated("nan", data, tmp_path, "gradcam", "toy_mass")
    assert {one["reason"] for one in record["faults"]} == {
        "the model's probabilities of it are not finite; look at the model"
    }
    assert record["rows"][0]["failures"] == 4
    assert cells(record, "toy_mass") == [None]


def test_what_a_file_cannot_give_is_refused_and_the_others_go_on(data: Path, tmp_path: Path) -> None:
    record = evaluated("activations", data, tmp_path, "gradcam,eigencam,reciprocam", "toy_mass,toy_noise")
    assert list(record["refused"]["activations"]) == ["gradcam", "reciprocam"]
    assert "has no gradients of layer 'A'" in record["refused"]["activations"]["gradcam"]
    assert [row["method"] for row in record["rows"]] == ["eigencam"]
    assert record["rows"][0]["metrics"]["toy_noise"]["left out"] == {"no gradients": 4}
    with pytest.raises(UsageError, match="nothing can be measured: method 'gradcam': the file has no gradients"):
        evaluated("activations", data, tmp_path / "none", "gradcam", "toy_mass")


def test_models_that_cannot_be_measured_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its task is detect, a classifier is expected"):
        evaluated("detect", data, tmp_path, "gradcam", "toy_mass")
    two = [str(tiny_models.model(name)) for name in ("stretch", "detect")]
    settings = Settings(methods_of(["gradcam"]), metrics_of(["toy_mass"]))
    record = write_results(run(two, find_data(data), settings, tmp_path), tmp_path)
    assert list(record["refused"]) == ["detect"]
    assert [row["model"] for row in record["rows"]] == ["stretch"]


def test_a_model_with_one_class_is_refused(data: Path, tmp_path: Path) -> None:
    import dataclasses

    import onnx

    from aerocam import manifest as contract

    model = onnx.load(tiny_models.model("stretch"))
    known = contract.Manifest.from_json(model.metadata_props[0].value, "")
    one = dataclasses.replace(known, labels=(), score=dataclasses.replace(known.score, classes=1))
    onnx.helper.set_model_props(model, {contract.KEY: one.to_json()})
    onnx.save(model, tmp_path / "one.onnx")
    with pytest.raises(UsageError, match="it has one class, whose probability is the same whatever it sees"):
        evaluated(tmp_path / "one.onnx", data, tmp_path / "out", "gradcam", "toy_mass")


@pytest.mark.parametrize(
    ("model", "methods"),
    [("head", "gradcam"), (exported_models.TAIL, "reciprocam,ablationcam,scorecam,gradcam,occlusion:patch=8")],
)
def test_fused_heads_and_forward_methods_give_the_runtimes_maps(
    data: Path, tmp_path: Path, model: str, methods: str
) -> None:
    from aerocam.runtime import Explainer, read_picture

    path = exported_models.folder() / model if model.endswith(".onnx") else tiny_models.model(model)
    evaluated(path, data, tmp_path, methods, "toy_mass")
    found = {(one["picture"], one["method"]): one["values"]["toy_mass"] for one in lines_of(tmp_path)}
    assert len(found) == 4 * len(methods.split(","))
    for spec in methods_of(methods.split(",")):
        with Explainer(path, method=spec.name, options=spec.options) as explainer:
            for picture_file in sorted(data.iterdir()):
                label = int(picture_file.stem[-1])
                expected = explainer(read_picture(picture_file), label).tensor_map[0].mean(dtype=np.float64)
                assert found[picture_file.name, spec.label] == pytest.approx(float(expected), abs=1e-7)


def test_without_labels_the_models_own_top_class_is_taken_and_said(data: Path, tmp_path: Path) -> None:
    for path in list(data.iterdir()):
        path.rename(path.with_name(f"{path.stem.rpartition('_')[0]}x.png"))
    record = evaluated("stretch", data, tmp_path / "out", "gradcam", "toy_mass")
    assert record["truth"] == "none: the model's own top class"
    assert record["rows"][0]["accuracy"] is None
    assert [one["target"] for one in lines_of(tmp_path / "out")] == [0, 1, 2, 0]


class _Page(HTMLParser):
    """Everything on a page that could be fetched, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


def test_the_report_is_one_file_with_curves_overlays_and_definitions(data: Path, tmp_path: Path) -> None:
    evaluated("stretch", data, tmp_path, "gradcam,eigencam", "toy_mass,toy_curve")
    text = (tmp_path / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.tags.count("img") == 2 * 3  # two methods, three examples
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.fetched)
    assert page.tags.count("polyline") == 2
    assert text.count("40.0,200.0 125.0,155.0 210.0,110.0 295.0,65.0 380.0,20.0") == 2  # the straight line, twice
    assert "as the name says" in text
    assert "toy_<wbr>curve ↑" in text


def test_curves_lie_over_the_fractions_that_a_metric_gives(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path, "gradcam", "toy_line")
    text = (tmp_path / "report.html").read_text()
    assert text.count("<polyline") == 1
    assert '<polyline points="40.0,200.0 108.0,110.0 380.0,20.0"' in text
    assert "toy_line: score over fraction" in text
    cell = record["rows"][0]["metrics"]["toy_line"]
    assert (cell["value"], cell["n"], cell["undefined"]) == (1.0, 3, 1)


def test_the_table_has_arrows_and_all_digits_are_in_the_csv(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path, "gradcam", "toy_mass,toy_masked")
    assert "| model | method | n | failures | toy_mass ↑ | toy_masked ↓ |" in (tmp_path / "table.md").read_text()
    head, row = (line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines())
    assert head[5:] == ["toy_mass", "toy_mass_n", "toy_masked", "toy_masked_n"]
    assert float(row[5]) == cells(record, "toy_mass")[0]
    assert row[6] == "4"


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_in_the_csv_is_a_formula(begin: str) -> None:
    row = {"model": f"{begin}|x", "method": f"{begin}:a=1", "n": 1, "failures": 0, "zero maps": 0}
    record = {"settings": {"metrics": {"m": {}}}, "rows": [{**row, "metrics": {"m": {"value": -0.1, "n": 1}}}]}
    _, (model, method, *numbers) = csv.reader(io.StringIO(table.as_csv(record), newline=""))
    shown = begin.replace("\t", " ").replace("\r", " ")
    assert (model, method) == (f"'{shown}|x", f"'{shown}:a=1")
    assert [float(number) for number in numbers] == [1, 0, 0, -0.1, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--methods", "gradcamm"], "no CAM method 'gradcamm'. Did you mean 'gradcam'"),
        (["--methods", "gradcam,GradCAM"], "it is there twice"),
        (["--methods", "rise:mask=3"], "it has no option 'mask'. Did you mean 'masks'"),
        (["--metrics", "toy_mas"], "there is no such metric. Did you mean 'toy_mass'"),
        (["--parameter", "toy_mass.size=2"], "metric 'toy_mass' has no parameter 'size'"),
        (["--backend", "lokky"], "there is no such backend. Did you mean 'loky'"),
        (["--jobs", "0"], "--jobs 0: 1 or more is expected"),
        (["--cluster", "tcp://x"], "backend sequential has none"),
        (["--data", "nowhere"], "found no such folder"),
    ],
)
def test_wrong_calls_are_one_line(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    usual = {"--data": str(data), "--methods": "gradcam", "--metrics": "toy_mass", "-o": str(tmp_path / "out")}
    usual |= dict(zip(given[::2], given[1::2], strict=True))
    assert run_cli("eval", tiny_models.model("stretch"), *[word for pair in usual.items() for word in pair]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_an_empty_folder_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    model = tiny_models.model("stretch")
    assert run_cli("eval", model, "--data", tmp_path / "data", "--methods", "gradcam", "-o", tmp_path / "out") == 2
    assert "found no picture in this folder" in capfd.readouterr().err


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"ray is not installed.*pip install ray"):
        backends.check("ray", 1)


def test_a_comparison_is_not_written_over(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "frames.jsonl").touch()
    model = tiny_models.model("stretch")
    assert run_cli("eval", model, "--data", data, "--methods", "gradcam", "-o", out) == 2
    assert f"{out}: it holds what `aerocam compare` found; give another --out" in capsys.readouterr().err
    assert [one.name for one in out.iterdir()] == ["frames.jsonl"]


def test_what_figures_depend_on_is_said(data: Path, tmp_path: Path) -> None:
    record = evaluated("stretch", data, tmp_path / "out", metrics="toy_mass")
    (facts,) = record["models"].values()
    rule = Explainer(tiny_models.model("stretch")).manifest.preprocess
    assert rule is not None
    wanted = f"stretch, {rule.interpolation}, {rule.color}, mean {' '.join(f'{one:g}' for one in rule.mean)}, std "
    assert facts["preprocessing"].startswith(wanted)
    known = json.loads((tmp_path / "out" / "records.jsonl").read_text().splitlines()[0])["records"][0]["correct"]
    assert known in (True, False)
    share = record["rows"][0]["accuracy"]
    for name in ("table.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert facts["preprocessing"] in text
        assert f"the label is its top class for {share:.1%} of the targets" in text


def test_a_metric_without_any_value_says_why_at_once(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out", tiny_models.model("stretch")
    assert (
        run_cli("eval", model, "--data", data, "--methods", "gradcam", "--metrics", "toy_mass,toy_boxed", "-o", out)
        == 0
    )
    assert "toy_boxed: no value: no box" in capfd.readouterr().err
    assert without_value(json.loads((out / "table.json").read_text())) == ["toy_boxed: no value: no box"]
