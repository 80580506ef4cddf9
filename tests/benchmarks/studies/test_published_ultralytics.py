"""The page on Ultralytics' files: objects of both sides are matched, and what is apart is measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.benchmarks.studies.pages.ultralytics import COLUMNS, alone, apart, differences, matched, page
from aerocam.benchmarks.studies.ultralytics_files import Job, jobs
from aerocam.runtime.predictions.detections import Detection

SHAPE = (100, 200, 3)


def test_objects_are_matched_by_class_and_box() -> None:
    """The second target has the same box as the first, but another class; the third no partner."""
    found = [
        Detection(0, "a", 0.9, (10, 10, 50, 50), 1),
        Detection(1, "b", 0.8, (10, 10, 50, 50), 2),
        Detection(0, "a", 0.7, (100, 10, 150, 50), 3),
    ]
    theirs = np.array([[10, 10, 50, 51, 0.8, 1], [11, 10, 50, 50, 0.9, 0], [100, 60, 150, 90, 0.7, 2]])
    assert sorted(matched(found, theirs, SHAPE)) == [(0, 1), (1, 0)]
    apart_by = dict(differences(found, (), {"0.boxes": theirs}, 0, [(0, 1), (1, 0)]))
    assert apart_by["box"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert apart_by["score"].tolist() == [0, 0]


def test_rotated_boxes_are_compared_whatever_corner_comes_first() -> None:
    polygon = ((50.0, 30.0), (50.0, 70.0), (30.0, 70.0), (30.0, 30.0))
    found = [Detection(0, "a", 0.9, (30, 30, 50, 70), 1, polygon)]
    theirs = np.array([[40, 50, 20, 40, 0.01, 0.9, 0]])
    assert matched(found, theirs, SHAPE) == [(0, 0)]
    apart_by = dict(differences(found, (), {"0.obb": theirs}, 0, [(0, 0)]))
    assert apart_by["angle"] == pytest.approx([0.01])
    assert apart_by["corner"].max() == pytest.approx(np.hypot(10, 20) * 0.01, rel=0.01)


def test_masks_are_compared_by_their_overlap() -> None:
    ours, theirs = np.zeros((2, 4, 4), bool)
    ours[:2], theirs[:, :2] = True, True
    found = [Detection(0, "a", 0.9, (0, 0, 4, 4), 1)]
    reference = {"0.boxes": np.array([[0, 0, 4, 4, 0.9, 0]]), "0.masks": theirs[None]}
    assert dict(differences(found, [ours], reference, 0, [(0, 0)]))["mask"] == pytest.approx([1 - 4 / 12])


def test_two_predicts_that_find_others() -> None:
    boxes = {"0.boxes": np.array([[0, 0, 4, 4, 0.9, 0]])}
    assert apart(boxes, {"0.boxes": boxes["0.boxes"] + 0.25}, 1) == 0.25
    assert apart({"0.boxes": np.zeros((0, 6))}, boxes, 1) is None


def test_predict_is_compared_with_itself(tmp_path: Path) -> None:
    job, rotated = Job("8.4.190", "abd", "obb", "half, unfused"), np.array([[40, 50, 20, 40, 0.2, 0.9, 0]])
    another = np.array([[40, 80, 20, 40, 0.2, 0.9, 1]])
    (tmp_path / job.folder).mkdir(parents=True)
    for name, rows in (("newest", rotated), ("newest-unfused", np.vstack([rotated, another]))):
        np.savez(tmp_path / job.folder / name, **{"0.obb": rows})
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros(SHAPE, np.uint8))
    found = alone(job, tmp_path, [tmp_path / "picture.png"])
    assert (found["objects"], found["classes"], found["unmatched"], found["score"]) == (2, 2, 1, 0)
    assert max(found["corner"], found["angle"]) < 1e-6


def test_the_page_has_every_row() -> None:
    head = {"version": "8.4.190", "network": "yolov8n", "task": "detect"}
    figures = {"objects": 7, "classes": 4, "unmatched": 0, "cells": 12, "score": 0.0, "box": 3e-5, "own": 0.5}
    rows = [
        {**head, "form": "plain", "layers": ["a"], **figures},
        {**head, "form": "half", "absent": "no"},
        {**head, "form": "nms", "layers": ["b"], **figures},
    ]
    shown = page({"newest": "8.4.190", "rows": rows})
    assert "| 8.4.190 | yolov8n | detect | plain | 7 | 4 | 0 | 0 | 3e-05 |  |  |  |  | 12 | 0.5 |" in shown
    assert "| 8.4.190 | yolov8n | detect | half | not written: no |" in shown
    assert "the same in all versions and forms, but for yolov8n detect." in shown
    assert {line.count("|") for line in shown.splitlines() if line.startswith("| 8")} == {len(COLUMNS) + 5}


def test_every_file_has_a_folder_of_its_own_and_every_reference_a_name() -> None:
    places = [(job.folder, job.reference("own")) for job in jobs()]
    assert len(set(places)) == len(places)
    assert len({job.folder for job in jobs() if job.is_fused}) == len({job.folder for job in jobs()})
    assert {job.task for job in jobs()} == {"detect", "segment", "pose", "obb", "classify"}
