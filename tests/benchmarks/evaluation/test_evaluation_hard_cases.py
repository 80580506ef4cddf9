"""An evaluation where names, files, disks, locks and processes are not as one would wish."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import aerocam
import tiny_models
import toy_metrics
from aerocam.benchmarks.evaluation import backends, subject
from aerocam.benchmarks.evaluation.pictures import find_data
from aerocam.benchmarks.evaluation.records import Records
from aerocam.benchmarks.evaluation.report import write_results
from aerocam.benchmarks.evaluation.run import run
from aerocam.benchmarks.evaluation.settings import Settings, methods_of, metrics_of
from aerocam.errors import AerocamError, UsageError, WriteError
from checkout import HELPERS
from runtime_fixtures import noise, picture, run_cli


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    """The toy metrics alone."""
    with toy_metrics.alone():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures with a red square."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        frame = picture((32, 48), (0, 0, 16, 24), 2) // 2 + noise((32, 48), number) // 8
        cv2.imwrite(str(folder / f"red_{number:02d}_0.png"), frame)
    return folder


def evaluated(models: list[Path], folder: Path, out: Path, **given: Any) -> dict[str, Any]:
    """The record of a run in this process."""
    settings = Settings(methods_of(["gradcam"]), metrics_of(["toy_mass"]), **given)
    return write_results(run([str(path) for path in models], find_data(folder), settings, out), out)


def test_models_whose_names_differ_by_cam_only_have_rows_of_their_own(data: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "x.cam.onnx", tmp_path / "x.onnx"]
    for path, name in zip(paths, ("stretch", "crop"), strict=True):
        shutil.copy(tiny_models.model(name), path)
    rows = evaluated(paths, data, tmp_path / "out")["rows"]
    assert [(row["model"], row["n"]) for row in rows] == [("x", 2), ("x-2", 2)]
    alone = [evaluated([path], data, tmp_path / f"out{i}")["rows"][0]["metrics"] for i, path in enumerate(paths)]
    assert [row["metrics"] for row in rows] == alone
    assert alone[0]["toy_mass"]["value"] != alone[1]["toy_mass"]["value"]


def test_records_of_another_version_of_aerocam_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated([tiny_models.model("stretch")], data, tmp_path / "out")
    monkeypatch.setattr("aerocam.__version__", "99")
    with pytest.raises(UsageError, match=r'it holds another run, with aerocam "[\d.]+" there and "99" here'):
        evaluated([tiny_models.model("stretch")], data, tmp_path / "out")


def test_the_report_shows_the_first_pictures_also_where_one_was_added_before_them(data: Path, tmp_path: Path) -> None:
    model = [tiny_models.model("stretch")]
    evaluated(model, data, tmp_path / "out", examples=1)
    shutil.copy(data / "red_00_0.png", data / "a_first_0.png")
    evaluated(model, data, tmp_path / "out", examples=1)
    text = (tmp_path / "out/report.html").read_text()
    assert text.count("<img") == text.count('alt="a_first_0.png, gradcam"') == 1


def test_names_are_no_markup_and_no_new_lines(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "a|b.cam.onnx"
    shutil.copy(tiny_models.model("stretch"), model)
    (data / "bad\n|<b>_1.png").write_bytes(b"no picture")
    (data / "red_00_0.png").rename(os.fsdecode(os.fsencode(data) + b"/\xff_0.png"))
    out = tmp_path / "out"
    words = ["--data", data, "--methods", "gradcam", "--metrics", "toy_mass", "-o", out]
    assert run_cli("eval", model, *words) == 1
    fault = "bad |<b>_1.png: found 10 bytes that OpenCV cannot decode, expected a picture (PNG, JPEG, ...)\n"
    assert f"a|b: {fault}" in capfd.readouterr().err
    page = (out / "table.md").read_text()
    assert "\n| a\\|b | gradcam | 2 | 1 |" in page
    assert "- a|b: bad |&lt;b&gt;_1.png: found" in page
    assert "<b>" not in (out / "report.html").read_text()


def test_a_terminal_without_arrows_gets_the_table_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, "ascii", write_through=True))
    words = ["--data", data, "--methods", "gradcam", "--metrics", "toy_mass", "-o", tmp_path / "out"]
    assert run_cli("eval", tiny_models.model("stretch"), *words) == 0
    assert b"| model | method | n | failures | toy_mass ? |" in said.getvalue()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--methods", "rise:masks=1e999"], "--methods rise:masks=1e999: masks: got inf, expected a finite number"),
        (["--methods", "rise:masks"], "--methods rise:masks: masks: NAME=VALUE is expected"),
        (["--parameter", "toy_mass.scale={1}"], "--parameter toy_mass.scale: got {1}, expected a finite number"),
        (["--parameter", "toy_mass.scale"], "--parameter toy_mass.scale: NAME=VALUE is expected"),
    ],
)
def test_values_that_a_result_cannot_repeat_are_refused_at_once(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    usual = {"--data": data, "--methods": "gradcam", "--metrics": "toy_mass", "-o": tmp_path / "out"}
    usual |= dict(zip(given[::2], given[1::2], strict=True))
    assert run_cli("eval", tiny_models.model("stretch"), *[word for pair in usual.items() for word in pair]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_rows_that_are_there_twice_count_once_and_are_faults(data: Path, tmp_path: Path) -> None:
    rows = [{"file": "red_00_0.png", "label": 0}] * 2 + [{"file": "red_01_0.png", "label": 0, "mask": 5}]
    (data / "labels.json").write_text(json.dumps(rows))
    record = evaluated([tiny_models.model("stretch")], data, tmp_path / "out")
    assert [one["reason"] for one in record["faults"]] == [
        "its row 2 in labels.json says what an earlier one says; remove it",
        "its row in labels.json has mask 5, the name of a file is expected; correct it",
    ]
    assert (record["rows"][0]["n"], record["rows"][0]["failures"]) == (1, 2)


def test_a_quoted_name_in_csv_may_have_line_ends(data: Path) -> None:
    names = ["a\nb.png", "c\u2028d.png"]
    for old, new in zip(sorted(data.iterdir()), names, strict=True):
        old.rename(data / new)
    (data / "labels.csv").write_text("file,label\n" + "".join(f'"{name}",0\n' for name in names), encoding="utf-8")
    assert [(one.name, one.labels, one.fault) for one in find_data(data).samples] == [
        (name, (0,), "") for name in names
    ]


def test_an_unforeseen_error_of_a_method_is_of_that_picture_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained, asked = subject.FileSubject.explained, []

    def fails_once(self: subject.FileSubject, tensor: np.ndarray, target: int) -> Any:
        asked.append(target)
        if len(asked) == 1:
            raise np.linalg.LinAlgError("SVD did not converge")
        return explained(self, tensor, target)

    monkeypatch.setattr(subject.FileSubject, "explained", fails_once)
    record = evaluated([tiny_models.model("stretch")], data, tmp_path / "out")
    assert [one["reason"] for one in record["faults"]] == ["no map: LinAlgError: SVD did not converge"]
    assert (record["rows"][0]["n"], record["rows"][0]["failures"]) == (1, 1)


def test_a_full_disk_is_one_error_and_what_was_whole_is_read_again(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    with Records(tmp_path) as records:
        records.add([{"key": "one"}])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "records.jsonl").stat().st_size + 9, before[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write it: .*; start again later"):
            _add(tmp_path, "two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Records(tmp_path) as records:
        assert list(records.by_key) == ["one"]
        records.add([{"key": "two"}])
    assert (tmp_path / "records.jsonl").read_text().count("\n") == 2


def _add(folder: Path, key: str) -> None:
    with Records(folder) as records:
        records.add([{"key": key}])


def test_a_record_that_is_cut_anywhere_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with Records(tmp_path) as records:
        for key in ("one", "two"):
            records.add([{"key": key}])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Records(tmp_path) as records:
            assert list(records.by_key) == (["one"] if cut >= first else [])
        assert path.read_bytes() == (whole[:first] if cut >= first else b"")


def test_a_file_system_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def absent(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", absent)
    said: list[str] = []
    monkeypatch.setattr("aerocam.benchmarks.evaluation.records.logger.warning", lambda *words: said.append(words[0]))
    with Records(tmp_path) as records:
        records.add([{"key": "one"}])
    assert said == ["%s: it cannot be locked (%s); start no other run with this --out"]
    assert (tmp_path / "records.jsonl").read_text().count("\n") == 1


def test_a_second_run_does_not_write_its_settings_over_those_of_the_first(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Records(tmp_path / "data"), pytest.raises(UsageError, match="another run writes to it"):
        evaluated([tiny_models.model("stretch")], data, tmp_path / "data")
    assert not (tmp_path / "data/settings.json").exists()


def test_a_killed_process_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> Any:
        raise concurrent.futures.BrokenExecutor("gone")

    monkeypatch.setattr("joblib.Parallel", lambda **_: killed)
    with pytest.raises(AerocamError, match=r"a process was ended from outside.*start again, with fewer --jobs"):
        list(backends.run_all(abs, [1], "loky", 2))


def test_no_cluster_at_an_address_is_one_line() -> None:
    pytest.importorskip("distributed", reason="dask is not installed: pip install distributed")
    with pytest.raises(UsageError, match=r"--cluster nowhere: cannot join it: .*; check the address"):
        list(backends.run_all(abs, [1], "dask", 1, "nowhere"))


def test_a_process_that_imports_the_main_module_anew_runs_no_command() -> None:
    """Dask's processes import it under another name, with the arguments of the command."""
    path = Path(aerocam.__file__).with_name("__main__.py")
    assert "main" in runpy.run_path(str(path), run_name="__mp_main__")


PROGRAM = """
import sys
import toy_metrics
from aerocam import cli
from aerocam.benchmarks.evaluation.metrics import METRICS
METRICS.update(toy_metrics.TOYS)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_an_interrupted_run_leaves_no_process_behind(data: Path, tmp_path: Path, number: int) -> None:
    out, here = tmp_path / "out", os.pathsep.join([str(HELPERS), *filter(None, sys.path)])
    words = ["eval", tiny_models.model("stretch"), "--data", data, "--methods", "gradcam,layercam", "-o", out]
    command = [sys.executable, "-c", PROGRAM, *map(str, words), "--metrics", "toy_mass", "--jobs", "2"]
    env = {**os.environ, "PYTHONPATH": here, "TOY_PAUSE": "3"}
    with subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(_session(process.pid)) < 4:  # itself, two processes, and what tracks their resources
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(30) == 130
    while _session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _session(leader: int) -> list[str]:
    """The processes of a session."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            fields = (one / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(leader) and fields[0] != "Z":
            found.append(one.name)
    return found
