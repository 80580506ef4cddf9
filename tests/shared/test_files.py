"""Files are written to new ones that nobody knows beforehand, and read beside a model only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from aerocam.errors import ModelError, WriteError
from aerocam.files import beside, make_part, sha256, write_together


def guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0" * 2 * count)


def test_a_link_with_the_name_of_a_part_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guessed(monkeypatch)
    victim, link = tmp_path / "victim", tmp_path / f".a.{os.getpid()}-00000000.part.png"
    victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(WriteError, match=r"a\.png: cannot write it: File exists"):
        write_together({tmp_path / "b.png": b"b", tmp_path / "a.png": b"a"})
    with pytest.raises(FileExistsError):
        make_part(tmp_path / "a.png")
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [link.name, "victim"]  # what it did not make is there


def test_a_link_in_the_place_of_the_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a.png").symlink_to(tmp_path / "victim")
    write_together({tmp_path / "a.png": b"new"})
    assert ((tmp_path / "victim").read_text(), (tmp_path / "a.png").read_text()) == ("precious", "new")
    assert not (tmp_path / "a.png").is_symlink()


def test_no_two_parts_have_one_name(tmp_path: Path) -> None:
    assert len({make_part(tmp_path / "a.webm") for _ in range(5)}) == 5


def test_files_of_a_model_lie_beside_it(tmp_path: Path) -> None:
    store, models = tmp_path / "store", tmp_path / "models"
    for folder in (store, models):
        folder.mkdir()
        (folder / "a.onnx").write_text("a")
        (folder / "a.explain.onnx").write_text("e")
    assert beside(models / "a.onnx", "a.explain.onnx") == models / "a.explain.onnx"
    (models / "outside.onnx").symlink_to(store / "a.explain.onnx")
    with pytest.raises(
        ModelError, match=r"outside\.onnx: it leads to .*store/a\.explain\.onnx, outside of the model's"
    ):
        beside(models / "a.onnx", "outside.onnx")
    for name in ("a.onnx", "a.explain.onnx"):  # a cache of models: both are links into one store
        (tmp_path / name).symlink_to(store / name)
    assert beside(tmp_path / "a.onnx", "a.explain.onnx") == tmp_path / "a.explain.onnx"
    (models / "round.onnx").symlink_to("round.onnx")
    assert beside(models / "a.onnx", "round.onnx").name == "round.onnx"  # there is no such file


@pytest.mark.parametrize("name", ["a\0b.onnx", "a" * 5000])
def test_a_name_that_cannot_be_one_is_no_such_file(name: str) -> None:
    with pytest.raises(ModelError, match="no such file, a model was expected"):
        sha256(name)
