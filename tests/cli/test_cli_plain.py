"""Plain models where exported ones are expected: exported on the way, kept, and said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import onnx
import pytest

from aerocam.cli import main
from aerocam.onnx_metadata import read_manifest
from coloured import disc, written
from tiny_models import model

SOFTMAX = "l = MatMul(f, w) y = Softmax<axis=1>(l)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AEROCAM_CACHE", str(tmp_path / "cache"))
    written(tmp_path / "plain.onnx", SOFTMAX)
    cv2.imwrite("green.png", disc(1))
    return tmp_path


def kept() -> list[Path]:
    return sorted(Path("cache").rglob("*.cam.onnx"))


def test_a_plain_model_is_explained_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """The second run reads what the first one kept, and says the same of it."""
    lines = []
    for _ in range(2):
        assert main(["explain", "plain.onnx", "green.png", "-o", "out"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("green.png: class 1 ")
        lines.append([line for line in err.splitlines() if "finite differences" not in line and "target" not in line])
        states = [(path, path.stat().st_mtime_ns) for path in kept()]
    assert lines[0] == lines[1]
    assert any(line.startswith("preprocessing, a guess: ") for line in lines[0])
    ((path, _),) = states
    size = path.stat().st_size / 1e6
    assert lines[0][-1] == (
        f"plain.onnx is a plain model: exported on the way, kept as {path.resolve()}, {size:.1f} MB."
        " `aerocam export plain.onnx` makes it permanent, and takes the flags that settle a decision"
    )
    assert read_manifest(path).source.name == "plain.onnx"


def test_another_model_of_the_same_name_is_exported_anew() -> None:
    assert main(["explain", "plain.onnx", "green.png", "-q"]) == 0
    written(Path("plain.onnx"), SOFTMAX.replace("w)", "v)"))
    assert main(["explain", "plain.onnx", "green.png", "-q"]) == 0
    assert len(kept()) == 2


def test_nothing_is_kept_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "plain.onnx", "green.png", "--no-cache"]) == 0
    assert "exported on the way, not kept. `aerocam export" in capsys.readouterr().err
    assert kept() == []


def test_an_evaluation_names_a_plain_model_by_its_file() -> None:
    Path("data").mkdir()
    for i, colour in enumerate((0, 1)):
        cv2.imwrite(f"data/p_{i}.png", disc(colour))
    command = "eval plain.onnx --data data --methods gradcam --metrics deletion_auc -o out -q"
    assert main(command.split()) == 0
    assert list(json.loads(Path("out/table.json").read_text())["models"]) == ["plain"]


def test_where_nothing_can_export_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("aerocam.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    assert main(["explain", "plain.onnx", "green.png"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "plain.onnx: a plain model, which has to be exported first; run `aerocam export plain.onnx` on a" in line
    assert "To export it here: onnx_ir is not installed" in line


@pytest.mark.parametrize("command", ["explain MODEL green.png", "stream MODEL green.png"])
def test_an_export_without_its_manifest_is_none_to_export(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.replace("MODEL", str(model("no_manifest"))).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("the model has been through `aerocam export` already; export the original again instead")


def test_weights_in_another_file_belong_to_the_model() -> None:
    onnx.save(onnx.load("plain.onnx"), "plain.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert main(["explain", "plain.onnx", "green.png", "-q"]) == 0
    weights = Path("w.bin").read_bytes()
    Path("w.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert main(["explain", "plain.onnx", "green.png", "-q"]) == 0
    assert len(kept()) == 2
