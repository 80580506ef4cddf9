"""Whole explanations and streams on TensorRT's sessions, against ONNX Runtime's: equal to the digit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exported_models
from aerocam.runtime import Explainer, read_picture
from runtime_fixtures import noise
from stand_ins.kinds import ENGINES, Open, opener
from tiny_models import model

pytestmark = pytest.mark.runtime


@pytest.fixture(params=ENGINES, ids=str)
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    with opener(request.param, monkeypatch, tmp_path) as how:
        yield how


@pytest.mark.parametrize("name", ["stretch", "detect", "two_layers", "head", "scaled"])
def test_an_explainer_finds_the_same(opened: Open, name: str) -> None:
    with opened(model(name)) as session:
        explainer = Explainer(session)
        with Explainer(model(name), threads=1) as expected:
            for seed in range(3):
                for target in (None, 1, [0, 2]):
                    same(explainer(noise((64, 96), seed), target), expected(noise((64, 96), seed), target))


@pytest.mark.slow
def test_a_real_network_is_explained_the_same(opened: Open) -> None:
    folder = exported_models.folder()
    frame = read_picture(folder / "coffee.png")
    with opened(folder / exported_models.TENSORS) as session, Explainer(folder / exported_models.TENSORS) as expected:
        same(Explainer(session)(frame, ["espresso", None]), expected(frame, ["espresso", None]))


def same(found: Any, expected: Any) -> None:
    """Targets, scores and maps equal to the digit."""
    assert found.targets == expected.targets
    assert found.classes == expected.classes
    assert found.warnings == expected.warnings
    for raw, wanted in zip(found.raws, expected.raws, strict=True):
        np.testing.assert_array_equal(raw, wanted)
    np.testing.assert_array_equal(found.map, expected.map)
