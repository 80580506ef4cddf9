"""The exported file under test: what it says of maps that it cannot have, and how its files are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exported_models
import tiny_models
from aerocam.benchmarks.evaluation.case import Case, Map, Truth
from aerocam.benchmarks.evaluation.metrics import METRICS, number
from aerocam.benchmarks.evaluation.settings import MethodSpec
from aerocam.benchmarks.evaluation.subject import FileSubject, ModelUnderTest
from aerocam.errors import UsageError
from aerocam.export import export_model
from aerocam.manifest import Preprocess
from aerocam.runtime.sessions import passes
from aerocam.runtime.sessions.opening import open_session
from checkout import GOLDEN


def test_a_map_that_is_not_finite_is_no_map_of_zeros() -> None:
    """The picture has a map, its noisy forms have none: no metric may take that for a map that shows nothing."""
    tensor = np.ones((1, 3, 32, 48), np.float32)
    with ModelUnderTest(str(tiny_models.model("nan"))) as model:
        subject = FileSubject(model, MethodSpec("gradcam", "gradcam"))
        broken = subject.explain(tensor, 0)
        assert np.isnan(broken.raw).any()
        assert np.isnan(broken.map).all()
        whole = np.linspace(0, 1, 32 * 48, dtype=np.float32).reshape(32, 48)
        one = Case(subject, tensor, 0, Map(whole, whole), second=1)
        for name in ("coherency", "max_sensitivity", "input_noise", "class_sensitivity", "gradient_noise"):
            assert np.isnan(number(METRICS[name].compute(one))), name


def test_a_normalised_map_is_not_taken_for_a_raw_one(tmp_path: Path) -> None:
    """Its minimum has become 0: the share of its mass in a cell is another."""
    rule = Preprocess("images", (24, 24), mean=(127.0,) * 3, std=(64.0,) * 3)
    network = GOLDEN / "input/network.onnx"
    given: dict[str, Any] = {"layers": "features", "preprocess": rule, "head": "gradcam"}
    asked: list[tuple[str, dict[str, Any]]] = [("gridpg", {}), ("max_sensitivity", {"of": "raw", "samples": 1})]
    tensor = np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)
    for form in ("raw", "layer"):
        path = export_model(network, tmp_path / f"{form}.onnx", map_form=form, **given).path  # type: ignore[arg-type]
        with ModelUnderTest(str(path)) as model:
            subject = FileSubject(model, MethodSpec("gradcam", "gradcam"))
            one = Case(subject, tensor, 0, subject.explain(tensor, 0), Truth(cells=2, cell=0))
            assert one.map.max() == pytest.approx(1)
            assert number(METRICS["max_sensitivity"].compute(one, samples=1)) > 0
            for name, parameters in asked:
                if form == "raw":
                    assert np.isfinite(number(METRICS[name].compute(one, **parameters)))
                else:
                    with pytest.raises(UsageError, match="gives this method's map normalised, not raw"):
                        METRICS[name].compute(one, **parameters)


def test_all_files_of_a_model_run_on_the_threads_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = exported_models.folder() / exported_models.TAIL, []
    monkeypatch.setattr(passes, "open_session", lambda *a, **given: seen.append(given) or open_session(*a, **given))
    with ModelUnderTest(str(path), threads=1, providers=["CPUExecutionProvider"]) as model:
        shape = (1, 3, *model.rule.size)
        FileSubject(model, MethodSpec("gradcam", "gradcam")).explain(np.ones(shape, np.float32), 0)
    assert seen == [{"providers": ["CPUExecutionProvider"], "threads": 1}]
