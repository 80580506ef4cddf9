"""`aerocam explain`: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import exported_models
from aerocam.errors import UsageError
from aerocam.options import parse_options
from aerocam.runtime import Explainer
from runtime_fixtures import RUN, picture, run_cli, run_python
from tiny_models import model

pytestmark = pytest.mark.runtime

FRAME = picture((64, 96), (16, 48, 32, 64))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own with one good and one bad picture."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("red.png", FRAME)
    Path("bad.png").write_text("not a picture")


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


def test_three_files_and_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("explain", model("stretch"), "red.png", "-o", "out") == 0
    assert names() == ["red.cam.json", "red.cam.npy", "red.cam.png"]
    out, err = capfd.readouterr()
    assert out.startswith("red.png: red 0.261, ")
    assert out.endswith(" ms\n")
    assert err == ""
    with Explainer(model("stretch")) as explainer:
        expected = explainer(FRAME)
    np.testing.assert_array_equal(cv2.imread("out/red.cam.png"), expected.overlay())
    np.testing.assert_array_equal(np.load("out/red.cam.npy"), expected.raw)
    record = json.loads(Path("out/red.cam.json").read_text())
    assert {**record, "timings_ms": 0} == {**expected.record(), "timings_ms": 0}


def test_options_reach_the_explanation(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--method", "layercam", "--target", "green", "--alpha", "0.8", "--colormap", "turbo", "--no-caption"]
    arguments += ["--threads", "1", "--providers", "CPUExecutionProvider", "-q", "-o", "out"]
    assert run_cli("explain", model("stretch"), "red.png", *arguments) == 0
    record = json.loads(Path("out/red.cam.json").read_text())
    assert (record["method"], record["targets"][0]["label"]) == ("layercam", "green")
    with Explainer(model("stretch"), method="layercam") as explainer:
        expected = explainer(FRAME, 1).overlay(0.8, "turbo", caption=False)
    np.testing.assert_array_equal(cv2.imread("out/red.cam.png"), expected)
    assert capfd.readouterr().out == ""


def test_numpy_takes_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured by what the process does: NumPy starts its threads as it is imported."""
    pytest.importorskip("threadpoolctl")
    code = (
        "import sys, threadpoolctl\n"
        "from aerocam.cli import explain, stream\n"
        "assert 'numpy' not in sys.modules\n"
        f"{RUN.replace('sys.exit', 'code = ')}\n"
        "print({one['num_threads'] for one in threadpoolctl.threadpool_info() if one['internal_api'] == 'openblas'})"
    )
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    done = run_python(code, "explain", model("stretch"), "red.png", "-o", "out", "-q")
    assert done.stdout in ("{1}\n", "set()\n"), done.stderr


def test_a_target_by_index_and_anchor() -> None:
    arguments = ["--target", "2", "--anchor", "5", "-o", "out"]
    assert run_cli("explain", model("detect"), "red.png", *arguments) == 0
    target = json.loads(Path("out/red.cam.json").read_text())["targets"][0]
    assert (target["label"], target["anchor"]) == ("blue", 5)


def test_a_bad_picture_among_good_ones(capfd: pytest.CaptureFixture[str]) -> None:
    Path("more").mkdir()
    cv2.imwrite("more/last.png", FRAME)
    images = ["red.png", "bad.png", "absent.png", "more/last.png"]
    assert run_cli("explain", model("stretch"), *images, "-o", "out") == 1
    assert names() == [f"{stem}.cam.{end}" for stem in ("last", "red") for end in ("json", "npy", "png")]
    out, err = capfd.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["red.png", "more/last.png"]
    bad, absent = err.splitlines()
    assert bad.startswith("aerocam explain: error: bad.png: found 13 bytes that OpenCV cannot decode, expected a pict")
    assert absent == "aerocam explain: error: absent.png: cannot read it: No such file or directory"


def test_pictures_of_one_name_do_not_overwrite_each_other() -> None:
    Path("other").mkdir()
    cv2.imwrite("other/red.jpg", FRAME[:, ::-1])
    assert run_cli("explain", model("stretch"), "red.png", "other/red.jpg", "-o", "out") == 0
    assert names() == [f"{stem}.cam.{end}" for stem in ("red-2", "red") for end in ("json", "npy", "png")]
    assert Path("red.png").exists()


def test_a_warning_is_said_with_the_picture(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_cli("explain", model("stretch"), "red.png", "-o", "out", "--target", "darkness") == 0
    assert "warning: the map is zero everywhere" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("absent", [], 1, "absent.onnx: no such file, a model was expected"),
        ("stretch", ["--target", "4"], 2, "target class 4: expected 0 to 3"),
        ("stretch", ["--target", "redd"], 2, "Did you mean 'red'?"),
        ("stretch", ["--anchor", "1"], 2, "give a class without an anchor"),
        ("detect", ["--anchor", "99"], 2, "target anchor 99: expected 0 to 15"),
        ("stretch", ["--method", "gradcamm"], 2, "Did you mean 'gradcam'"),
        ("head", ["--method", "eigencam"], 2, "aerocam export MODEL"),
        ("stretch", ["--alpha", "2"], 2, "expected a weight from 0"),
        ("stretch", ["--colormap", "jett"], 2, "Did you mean 'jet'"),
        ("stretch", ["--fusion", "sum"], 2, "fusion 'sum'"),
        ("stretch", ["--providers", "CUDA"], 2, "available here:"),
        ("stretch", ["--threads", "0"], 2, "--threads 0: expected 1 or more"),
        ("stretch", ["-o", "bad.png"], 1, "bad.png: cannot make this folder"),
    ],
)
def test_one_line_and_no_file(
    name: str,
    arguments: list[str],
    code: int,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = [] if "-o" in arguments else ["-o", "out"]
    path = model(name) if name != "absent" else "absent.onnx"
    assert run_cli("explain", path, "red.png", *place, *arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("aerocam explain: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert names() == []
    assert names(".") == ["bad.png", "red.png"]


def test_a_picture_too_narrow_for_the_crop(capfd: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("tall.png", FRAME.transpose(1, 0, 2))
    cv2.imwrite("wide.png", np.hstack([FRAME, FRAME]))
    assert run_cli("explain", model("crop"), "tall.png", "wide.png", "-o", "out") == 1
    err = capfd.readouterr().err
    assert err.startswith("aerocam explain: error: tall.png: frame of 64x96 px")
    assert "smaller than the centre crop of 48x32" in err
    assert names() == [f"wide.cam.{end}" for end in ("json", "npy", "png")]


def test_options_of_a_method() -> None:
    pictures = {}
    for steps in (2, 5):
        arguments = ["--method", "integrated_gradients", "--option", f"steps={steps}", "--option", "baseline=blur"]
        assert run_cli("explain", small(), "red.png", *arguments, "-o", f"out{steps}") == 0
        pictures[steps] = np.load(f"out{steps}/red.cam.npy")
    options = {"steps": 5, "baseline": "blur"}
    with Explainer(small(), method="integrated_gradients", options=options) as explainer:
        np.testing.assert_array_equal(pictures[5], explainer(FRAME).raw)
    assert (pictures[2] != pictures[5]).any()


def small() -> Path:
    return exported_models.folder() / exported_models.SMALL


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("steps", "--option steps: NAME=VALUE is expected, as in steps=100"),
        ("=3", "--option =3: NAME=VALUE is expected"),
        ("steps=", "--option steps=: NAME=VALUE is expected"),
        ("steps=many", "method integrated_gradients: option steps is 'many', expected a whole number from 1 on"),
        ("step=3", "method integrated_gradients: it has no option 'step'. Did you mean 'steps'?"),
        ("baseline=[1, 2", "option baseline is '[1, 2'"),
    ],
)
def test_a_wrong_option_is_one_line(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--method", "integrated_gradients", "--option", option, "-o", "out"]
    assert run_cli("explain", small(), "red.png", *arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert names() == []


def test_values_of_options() -> None:
    given = ["a=3", "b=0.5", "c=true", "d=True", "e=[1, 2]", "f=max_abs", "g='x y'", "h=a=b", "i=None", "j=-1"]
    expected = {"a": 3, "b": 0.5, "c": "true", "d": True, "e": [1, 2], "f": "max_abs", "g": "x y", "h": "a=b"}
    assert parse_options(given) == {**expected, "i": None, "j": -1}
    with pytest.raises(UsageError, match="--option a=4: a was given before, as 3; give it once"):
        parse_options(["a=3", "a=4"])
