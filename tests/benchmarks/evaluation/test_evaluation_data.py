"""Pictures and their truth: the forms of labels, and their way to the model's input tensor."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tiny_models
from aerocam.benchmarks.evaluation.case import Truth
from aerocam.benchmarks.evaluation.metrics import Metric
from aerocam.benchmarks.evaluation.pictures import Sample, find_data
from aerocam.benchmarks.evaluation.settings import MethodSpec
from aerocam.benchmarks.evaluation.subject import FileSubject, ModelUnderTest
from aerocam.benchmarks.evaluation.task import lacking
from aerocam.benchmarks.evaluation.truth import classes_of, placed
from aerocam.errors import MediaError, UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.preprocess import Placement
from runtime_fixtures import noise

BOX = (40.0, 20.0, 60.0, 30.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, with a mask of the first in a folder of its own."""
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), noise((80, 160)))
    mask = np.zeros((80, 160), np.uint8)
    mask[20:30, 40:60] = 255
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/a.png"), mask)
    return tmp_path


def labelled(folder: Path, rows: Any) -> tuple[Sample, ...]:
    """The samples of the pictures with these labels."""
    (folder / "labels.json").write_text(json.dumps(rows))
    return find_data(folder).samples


def test_a_list_a_dictionary_and_csv_say_the_same(folder: Path) -> None:
    rows = [
        {"file": "a.png", "label": 3, "boxes": [BOX, [0, 0, 9, 9]], "mask": "masks/a.png"},
        {"file": "b.png", "label": "red"},
    ]
    first = labelled(folder, rows)
    assert [one.name for one in first] == ["a.png", "b.png"]
    assert first[0].labels == (3,)
    assert first[0].boxes == (BOX, (0.0, 0.0, 9.0, 9.0))
    assert first[0].mask == str(folder / "masks/a.png")
    assert first[1].labels == ("red",)
    assert (
        labelled(folder, {"a.png": {"labels": [3], **{k: rows[0][k] for k in ("boxes", "mask")}}, "b.png": "red"})
        == first
    )
    (folder / "labels.json").unlink()
    (folder / "labels.csv").write_text(
        "file,label,x0,y0,x1,y1,mask\na.png,3,40,20,60,30,masks/a.png\na.png,3,0,0,9,9,\nb.png,red,,,,,\n"
    )
    assert find_data(folder).samples == first


def test_a_mosaic_has_a_sample_for_each_of_its_cells(folder: Path) -> None:
    rows = [{"file": "a.png", "label": 10 + cell, "cells": 2, "cell": cell} for cell in range(4)]
    found = labelled(folder, [*rows, {"file": "b.png", "labels": [1, 2]}])
    assert [(one.name, one.row, one.labels, one.cells, one.cell) for one in found] == [
        *(("a.png", cell, (10 + cell,), 2, cell) for cell in range(4)),
        ("b.png", 0, (1, 2), 0, -1),
    ]
    place = Placement((80, 160), (80, 160), (80, 160), (0, 0))
    truth = placed(found[2], place)
    assert truth.mask is not None
    height, width = truth.mask.shape
    assert (truth.cells, truth.cell, truth.boxes) == (2, 2, ((0, height / 2, width / 2, height),))
    assert truth.mask.sum() == truth.mask[height // 2 :, : width // 2].sum() == height * width / 4


def test_the_number_at_the_end_of_every_name_is_the_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    for name in ("imagenet_00_243.png", "imagenet_01_7.png"):
        cv2.imwrite(str(tmp_path / name), noise((8, 8)))
    assert [one.labels for one in find_data(tmp_path).samples] == [(243,), (7,)]
    cv2.imwrite(str(tmp_path / "other.png"), noise((8, 8)))
    found = find_data(tmp_path)
    assert [one.labels for one in found.samples] == [(), (), ()]
    assert found.truth == "none: the model's own top class"
    (said,) = caplog.messages
    assert "no name is taken for a label, as other.png does not end in _ and a number" in said


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({}, "its row in labels.json has no label, one is expected; add it"),
        ({"label": 1.5}, "label 1.5, an index or a name is expected"),
        ({"label": 1, "boxes": [[5, 0, 4, 9]]}, "box [5, 0, 4, 9], x0 < x1 and y0 < y1 are expected"),
        ({"label": 1, "boxes": [5, 0, 9, 9]}, "box 5, four numbers x0, y0, x1, y1 are expected"),
        ({"label": 1, "boxes": [[5, 0, 4]]}, "four numbers x0, y0, x1, y1 are expected"),
        ({"label": 1, "cells": 2, "cell": 4}, "cell 4, 0 to 3 is expected of 2 cells along each side"),
    ],
)
def test_a_wrong_row_is_a_fault_of_its_picture(folder: Path, row: dict[str, Any], fault: str) -> None:
    first, second = labelled(folder, [{"file": "a.png", **row}, {"file": "b.png", "label": 1}])
    assert fault in first.fault
    assert second.fault == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read it"),
        ("[1]", "found no rows with a file each"),
        ('[{"file": "a.png", "lable": 1}]', "found the fields lable, expected file, label"),
    ],
)
def test_labels_that_cannot_be_read_end_the_run(folder: Path, text: str, message: str) -> None:
    (folder / "labels.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_data(folder)


def test_boxes_and_masks_go_through_the_crop(folder: Path) -> None:
    # 80x160 becomes 40x80, of which 4 rows above and 16 columns on the left are cut off.
    place = Placement.of(Preprocess("images", (32, 48), resize="crop", short_side=40), (80, 160))
    outside = (0.0, 0.0, 30.0, 80.0)
    row = {"file": "a.png", "label": 1, "boxes": [BOX, outside], "mask": "masks/a.png"}
    truth = placed(labelled(folder, [row])[0], place)
    assert truth.boxes == ((4.0, 6.0, 14.0, 11.0),)
    expected = np.zeros((32, 48), bool)
    expected[6:11, 4:14] = True
    np.testing.assert_array_equal(truth.mask, expected)


def test_a_mask_goes_into_a_letterbox(folder: Path) -> None:
    place = Placement.of(Preprocess("images", (48, 48), resize="letterbox"), (80, 160))
    truth = placed(labelled(folder, [{"file": "a.png", "label": 1, "mask": "masks/a.png"}])[0], place)
    # 80x160 becomes 24x48, 12 rows from the top.
    expected = np.zeros((48, 48), bool)
    expected[12 + 6 : 12 + 9, 12:18] = True
    np.testing.assert_array_equal(truth.mask, expected)
    assert truth.boxes == ((12.0, 18.0, 18.0, 21.0),)  # there is no other


def test_what_the_model_does_not_see_is_no_truth(folder: Path) -> None:
    place = Placement.of(Preprocess("images", (40, 20), resize="crop", short_side=40), (80, 160))
    row = {"file": "a.png", "label": 1, "boxes": [[0, 0, 50, 80]], "mask": "masks/a.png"}
    assert placed(labelled(folder, [row])[0], place) == Truth()


def test_a_mosaic_whose_cells_are_moved_is_refused() -> None:
    sample = Sample("a.png", "a.png", cells=3, cell=1)
    # Thirds at 16 px are wanted: a crop of 120 columns to 48 has one at 40 - 36, a letterbox of 24 rows one at 12 + 8.
    for resize, apart in (("crop", 12), ("letterbox", 4)):
        place = Placement.of(Preprocess("images", (48, 48), resize=resize, short_side=60), (80, 160))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=f"its cells are {apart} px from where they are expected"):
            placed(sample, place)
        # what is cut off or added is alike on both sides: the line between two cells stays in the middle
        assert placed(replace(sample, cells=2), place).boxes == ((24, 0, 48, 24),)
    assert placed(sample, Placement.of(Preprocess("images", (48, 48)), (80, 160))).boxes == ((16, 0, 32, 16),)


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    place = Placement((8, 8), (8, 8), (8, 8), (0, 0))
    with pytest.raises(MediaError, match="the mask is 160x80 px, 8x8 as the picture is expected"):
        placed(Sample("a.png", "a.png", mask=str(folder / "masks/a.png")), place)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_a_graded_mask_is_refused_and_one_of_any_colour_is_not(suffix: str, tmp_path: Path) -> None:
    path, place = tmp_path / f"mask.{suffix}", Placement((80, 160), (80, 160), (80, 160), (0, 0))
    blurred = cv2.GaussianBlur(np.pad(np.full((20, 20), 255, np.float32), ((30, 30), (70, 70))), (0, 0), 4)
    soft = {"png": (blurred * 257).astype(np.uint16), "jpg": blurred.astype(np.uint8), "tiff": blurred / 255}[suffix]
    cv2.imwrite(str(path), soft)
    with pytest.raises(MediaError, match="found a mask of more than two levels, expected black and one other"):
        placed(Sample("a.png", "a.png", mask=str(path)), place)
    flat = np.zeros((80, 160, 3), np.uint8)
    flat[30:50, 70:90] = (0, 1, 9)
    cv2.imwrite(str(tmp_path / "flat.png"), flat)
    assert placed(Sample("a.png", "a.png", mask=str(tmp_path / "flat.png")), place).boxes == ((70, 30, 90, 50),)


def test_the_second_class_is_the_second_label_or_the_best_other_class() -> None:
    shares = np.array([0.1, 0.5, 0.1, 0.3], np.float32)
    with ModelUnderTest(str(tiny_models.model("stretch"))) as model:
        known = model.manifest
    assert classes_of(Sample("", ""), known, shares) == (1, 3)
    assert classes_of(Sample("", "", labels=("red",)), known, shares) == (0, 1)
    assert classes_of(Sample("", "", labels=(1, "blue")), known, shares) == (1, 2)


@pytest.mark.parametrize("name", ["stretch", "softmax", "sigmoid", "gray", "bgr"])
def test_a_subject_gives_logits_probabilities_and_black(name: str) -> None:
    channels = 1 if name == "gray" else 3
    tensors = np.random.default_rng(0).random((2, channels, 32, 48)).astype(np.float32)
    with ModelUnderTest(str(tiny_models.model(name))) as model:
        subject = FileSubject(model, MethodSpec("gradcam", "gradcam"))
        logits = tensors.mean(axis=(2, 3)) @ tiny_models.WEIGHTS[:, :channels].T
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        if name == "sigmoid":
            shares = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(subject.probabilities(tensors), shares, rtol=1e-4)
        if name == "softmax":  # up to a number added to all, another one for each tensor: no curve can be made of them
            with pytest.raises(UsageError, match="ends in softmax, which leaves its logits open"):
                subject.logits(tensors)
        else:
            np.testing.assert_allclose(subject.logits(tensors), logits, atol=1e-5)
        assert subject.classes == 4
        assert subject.reads_gradients
        black = {"bgr": [-10 / 50, -20 / 60, -30 / 70]}.get(name, [0.0] * channels)
        np.testing.assert_allclose(subject.fill, black, rtol=1e-6)
        assert model.counts.forward == 2
        assert model.counts.known == (0 if name == "softmax" else 2)


def test_maps_are_kept_and_cannot_be_written_to() -> None:
    tensor = np.random.default_rng(0).random((1, 3, 32, 48)).astype(np.float32)
    with ModelUnderTest(str(tiny_models.model("stretch"))) as model:
        subject = FileSubject(model, MethodSpec("gradcam", "gradcam"))
        first, again, other = subject.explain(tensor, 0), subject.explain(tensor.copy(), 0), subject.explain(tensor, 1)
    assert again is first
    assert not np.array_equal(other.map, first.map)
    with pytest.raises(ValueError, match="read-only"):
        first.map[0, 0] = 1


def test_what_a_metric_needs_is_looked_for() -> None:
    def needing(*needs: Any) -> Metric:
        return Metric("one", "", float, "higher", "", "", frozenset(needs))

    mask = np.ones((2, 2), bool)
    assert lacking(needing("box", "mask"), Truth(((0, 0, 1, 1),)), 1, True) == ["mask"]
    assert lacking(needing("box", "mask"), Truth(mask=mask), 1, True) == ["box"]
    assert lacking(needing("mosaic", "gradients", "second class"), Truth(), -1, False) == [
        "mosaic",
        "gradients",
        "second class",
    ]
    assert lacking(needing("mosaic"), Truth(cells=2, cell=0), -1, False) == []
