"""From a frame to an explanation, on models whose every value is known."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import ModelError, UsageError, WriteError
from aerocam.runtime import CAM_METHODS, Explainer, open_session
from aerocam.runtime.drawing.overlay import overlay_map
from aerocam.runtime.sessions.session import Run
from runtime_fixtures import noise, picture
from tiny_models import model

pytestmark = pytest.mark.runtime

FRAME = picture((64, 96), (16, 48, 32, 64))  # a red square over 2 x 2 cells of the 8 x 12 grid
LOGITS = np.array([4 / 96, 0, 0, -4 / 96])


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


class Spy:
    """A session that notes what it is asked for, and can put other outputs in place."""

    depth = 1

    def __init__(self, name: str, changed: Mapping[str, np.ndarray] | None = None) -> None:
        self._inner = open_session(model(name), threads=1)
        self.path, self.manifest = self._inner.path, self._inner.manifest
        self.inputs, self.outputs = self._inner.inputs, self._inner.outputs
        self.changed = changed or {}
        self.asked: list[tuple[str, ...]] = []
        self.closed = False

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.asked.append(tuple(outputs or ()))
        return {**self._inner.run(feeds, outputs), **self.changed}

    def submit(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Run[dict[str, Any]]:
        outcome = self.run(feeds, outputs)
        return Run(lambda: outcome)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Spy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("name", ["stretch", "softmax", "head", "head_and_layers", "scaled", "letterbox"])
def test_every_value_of_a_classifier(name: str) -> None:
    with Explainer(model(name)) as explainer:
        found = explainer(FRAME)
    assert (found.target.index, found.target.label, found.target.anchor, found.target.box) == (0, "red", None, None)
    assert found.target.logit == pytest.approx(4 / 96)
    assert found.target.score == pytest.approx(softmax(LOGITS)[0])
    assert [one.label for one in found.classes] == ["red", "green", "blue", "darkness"]
    assert [one.score for one in found.classes] == pytest.approx(softmax(LOGITS))
    expected = np.zeros((1, 8, 12))
    expected[0, 2:4, 6:8] = 1 / 96  # Grad-CAM: weight W / cells times A
    np.testing.assert_allclose(found.raw, expected, atol=1e-7)
    assert found.raw.dtype == np.float32
    assert (found.method, found.layers, found.warnings) == ("gradcam", ("A",), [])
    assert list(found.timings) == ["preprocess", "infer", "scores", "explain", "cam"]
    assert all(spent > 0 for spent in found.timings.values())


def test_the_map_in_the_frame() -> None:
    with Explainer(model("stretch")) as explainer:
        found = explainer(FRAME)
    assert found.tensor_map.shape == (1, 32, 48)
    assert found.map.shape == (1, 64, 96)
    assert found.map.dtype == np.float32
    assert found.map.min() == 0
    assert found.map.max() == pytest.approx(1)
    rows, columns = np.nonzero(found.map[0] > 0.99)
    assert (rows.mean(), columns.mean()) == pytest.approx((23.5, 55.5))
    cell = np.zeros((8, 12), np.float32)
    cell[2:4, 6:8] = 1
    np.testing.assert_allclose(found.tensor_map[0], cv2.resize(cell, (48, 32)), atol=1e-6)


@pytest.mark.parametrize("name", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize(("size", "channel"), [((101, 151), 1), ((81, 203), 0), ((177, 230), 2)])
def test_the_peak_is_on_the_square(name: str, size: tuple[int, int], channel: int) -> None:
    row, column = size[0] // 2 + 9, size[1] // 2 - 21
    frame = picture(size, (row - 10, column - 10, row + 11, column + 11), channel)
    with Explainer(model(name)) as explainer:
        found = explainer(frame)
    assert found.target.label == ("blue", "green", "red")[channel]
    weights = found.map[0] / found.map[0].sum()
    tolerance = 0.6 * max(size[0] / 32, size[1] / 48)  # of a pixel of the tensor; a cell of the layer has 4
    assert abs((weights.sum(axis=1) * np.arange(size[0])).sum() - row) < tolerance
    assert abs((weights.sum(axis=0) * np.arange(size[1])).sum() - column) < tolerance


def test_a_class_can_be_asked_for() -> None:
    frame = FRAME + picture((64, 96), (32, 0, 64, 24), 1)  # green at the lower left
    with Explainer(model("stretch"), top=2) as explainer:
        for target, index, place in ((None, 1, (48, 12)), (0, 0, (24, 56)), ("red", 0, (24, 56)), (-1, 1, (48, 12))):
            found = explainer(frame, target)  # type: ignore[arg-type]
            assert found.target.index == index
            assert found.map[0][place] > 0.9
        assert len(found.classes) == 2
        assert found.classes[0].label == "green"


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("stretch", 4, r"target class 4: expected 0 to 3, or -1"),
        ("stretch", -5, r"target class -5: expected 0 to 3, or -1 for the model's own choice, -2 for its second best"),
        ("detect", -2, r"target class -2: expected 0 to 3, or -1 for the model's own choice$"),
        ("stretch", [], "an empty list, one target or more is expected"),
        ("stretch", "gren", "target class 'gren': the model has no such class. Did you mean 'green'"),
        ("stretch", (1, 0), "give a class without an anchor"),
        ("unnamed", "red", "the model carries no class names; give the index"),
        ("twins", "crane", r"classes \[1, 2\] have this name; give the index"),
        ("detect", (0, 16), "target anchor 16: expected 0 to 15, or -1"),
        ("detect", ("red", -3), "target anchor -3: expected 0 to 15"),
        ("detect", (9, 2), "target class 9: expected 0 to 3"),
        ("stretch", 1.5, r"target 1\.5: a class by its index or its name is expected"),
        ("stretch", {"red"}, r"target {'red'}: a class by its index"),
        ("stretch", [0, [1]], r"target \[1\]: a class by its index or its name is expected, .* or a list of these"),
        ("stretch", np.array([0.0, 1.0]), r"target 0\.0: a class by its index"),
        ("stretch", np.array([], np.int64), "an empty list, one target or more is expected"),
        ("stretch", np.array([[1, 0]]), "give a class without an anchor"),
        ("detect", (1, 2.5), r"target 2\.5: a class by its index or its name is expected, .* also \(class, anchor\)"),
        ("detect", (1, "2"), r"target \(1, '2'\): \(class, anchor\) is expected, the anchor as a number"),
        ("detect", (1, 2, 3), r"target \(1, 2, 3\): \(class, anchor\) is expected"),
    ],
)
def test_a_target_that_is_not_there(name: str, target: Any, message: str) -> None:
    with Explainer(model(name)) as explainer, pytest.raises(UsageError, match=message):
        explainer(FRAME, target)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_of_numpy_are_targets(dtype: type[np.integer[Any]]) -> None:
    """A number is a class, an array a list of classes, and for a detector rows are classes with their anchors."""
    with Explainer(model("stretch")) as explainer:
        assert [one.index for one in explainer(FRAME, np.array([2, 0], dtype)).targets] == [2, 0]
        assert explainer(FRAME, np.array(2, dtype)).target.index == 2
        assert [one.index for one in explainer(FRAME, [1, dtype(2)]).targets] == [1, 2]
        with pytest.raises(UsageError, match=r"target 2\.0: a class"):  # also where 2 was asked for before
            explainer(FRAME, [1, 2.0])  # type: ignore[list-item]
    with Explainer(model("detect")) as explainer:
        found = explainer(FRAME, np.array([[0, 6], [1, 2]], dtype)).targets
    assert [(one.index, one.anchor) for one in found] == [(0, 6), (1, 2)]


@pytest.mark.parametrize("frame", ["photo.png", Path("photo.png"), [[[0, 0, 0]]], None])
def test_what_is_no_frame(frame: Any) -> None:
    message = rf"frame: got a value of type {type(frame).__name__}, expected a NumPy array, uint8 .*read_picture"
    with Explainer(model("stretch")) as explainer:
        for call in (explainer, explainer.predict, explainer.submit):
            with pytest.raises(UsageError, match=message):
                call(frame)
        with pytest.raises(UsageError, match=r"tensor: got a value of type .*, expected a NumPy array, float32 \(1, C"):
            explainer.on_tensor(frame)
        assert explainer(FRAME).target.label == "red"


def test_an_explanations_prediction_lasts_and_is_not_explained_again() -> None:
    """It holds nothing that the next frame overwrites."""
    with Explainer(model("stretch")) as explainer:
        prediction = explainer.predict(FRAME)
        explanation = explainer.explain(prediction)
        assert explanation.prediction.tensor is None
        assert explanation.prediction.outputs == {}
        assert explanation.prediction.frame is FRAME
        assert explanation.classes is prediction.classes
        with pytest.raises(UsageError, match="it is that of an explanation, without the model's outputs; predict it"):
            explainer.explain(explanation.prediction)
        np.testing.assert_array_equal(explainer.explain(prediction).raw, explanation.raw)


def test_a_run_waits_once_and_gives_the_same_result() -> None:
    waited: list[int] = []
    run = Run(lambda: waited.append(1) or len(waited))  # type: ignore[func-returns-value]
    twice = run.then(lambda count: [count, count])
    assert waited == []
    assert twice.result() == [1, 1]
    assert twice.result() is twice.result()
    assert (run.result(), waited) == (1, [1])


def test_a_run_that_failed_fails_again() -> None:
    def wait() -> None:
        raise ModelError("the engine failed")

    run = Run(wait).then(str)
    for _ in range(2):
        with pytest.raises(ModelError, match="the engine failed"):
            run.result()


def test_labels_where_the_model_has_none() -> None:
    with Explainer(model("unnamed")) as explainer:
        assert explainer(FRAME).target.label == "class 0"


DETECT = picture((32, 64), (16, 32, 32, 48))  # letterboxed to 16 x 32 in 32 x 32, 8 rows above: half a cell in row 2


@pytest.mark.parametrize(
    ("target", "index", "anchor"),
    [
        (None, 0, 10),
        ("red", 0, 10),
        ((0, 10), 0, 10),
        (("red", None), 0, 10),
        ((None, None), 0, 10),
        ((2, 5), 2, 5),
        (3, 3, 0),
    ],
)
def test_a_detector(target: Any, index: int, anchor: int) -> None:
    with Explainer(model("detect")) as explainer:
        found = explainer(DETECT, target)
    assert (found.target.index, found.target.anchor) == (index, anchor)
    # The letterboxed square fills the cell of row 2, column 2 of the 4 x 4 grid: anchor 10, A = 1.
    logit = 10 * (index == 0 and anchor == 10) - 5
    assert found.target.logit == pytest.approx(logit)
    assert found.target.score == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)
    assert found.classes[0].label == "red"
    assert [one.score for one in found.classes] == pytest.approx(1 / (1 + np.exp(-np.array([5, -5, -5, -5]))), rel=1e-4)
    row, column = divmod(anchor, 4)
    box = 8 * column, 8 * row + 1, 8 * column + 8, 8 * row + 7  # in the tensor
    expected = [2 * box[0], 2 * (box[1] - 8), 2 * box[2], 2 * (box[3] - 8)]
    assert found.target.box == pytest.approx(np.clip(expected, 0, [64, 32, 64, 32]))


def test_a_detectors_map_is_at_the_object() -> None:
    with Explainer(model("detect")) as explainer:
        found = explainer(DETECT)
    weights = found.map[0] / found.map[0].sum()
    assert found.map.shape == (1, 32, 64)
    assert (weights.sum(axis=0) * np.arange(64)).sum() == pytest.approx(39.5, abs=0.5)
    plain, boxed = found.overlay(caption=False), found.overlay()
    assert plain.shape == (32, 64, 3)
    assert (boxed != plain).any()


def test_gradients_are_freed_from_the_seed_scale() -> None:
    with (
        Explainer(model("scaled"), method="gradcam++") as scaled,
        Explainer(model("stretch"), method="gradcam++") as one,
    ):
        np.testing.assert_allclose(scaled(FRAME).raw, one(FRAME).raw, rtol=1e-6)


@pytest.mark.parametrize("method", sorted(CAM_METHODS))
def test_every_method_runs(method: str) -> None:
    frame = noise((64, 96))
    with Explainer(model("relevance" if method == "relevance" else "stretch"), method=method) as explainer:
        found = explainer(frame, "red")
    assert found.method == method
    assert found.raw.shape == (1, 8, 12)
    assert np.isfinite(found.raw).all()
    with open_session(model("stretch")) as session:
        outputs = session.run(
            {"images": explainer._predictor._prepare(frame)[0], manifest.TARGET: np.array([0], np.int32)}
        )
    expected = CAM_METHODS[method](outputs["A"], outputs["G"])
    np.testing.assert_allclose(found.raw, expected, atol=1e-7)


def test_a_method_by_another_of_its_names() -> None:
    with Explainer(model("stretch"), method="GradCAMPlusPlus") as explainer:
        assert explainer.method == "gradcam++"
    with Explainer(model("head"), method="GradCAM") as explainer:
        assert explainer.method == "gradcam"


OWN = ("logits", manifest.CHOSEN, manifest.SCORE)


@pytest.mark.parametrize(
    ("name", "method", "asked"),
    [
        ("stretch", None, (*OWN, "A", "G")),
        ("stretch", "eigencam", (*OWN, "A")),
        ("activations", "eigencam", (*OWN, "A")),
        ("head", None, (*OWN, manifest.MAP)),
        ("head_and_layers", "gradcam", (*OWN, manifest.MAP)),
        ("head_and_layers", "layercam", (*OWN, "A", "G")),
        ("two_layers", None, (*OWN, "A", "G", "A2", "G2")),
    ],
)
def test_only_the_outputs_needed_are_fetched(name: str, method: str | None, asked: tuple[str, ...]) -> None:
    session = Spy(name)
    Explainer(session, method=method)(FRAME)
    assert session.asked == [asked]


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("head", "layercam", "'layercam': the file has no activations of layer 'A', only the fused head for gradcam"),
        (
            "activations",
            None,
            "'gradcam': the file has no gradients of layer 'A'; export .*without a head, or with both: aerocam export",
        ),
        ("stretch", "gradkam", "gradkam"),
    ],
)
def test_a_method_that_cannot_be_had(name: str, method: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(model(name), method=method)


def test_two_layers_are_fused() -> None:
    with Explainer(model("two_layers")) as explainer:
        mean = explainer(noise((64, 96)))
    with Explainer(model("two_layers"), fusion="max") as explainer:
        largest = explainer(noise((64, 96)))
    assert [raw.shape for raw in mean.raws] == [(1, 8, 12), (1, 4, 6)]
    assert mean.layers == ("A", "A2")
    assert (largest.tensor_map >= mean.tensor_map - 0.2).mean() > 0.9
    assert np.abs(largest.tensor_map - mean.tensor_map).max() > 0.1
    with pytest.raises(UsageError, match="fusion 'sum'"):
        Explainer(model("two_layers"), fusion="sum")  # type: ignore[arg-type]


def test_nan_in_the_output_is_warned_zero_and_recorded(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    texts = [
        "the explained score is not finite",
        "layer 'A': the raw map has NaN or infinite values; it is shown as zero",
    ]
    with Explainer(model("nan")) as explainer, caplog.at_level(logging.WARNING, "aerocam"):
        found = explainer(FRAME)
        explainer(FRAME)
    assert found.warnings == texts
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == texts  # once, not once per frame
    assert not found.map.any()
    assert not found.tensor_map.any()
    record = json.loads(found.save(tmp_path, "nan")["record"].read_text())
    assert record["warnings"] == texts
    assert record["targets"][0]["logit"] is None


@pytest.mark.parametrize("method", sorted(CAM_METHODS))
def test_no_method_stumbles_over_nan(method: str) -> None:
    with Explainer(model("relevance_nan" if method == "relevance" else "nan"), method=method) as explainer:
        found = explainer(FRAME)
    assert not found.map.any()
    assert found.warnings


def test_one_nan_gradient_is_enough() -> None:
    gradients = np.full((1, 3, 8, 12), 0.01, np.float32)
    gradients[0, 0, 0, 0] = np.nan
    found = Explainer(Spy("stretch", {"G": gradients}), method="layercam")(FRAME)
    assert len(found.warnings) == 1
    assert not found.map.any()


def test_nothing_for_the_target_is_warned() -> None:
    with Explainer(model("stretch")) as explainer:
        found = explainer(FRAME, "darkness")
    assert found.warnings == ["the map is zero everywhere: nothing in A speaks for the target"]
    assert not found.map.any()


def test_overlay_is_the_map_over_the_frame() -> None:
    frame = noise((90, 110))
    with Explainer(model("crop")) as explainer:
        found = explainer(frame)
    top, left, bottom, right = found.placement.region
    assert (top, left) != (0, 0)
    plain = found.overlay(0.4, "turbo", caption=False)
    expected = overlay_map(frame, found.tensor_map[0], alpha=0.4, colormap="turbo", region=(top, left, bottom, right))
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(plain[:top], frame[:top])
    captioned = found.overlay(0.4, "turbo")
    np.testing.assert_array_equal(captioned[:40], plain[:40])
    assert (captioned[-8:] != plain[-8:]).any()


def test_a_gray_frame_has_an_overlay_too() -> None:
    with Explainer(model("gray")) as explainer:
        assert explainer(noise((64, 96))[:, :, 0]).overlay().shape == (64, 96, 3)


def test_save_writes_three_whole_files(tmp_path: Path) -> None:
    with Explainer(model("stretch")) as explainer:
        found = explainer(FRAME)
    paths = found.save(tmp_path / "new" / "folder", "photo", colormap="turbo", caption=False)
    assert {kind: path.name for kind, path in paths.items()} == {
        "overlay": "photo.cam.png",
        "raw": "photo.cam.npy",
        "record": "photo.cam.json",
    }
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == sorted(p.name for p in paths.values())
    saved = cv2.imread(str(paths["overlay"]))
    np.testing.assert_array_equal(saved, found.overlay(colormap="turbo", caption=False))
    raw = np.load(paths["raw"])
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, found.raw)
    record = json.loads(paths["record"].read_text())
    assert record == found.record()
    (target,) = record["targets"]
    (raw_ends,) = target.pop("raw")
    named = {"index": 0, "label": "red", "anchor": None, "box": None}
    assert target == {**named, "score": found.target.score, "logit": found.target.logit}
    assert record["frame"] == {"width": 96, "height": 64}
    assert record["layers"] == ["A"]
    assert (raw_ends["size"], raw_ends["min"], raw_ends["max"]) == ([8, 12], 0, pytest.approx(1 / 96))
    assert list(record["timings_ms"]) == ["preprocess", "infer", "scores", "explain", "cam"]


def test_every_layers_raw_map_is_saved(tmp_path: Path) -> None:
    with Explainer(model("two_layers")) as explainer:
        found = explainer(FRAME)
    paths = found.save(tmp_path, "photo")
    assert list(paths) == ["overlay", "record", "raw.1", "raw.2"]
    np.testing.assert_array_equal(np.load(tmp_path / "photo.cam.2.npy"), found.raws[1])
    record = json.loads(paths["record"].read_text())
    assert record["layers"] == ["A", "A2"]
    assert [one["size"] for one in record["targets"][0]["raw"]] == [[8, 12], [4, 6]]


def test_one_silent_layer_of_several_is_no_warning() -> None:
    session = Spy("two_layers", {"G": np.zeros((1, 3, 8, 12), np.float32)})
    assert Explainer(session)(FRAME).warnings == []
    assert "zero everywhere" in Explainer(session, fusion="product")(FRAME).warnings[0]


def test_save_leaves_nothing_behind_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Explainer(model("stretch")) as explainer:
        found = explainer(FRAME)
    opened = Path.open

    def full(path: Path, mode: str = "r") -> Any:
        if ".json" in path.name:
            raise OSError(28, "No space left on device")
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WriteError, match=r"photo\.cam\.json: cannot write it: No space left on device"):
        found.save(tmp_path, "photo")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot make this folder"):
        found.save(tmp_path / "file", "photo")


def test_explanations_do_not_share_memory() -> None:
    with Explainer(model("head")) as explainer:
        first = explainer(FRAME)
        before = first.raw.copy(), first.map.copy()
        explainer(noise((64, 96)), "blue")
    np.testing.assert_array_equal(first.raw, before[0])
    np.testing.assert_array_equal(first.map, before[1])


def test_a_session_may_reuse_its_arrays() -> None:
    buffer = np.ones((1, 8, 12), np.float32)
    found = Explainer(Spy("head", {manifest.MAP: buffer}))(FRAME)
    buffer[:] = -1
    assert (found.raw == 1).all()


def test_who_opens_the_session_closes_it() -> None:
    session = Spy("stretch")
    with Explainer(session):
        pass
    assert not session.closed
    explainer = Explainer(model("stretch"))
    explainer.close()
    with pytest.raises(UsageError, match="closed"):
        explainer(FRAME)


def test_a_model_that_is_not_what_its_manifest_says() -> None:
    session = Spy("stretch")
    session.outputs = session.outputs[:-1]
    with pytest.raises(ModelError, match="it has no 'G', which its manifest names; export the model again"):
        Explainer(session)
    session = Spy("stretch")
    session.inputs = open_session(model("gray")).inputs
    with pytest.raises(ModelError, match=r"input 'images' is float32 \(1, 1, 32, 48\), its manifest says .*\(1, 3, 32"):
        Explainer(session)


def test_a_frame_with_the_wrong_channels() -> None:
    with Explainer(model("stretch")) as explainer, pytest.raises(UsageError, match=r"got uint8 \(64, 96, 4\)"):
        explainer(np.zeros((64, 96, 4), np.uint8))


def test_a_list_of_targets_may_change_between_frames() -> None:
    wanted: list[Any] = ["red", "green"]
    with Explainer(model("stretch")) as explainer:
        assert [target.label for target in explainer(FRAME, wanted).targets] == ["red", "green"]
        wanted[1] = "blue"
        assert [target.label for target in explainer(FRAME, wanted).targets] == ["red", "blue"]


class Waiting(Spy):
    """A session that stays in a run until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.entered.set()
        assert self.leave.wait(20)
        return super().run(feeds, outputs)


def test_a_second_thread_is_refused_whatever_it_calls() -> None:
    session = Waiting("stretch")
    explainer = Explainer(session)
    tensor = np.zeros((1, 3, 32, 48), np.float32)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(explainer, FRAME)
        assert session.entered.wait(20)
        for call in (
            lambda: explainer(FRAME),
            lambda: explainer.submit(FRAME),
            lambda: explainer.predict(FRAME),
            lambda: explainer.on_tensor(tensor),
            lambda: explainer.look_at(None),
            explainer.close,
        ):
            with pytest.raises(UsageError, match="another thread uses this Explainer now; open one for each thread"):
                call()
        session.leave.set()
        expected = first.result()
    np.testing.assert_array_equal(explainer(FRAME).map, expected.map)  # one after the other is well
