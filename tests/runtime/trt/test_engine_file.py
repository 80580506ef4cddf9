"""An engine's record: what was written is read back, and nothing else is taken for it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aerocam.cli.arguments import declare
from aerocam.cli.build import ARGUMENTS, size_in_bytes
from aerocam.cli.flags import with_flags
from aerocam.errors import EngineError, ManifestError, WriteError
from aerocam.manifest import Split
from aerocam.onnx_metadata import read_manifest
from aerocam.runtime.trt.engine_file import (
    BuildSettings,
    EngineRecord,
    EngineTensor,
    build_command,
    read_record,
    record_path,
    write_engine,
)
from tiny_models import model

pytestmark = pytest.mark.runtime

PLAN = bytes(range(256)) * 5


def record(**changes: Any) -> EngineRecord:
    """Of an engine whose plan is `PLAN`; its checksum by coreutils' sha256sum."""
    made = EngineRecord(
        bindings="tensorrt",
        tensorrt="10.3.0.26",
        compute_capability="8.7",
        device="Orin",
        model="stretch.onnx",
        model_sha256="0" * 64,
        plan_sha256="d414b085826eb06778483ba35564dc849e643359f69ed9747878ba6e54985bed",
        plan_bytes=len(PLAN),
        tensors=(
            EngineTensor("images", "input", "float32", (1, 3, 32, 48)),
            EngineTensor("aerocam_target", "input", "int32", (1,)),
            EngineTensor("aerocam_score", "output", "float16", ()),
        ),
        settings=BuildSettings(1 << 30, 3, True, "typed", True, "ampere_plus"),
        manifest=read_manifest(model("stretch")),
        aerocam="1.2.3",
    )
    return replace(made, **changes)


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.engine"
    write_engine(path, PLAN, record(**changes))
    return path


def rewritten(path: Path, **changes: Any) -> None:
    """Change the record's JSON and leave its checksum."""
    beside = record_path(path)
    beside.write_text(json.dumps(json.loads(beside.read_text()) | changes))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert path.read_bytes() == PLAN
    assert record_path(path) == tmp_path / "tiny.engine.json"
    found = read_record(str(path))
    assert found == record()
    assert found.manifest == read_manifest(model("stretch"))
    assert [str(spec) for spec in found.specs("input")] == ["float32 (1, 3, 32, 48)", "int32 (1)"]
    assert [(spec.name, str(spec)) for spec in found.specs("output")] == [("aerocam_score", "float16 ()")]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tiny.engine", "tiny.engine.json"]


def test_the_record_is_json_that_others_can_read(tmp_path: Path) -> None:
    data = json.loads(record_path(write(tmp_path)).read_text(encoding="utf-8"))
    assert (data["schema"], data["bindings"], data["tensorrt"]) == (1, "tensorrt", "10.3.0.26")
    assert data["compute_capability"] == "8.7"
    assert data["settings"]["workspace"] == 1 << 30
    assert data["tensors"][1] == {"name": "aerocam_target", "mode": "input", "dtype": "int32", "shape": [1]}
    assert data["manifest"]["labels"] == ["red", "green", "blue", "darkness"]
    assert len(data["sha256"]) == 64


def test_its_spacing_may_change(tmp_path: Path) -> None:
    path = write(tmp_path)
    rewritten(path)
    assert read_record(path) == record()


@pytest.mark.parametrize(
    "changes",
    [{"tensorrt": "10.3.0.27"}, {"plan_sha256": "1" * 64}, {"tensors": []}, {"more": 1}, {"sha256": "2" * 64}],
)
def test_an_altered_record(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path)
    rewritten(path, **changes)
    with pytest.raises(ManifestError, match=r"tiny\.engine\.json: it was changed since it was written; copy it anew"):
        read_record(path)


def test_a_record_of_another_form(tmp_path: Path) -> None:
    path = write(tmp_path)
    rewritten(path, schema=2)
    with pytest.raises(ManifestError, match="schema 2 of an engine's record, this aerocam reads 1; run"):
        read_record(path)
    record_path(path).write_text("[]")
    with pytest.raises(ManifestError, match="schema None"):
        read_record(path)
    record_path(path).write_bytes(b"\xff")
    with pytest.raises(ManifestError, match="cannot read it"):
        read_record(path)


def test_a_record_of_another_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(PLAN[:-1])
    with pytest.raises(EngineError, match="found 1279 bytes, its record was written for 1280 bytes"):
        read_record(path)
    path.write_bytes(PLAN[::-1])
    with pytest.raises(EngineError, match="found 1280 bytes with another checksum"):
        read_record(path)


def test_an_engine_without_a_record_and_a_record_without_an_engine(tmp_path: Path) -> None:
    path = write(tmp_path)
    record_path(path).unlink()
    with pytest.raises(ManifestError, match=r"there is no tiny\.engine\.json beside it"):
        read_record(path)
    path.unlink()
    with pytest.raises(EngineError, match="there is no such file"):
        read_record(path)


def test_both_are_written_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r") -> Any:
        if ".json" in path.name:
            raise OSError(28, "No space left on device")
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WriteError, match=r"tiny\.engine\.json: cannot write it: No space left on device"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_that_builds_it_again() -> None:
    """With what it was built with, as the command takes it."""
    plain = record(settings=BuildSettings())
    assert build_command(Path("/data/tiny.engine"), plain) == "aerocam build stretch.onnx -o tiny.engine"
    assert build_command(Path("/data/tiny.engine")) == "aerocam build MODEL.cam.onnx -o tiny.engine"
    parser = argparse.ArgumentParser()
    declare(parser, ARGUMENTS)
    for settings in (record().settings, BuildSettings(precision="float16", optimization_level=0)):
        said = build_command(Path("tiny.engine"), record(settings=settings))
        given = parser.parse_args(with_flags(said).split()[2:])
        assert (given.model, given.output) == ("stretch.onnx", "tiny.engine")
        assert size_in_bytes(given.workspace or "1") == (settings.workspace or 1)
        asked = {name: getattr(given, name) for name in vars(settings) if name != "workspace"}
        assert asked == {name: value for name, value in vars(settings).items() if name != "workspace"}


def test_the_command_that_builds_the_engines_of_a_split_model() -> None:
    """All of them, by the file that runs on every frame: the others are refused by their names."""
    contract = replace(record().manifest, split=Split("a.cam.explain.engine", (), "a.cam.tail.engine", 4))
    for job in ("", ".explain", ".tail"):
        one = record(settings=BuildSettings(), manifest=contract, model=f"a.cam{job}.onnx")
        assert build_command(Path(f"a.cam{job}.engine"), one) == "aerocam build a.cam.onnx -o a.cam.engine"
    assert build_command(Path("a.cam.tail.engine")) == "aerocam build MODEL.cam.onnx -o a.cam.engine"
    whole = record(settings=BuildSettings(), model="the.tail.onnx")
    assert build_command(Path("the.tail.plan"), whole) == "aerocam build the.tail.onnx -o the.tail.plan"
