"""What the self-check must not hold against an export: ties, rounding, domains; and gradients of 0, which it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from aerocam.errors import CheckError
from aerocam.export import check_export, export_model
from aerocam.export.checking.gradients import worst_error
from aerocam.export.checking.outputs import difference_by_rounding
from aerocam.export.checking.report import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder
from onnx_graphs import f32, model, node, saved

PICTURE = f32(1, 3, 8, 8)
POOLED = [node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"])]


def rows_by_rank(scores: list[onnx.NodeProto], factor: float = 1.0) -> LightModel:
    """Rows of a table in the order of scores `s` that `scores` makes of `x`: a detector's queries in small."""
    nodes = [
        *scores,
        node("TopK", ["s", "k"], ["t", "i"], axis=0),
        node("Gather", ["table", "i"], ["g"]),
        node("Mul", ["g", "factor"], ["y"]),
    ]
    constants = {"k": np.array([4]), "table": f32(6, 3), "three": np.float32(3), "factor": np.float32(factor)}
    return LightModel(model(nodes, {"x": f32(6)}, constants, ["y", "t"]), {})


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0.0), (1.01, 0.01)])
def test_near_ties_that_fall_the_other_way_are_no_difference(factor: float, expected: float) -> None:
    """(x / 3) * 3 rounds the first two to one number, so that the first comes first; a wrong output is still found."""
    x = np.float32([0.003, np.nextafter(np.float32(0.003), np.float32(1)), 0.002, 0.7, 0.1, 0.001])
    before = rows_by_rank([node("Identity", ["x"], ["s"])])
    after = rows_by_rank([node("Div", ["x", "three"], ["d"]), node("Mul", ["d", "three"], ["s"])], factor)
    with SessionFolder() as sessions:
        one, other = (sessions.open(light).run(["y"], {"x": x})[0] for light in (before, after))
        assert np.abs(one - other).max() > 0.5
        outputs, rounding = difference_by_rounding(sessions, before, after, {"x": x})
    assert outputs == pytest.approx(expected, abs=1e-6)
    assert rounding < 1e-6


def test_ranks_that_change_on_the_way_are_held(tmp_path: Path) -> None:
    """Eight channels that are all but equal: the slope of the largest is that of another one a step on."""
    w = np.repeat(f32(1, 3, 3, 3), 8, axis=0) + 1e-5 * f32(8, 3, 3, 3)
    nodes = [
        node("Conv", ["x", "w"], ["r"]),
        node("Mul", ["r", "spread"], ["m"]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("TopK", ["f", "k"], ["t", "i"], axis=1),
        node("MatMul", ["t", "d"], ["y"]),
    ]
    spread = np.float32([1, -1] * 4).reshape(1, 8, 1, 1)
    constants = {"w": w, "spread": spread, "k": np.array([8]), "d": np.float32([[9, -9]] * 4 + [[-9, 9]] * 4)}
    path = saved(tmp_path, model(nodes, {"x": PICTURE}, constants, ["y"]))
    done = export_model(path, layers="r")
    assert done.report is not None
    assert done.report.gradients["r"] < 0.02


@pytest.mark.parametrize("operator", ["Log", "Sqrt", "Acosh", "Asin"])
def test_a_model_whose_input_is_bounded_is_checked_inside(tmp_path: Path, operator: str) -> None:
    """Noise around 0 has no logarithm; some of the further draws have one, or an arc sine."""
    nodes = [node(operator, ["x"], ["l"]), node("Conv", ["l", "w"], ["r"]), *POOLED, node("MatMul", ["f", "d"], ["y"])]
    path = saved(tmp_path, model(nodes, {"x": PICTURE}, {"w": f32(4, 3, 3, 3), "d": f32(4, 5)}, ["y"]))
    done = export_model(path, layers="x")
    assert done.report is not None
    assert done.report.gradients["x"] < 0.1


def test_gradients_that_are_0_everywhere_are_refused(tmp_path: Path) -> None:
    """Behind a ReLU that nothing passes."""
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Add", ["c", "shift"], ["s"]),
        node("Relu", ["s"], ["r"]),
        *POOLED,
        node("MatMul", ["f", "d"], ["y"]),
    ]
    constants = {"w": f32(4, 3, 3, 3), "d": f32(4, 5), "shift": np.float32([-1e6])}
    path = saved(tmp_path, model(nodes, {"x": PICTURE}, constants, ["y"]))
    with pytest.raises(CheckError, match=r"layers 'c': the gradients of the score are exactly 0 .*another layer"):
        export_model(path, layers="c")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.onnx"]


@pytest.mark.parametrize(("size", "told"), [(1.0, True), (0.1, True), (1e-4, False)])
@pytest.mark.parametrize("right", [True, False])
def test_what_a_float16_score_rounds_away_has_no_figure(size: float, told: bool, right: bool) -> None:
    """The score is computed in numbers that are 0.06 apart there; where it tells, a wrong gradient is still found."""
    weights, activations = f32(1, 4, 3, 3), f32(1, 4, 3, 3, seed=1).astype(np.float16)

    def run(offset: np.ndarray) -> np.ndarray:
        moved = np.vdot(weights.astype(float), (activations + offset).astype(float))
        return np.float16([64 + size * 16 * moved]).astype(np.float32)

    gradient = np.float32(size * 16 * (1 if right else -1)) * weights
    score, epsilon = run(np.zeros_like(activations)), float(np.finfo(np.float16).eps)
    error = worst_error(run, gradient, activations, score, 0, 2, epsilon)
    assert (error is not None) == told
    assert error is None or (error < GRADIENT_TOLERANCE) == right


def test_a_wrong_weight_of_a_float16_model_is_found(tmp_path: Path) -> None:
    nodes = [
        *(node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["r"]), node("Conv", ["r", "v"], ["l"])),
        *(node("GlobalAveragePool", ["l"], ["p"]), node("Flatten", ["p"], ["y"])),
    ]
    weights = {"w": f32(4, 3, 3, 3).astype(np.float16), "v": f32(5, 4, 3, 3).astype(np.float16)}
    path = saved(tmp_path, model(nodes, {"x": PICTURE.astype(np.float16)}, weights, ["y"]))
    done = export_model(path, layers="r")
    assert check_export(path, done.path).require().outputs <= OUTPUT_TOLERANCE
    proto = onnx.load(done.path)
    wrong = next(item for item in proto.graph.initializer if item.name == "v")
    array = numpy_helper.to_array(wrong) * np.float16([1.002, 1, 1, 1, 1])[:, None, None, None]
    wrong.CopyFrom(numpy_helper.from_array(array, "v"))
    onnx.save(proto, done.path)
    with pytest.raises(CheckError, match=r"outputs differ from the original's by 0\.00\d+ on"):
        check_export(path, done.path).require()
