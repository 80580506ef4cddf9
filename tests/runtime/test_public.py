"""The public names of the device side: where they are, and the examples in their docstrings, which are run."""

from __future__ import annotations

import ast
import doctest
import inspect
import shutil
from pathlib import Path

import cv2
import pytest

from aerocam import runtime
from runtime_fixtures import moving_square, picture, write_video
from tiny_models import model

pytestmark = pytest.mark.runtime

WITH_EXAMPLE = (
    "Detection", "Explainer", "Explanation", "Objects", "Region", "Session", "Target", "VideoSink", "VideoSource",
    "open_session",
)  # fmt: skip


def declared() -> dict[str, str]:
    """The names that type checkers see, and the modules that they see them in."""
    tree = ast.parse(inspect.getsource(runtime))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    pairs = [(alias, node.module or "") for node in imports for alias in node.names]
    assert all(alias.name == alias.asname for alias, _ in pairs)  # so that they count as exported
    return {alias.name: module.removeprefix("aerocam.runtime.") for alias, module in pairs}


def test_type_checkers_see_the_names_that_there_are() -> None:
    assert declared() == runtime._HOMES
    assert runtime.__all__ == sorted(runtime._HOMES)


@pytest.mark.parametrize("name", runtime.__all__)
def test_a_public_name(name: str) -> None:
    """It can be fetched, is what its module has, and says what it is for."""
    value = getattr(runtime, name)
    if not name.endswith("_METHODS"):
        assert value.__module__ == f"aerocam.runtime.{runtime._HOMES[name]}"
        assert inspect.getdoc(value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples read: a classifier, a detector, a picture of a red square and a video."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(model("stretch"), "model.cam.onnx")
    shutil.copy(model("detect"), "detector.cam.onnx")
    cv2.imwrite("photo.png", picture((64, 96), (16, 48, 32, 64)))
    write_video(Path("flight.avi"), moving_square(6))
    return tmp_path


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example(name: str, folder: Path) -> None:
    (example,) = (test for test in doctest.DocTestFinder(recurse=False).find(getattr(runtime, name), name, globs={}))
    assert example.examples
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)
