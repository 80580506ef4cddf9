"""Whole explanations and streams on TensorRT's sessions, against ONNX Runtime's: equal to the digit."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import exported_models
from aerocam.errors import EngineError, MediaError, UsageError
from aerocam.onnx_metadata import read_manifest
from aerocam.runtime import Explainer, process, read_picture
from aerocam.runtime.maps.smoothing import MapSmoothing
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.video.reading import Reading
from runtime_fixtures import moving_square, noise, run_cli, write_video
from stand_ins import machine
from stand_ins.gpu import Gpu
from stand_ins.kinds import FEW, Open, opener
from tiny_models import model

pytestmark = pytest.mark.runtime


@pytest.fixture(params=FEW, ids=str)
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


class Frames:
    """Frames from memory that are all there at once."""

    fps, live = 10.0, False

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from (noise((64, 96), seed) for seed in range(9))


@pytest.mark.parametrize(
    ("name", "options", "target", "every", "ahead"),
    [
        ("stretch", {}, None, 1, True),
        ("stretch", {}, "red", 3, True),
        ("stretch", {"method": "layercam"}, 1, 1, True),
        ("head", {}, None, 2, True),
        ("detect", {}, (0, None), 1, True),
        ("stretch", {}, [0, 2], 1, False),  # two runs per frame
        ("stretch", {}, -2, 1, False),  # the target is known behind the run
        ("stretch", {"smoothing": MapSmoothing(augmented=True)}, None, 1, False),
        ("detect", {}, Objects(most=2, confidence=0.1), 1, False),
    ],
)
def test_a_stream_shows_the_same_with_runs_under_way(
    opened: Open,
    name: str,
    options: dict[str, Any],
    target: Any,
    every: int,
    ahead: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing has to run again, the next frame is given to the model before this one is explained."""

    def shown(explainer: Explainer) -> tuple[list[Any], list[np.ndarray]]:
        records: list[Any] = []
        pictures: list[np.ndarray] = []
        sink = SimpleNamespace(write=lambda picture, time: pictures.append(picture.copy()))
        process(Frames(), explainer, sink, records.append, target=target, every=every)
        for record in records:
            for own in ("captured", "age", "timings_ms"):
                del record[own]
        return records, pictures

    with Explainer(model(name), threads=1, **options) as plain:
        expected = shown(plain)
    order: list[str] = []
    with opened(model(name)) as session:
        explainer = Explainer(session, **options)
        submit, explain = explainer.submit, explainer.explain
        explainer.submit = lambda *given: order.append("submit") or submit(*given)  # type: ignore
        explainer.explain = lambda *given: order.append("explain") or explain(*given)  # type: ignore
        slow = Reading.ready
        monkeypatch.setattr(Reading, "ready", lambda frames: time.sleep(0.005) or slow(frames))  # till one is there
        found = shown(explainer)
    assert found[0] == expected[0]
    for picture, wanted in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(picture, wanted)
    assert (order[:3] == ["submit", "submit", "explain"]) is ahead


def test_a_frame_is_not_held_back_for_the_next_one(opened: Open) -> None:
    """A live source's last overlay comes before its next frame does."""
    written = threading.Event()

    class Camera(Frames):
        live = True

        def __iter__(self) -> Iterator[np.ndarray]:
            for seed in range(3):
                written.clear()
                yield noise((64, 96), seed)
                assert written.wait(20)

    with opened(model("stretch")) as session:
        summary = process(Camera(), Explainer(session), record=lambda record: written.set())
    assert summary.frames == 3


def test_a_prediction_is_not_explained_with_another_frames_tensor(opened: Open) -> None:
    """Once the next frame is begun, a target that takes another run of this one comes too late."""
    with opened(model("stretch")) as session:
        explainer = Explainer(session)
        first = explainer.submit(noise((64, 96), 0)).result()
        explainer.submit(noise((64, 96), 1))
        with pytest.raises(UsageError, match="it is of frame 1, the model has seen frame 2 since"):
            explainer.explain(first, [0, 1])
        with pytest.raises(UsageError, match="explain it for the targets that it was submitted with"):
            explainer.explain(first, 1)
        explainer.explain(first)
        explainer.submit(noise((64, 96), 2))  # into the memory of the first
        with pytest.raises(UsageError, match="before the frame after the next is submitted"):
            explainer.explain(first)


@pytest.mark.parametrize("options", [{"method": "scorecam"}, {"smoothing": MapSmoothing(augmented=True)}])
def test_what_the_model_said_of_a_frame_outlives_runs_on_altered_ones(opened: Open, options: dict[str, Any]) -> None:
    """A run on an engine writes all outputs, also those that it is not asked for."""
    with opened(model("softmax")) as session:
        explainer = Explainer(session, **options)
        seen = explainer.predict(noise((64, 96), 7))
        said = {name: array.copy() for name, array in seen.outputs.items()}
        shares = seen.probabilities.copy()
        for target in (None, 1, [0, 2]):
            explainer.explain(seen, target)
            np.testing.assert_array_equal(seen.probabilities, shares)
            for name, array in said.items():
                np.testing.assert_array_equal(seen.outputs[name], array)


def test_an_error_in_a_stream_leaves_the_explainer_usable(opened: Open) -> None:
    """The run of the frame that was begun is given up."""

    def fail(record: dict[str, Any]) -> None:
        raise MediaError("disk full")

    with opened(model("stretch")) as session, Explainer(model("stretch"), threads=1) as expected:
        explainer = Explainer(session)
        for _ in range(3):
            with pytest.raises(MediaError) as caught:
                process(Frames(), explainer, record=fail)
            assert caught.value  # its traceback is held, as a debugger would
            same(explainer(noise((64, 96), 5)), expected(noise((64, 96), 5)))


def test_an_explainer_tells_the_first_error_on_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What closing says behind it is of no use."""
    gpu = Gpu()
    machine.install(monkeypatch, gpu)
    explainer = Explainer(machine.build(model("stretch"), tmp_path / "tiny.engine"))

    def fail() -> None:
        with explainer:
            run = explainer.submit(noise((64, 96), 0))
            gpu.broken = True
            run.result()

    with pytest.raises(EngineError, match="CUDA: cudaEventSynchronize failed: cudaErrorIllegalAddress"):
        fail()
    with pytest.raises(UsageError, match="the session is closed"):
        explainer.submit(noise((64, 96), 0))


@pytest.mark.parametrize("integrated", [False, True])
def test_the_halves_of_a_split_model_are_engines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, integrated: bool
) -> None:
    """What explains, and the tail, lie beside the engine that runs on every frame; the records name engines."""
    machine.install(monkeypatch, Gpu(integrated))
    folder, frame = exported_models.folder(), noise((26, 22), 3)
    contract = read_manifest(folder / exported_models.TAIL)
    split = contract.split
    assert split is not None
    assert split.tail is not None
    engines = {name: Path(name).with_suffix(".plan").name for name in (exported_models.TAIL, split.explain, split.tail)}
    names = {"explain": engines[split.explain], "tail": engines[split.tail]}
    contract = replace(contract, split=replace(split, **names))  # type: ignore[arg-type]
    for name, engine in engines.items():
        machine.build(folder / name, tmp_path / engine, manifest=contract)
    with pytest.raises(UsageError, match="it explains only; give the file beside it that runs on every frame"):
        Explainer(tmp_path / engines[split.explain])
    augmented = {"smoothing": MapSmoothing(augmented=True)}
    for options in (*({"method": name} for name in ("gradcam", "scorecam", "ablationcam")), augmented):
        with (
            Explainer(tmp_path / engines[exported_models.TAIL], **options) as found,
            Explainer(folder / exported_models.TAIL, **options) as expected,
        ):
            same(found(frame, [0, 3, 1]), expected(frame, [0, 3, 1]))


def test_the_command_line_takes_engines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install(monkeypatch, Gpu())
    engine = machine.build(model("stretch"), tmp_path / "tiny.engine")
    cv2.imwrite(str(tmp_path / "photo.png"), noise((64, 96)))
    for path, out in ((engine, "found"), (model("stretch"), "expected")):
        assert run_cli("explain", path, tmp_path / "photo.png", "-o", tmp_path / out) == 0
    found, expected = (np.load(tmp_path / out / "photo.cam.npy") for out in ("found", "expected"))
    np.testing.assert_array_equal(found, expected)
    write_video(tmp_path / "flight.avi", moving_square(4))
    for path, name in ((engine, "found.jsonl"), (model("stretch"), "expected.jsonl")):
        assert run_cli("stream", path, tmp_path / "flight.avi", "--records", tmp_path / name) == 0
    found, expected = (
        [json.loads(line)["targets"] for line in (tmp_path / name).read_text().splitlines()[1:]]  # behind the header
        for name in ("found.jsonl", "expected.jsonl")
    )
    assert found == expected
    assert len(found) == 4
    capsys.readouterr()
    assert run_cli("explain", engine, tmp_path / "photo.png", "-o", tmp_path / "out", "--threads", "2") == 2
    assert "threads were given (2), which are ONNX Runtime's" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert run_cli("explain", engine, tmp_path / "photo.png", "-o", tmp_path / "out") == 1
    assert "TensorRT: it is not installed; on a Jetson: sudo apt install python3-libnvinfer" in capsys.readouterr().err
