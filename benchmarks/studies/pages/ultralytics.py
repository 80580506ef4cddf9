"""`python -m aerocam.benchmarks.studies.pages.ultralytics`: files of many versions of Ultralytics, and its own predict.

Every version writes its networks, most with random weights, see `ultralytics_reference.py`; aerocam exports them
without flags, and what it finds in three pictures is compared with what the newest version's predict finds by the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.benchmarks.studies.ultralytics_files import NEWEST, Job, jobs, write_files, write_pictures
from aerocam.errors import AerocamError
from aerocam.export import export_model
from aerocam.manifest import Manifest
from aerocam.runtime import Explainer, Objects, read_picture
from aerocam.runtime.predictions.detections import Detection
from aerocam.runtime.predictions.objects import masks_at

RECORD, PAGE = "ultralytics.json", "ultralytics.md"
ALIKE = 0.7
"""IoU from which two boxes of a class can be one object; the best pairs first."""


def row(job: Job, folder: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Return what came of a file."""
    said = {"version": job.version, "network": job.network, "task": job.task, "form": job.form}
    place = folder / job.folder
    if not (place / job.reference("newest")).exists():
        reason = place / "failed.txt"
        return said | {"absent": reason.read_text().splitlines()[0] if reason.exists() else "Ultralytics ended"}
    weights = onnx.load(place / "model.onnx").graph.initializer
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    if job.form.startswith("half") and not half:
        return said | {"absent": "written in float32: on a CPU this version has no float16"}
    try:
        done = export_model(place / "model.onnx", place / "model.cam.onnx")
    except AerocamError as error:
        return said | {"refused": str(error).replace(str(place), "")}
    layers = [layer.name.replace("/model/", "/") for layer in done.manifest.layers]
    newest, own = np.load(place / job.reference("newest")), place / job.reference("own")
    reference = np.load(own) if job.task == "classify" else newest
    from aerocam.benchmarks.studies.ultralytics_reference import unfused  # of PyTorch, which is here alone

    with nullcontext() if job.is_fused else unfused():
        figures = compare(done.path, done.manifest, reference, pictures)
    done.path.unlink()
    away = apart(np.load(own), newest, len(pictures)) if own.exists() else None
    return said | {"layers": layers, "own": away} | figures


def compare(file: Path, manifest: Manifest, reference: Mapping[str, Any], pictures: Sequence[Path]) -> dict[str, Any]:
    """Return how far aerocam's answers are from those of predict, at the most over all pictures."""
    worst: dict[str, float] = {}
    objects, classes, cells, unmatched = [], [], [], 0

    def note(name: str, values: Any) -> None:
        worst[name] = max(worst.get(name, 0.0), float(np.max(values, initial=0)))

    with Explainer(file) as explainer:
        for i, path in enumerate(pictures):
            frame = read_picture(path)
            prediction = explainer.predict(frame)
            if manifest.boxes is None:
                theirs = reference[f"{i}.probs"]
                note("score", np.abs(prediction.probabilities - theirs))
                unmatched += int(prediction.probabilities.argmax() != theirs.argmax())
            else:
                found = Objects(most=300).find(prediction.outputs, manifest, prediction.placement)
                theirs = reference[f"{i}.obb" if f"{i}.obb" in reference else f"{i}.boxes"]
                pairs = matched(found, theirs, frame.shape)
                unmatched += len(found) + len(theirs) - 2 * len(pairs)
                objects.append(len(theirs))
                classes.append(len(set(theirs[:, -1])))
                masks: Sequence[NDArray[np.bool_]] = ()
                if manifest.boxes.masks is not None:
                    anchors = np.array([item.anchor for item in found])
                    masks = masks_at(prediction.outputs, manifest.boxes, anchors, prediction.placement.tensor_size)
                for name, values in differences(found, masks, reference, i, pairs):
                    note(name, values)
            explanation = explainer(frame, Objects(most=3)) if manifest.boxes is not None else explainer(frame)
            for k in range(len(explanation.targets)):
                cells.append(sum(int((raw[k] != 0).sum()) for raw in explanation.raws))
    least = {"objects": min(objects), "classes": min(classes)} if objects else {}
    return {**least, "unmatched": int(unmatched), "cells": min(cells), **worst}


def alone(job: Job, folder: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Return how far predict's own answers by a float16 file are from those where ONNX Runtime fuses nothing."""
    fused, unfused = (np.load(folder / job.folder / name) for name in ("newest.npz", job.reference("newest")))
    kind = "obb" if "0.obb" in fused else "boxes"
    worst: dict[str, float] = {}
    unmatched, counts, classes = 0, [], []
    for i, path in enumerate(pictures):
        theirs = unfused[f"{i}.{kind}"]
        found = [_detection(rows, k) for k, rows in enumerate(fused[f"{i}.{kind}"])]
        pairs = matched(found, theirs, read_picture(path).shape)
        unmatched += len(found) + len(theirs) - 2 * len(pairs)
        counts.append(len(theirs))
        classes.append(len(set(theirs[:, -1])))
        for name, values in differences(found, (), {f"{i}.{kind}": theirs}, i, pairs):
            worst[name] = max(worst.get(name, 0.0), float(np.max(values, initial=0)))
    said = {"version": job.version, "network": job.network, "task": job.task, "form": "half, predict alone"}
    return said | {"objects": min(counts), "classes": min(classes), "unmatched": unmatched} | worst


def _detection(numbers: NDArray[Any], anchor: int) -> Detection:
    """Return a row of predict as one of aerocam's."""
    polygon = corners(numbers[None])[0] if len(numbers) == 7 else None
    box = numbers[:4] if polygon is None else np.concatenate([polygon.min(axis=0), polygon.max(axis=0)])
    shape = () if polygon is None else tuple(map(tuple, polygon.tolist()))
    return Detection(int(numbers[-1]), "", float(numbers[-2]), tuple(box.tolist()), anchor, shape)


def matched(found: Sequence[Detection], theirs: NDArray[Any], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return which object is which row of predict's: the same class, boxes that overlap, best pairs first."""
    if not len(theirs) or not found:
        return []
    ours = np.array([item.box for item in found])
    around = corners(theirs) if theirs.shape[1] == 7 else theirs[:, :4].reshape(-1, 2, 2)
    rows = np.concatenate([around.min(axis=1), around.max(axis=1)], axis=1)
    height, width = shape[:2]
    rows = np.clip(rows, 0, [width, height, width, height])
    low, high = np.maximum(ours[:, None, :2], rows[None, :, :2]), np.minimum(ours[:, None, 2:], rows[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, rows)]
    iou = both / np.maximum(sizes[0][:, None] + sizes[1][None] - both, 1e-9)
    labels, scores = np.array([item.index for item in found]), np.array([item.score for item in found])
    near = np.abs(scores[:, None] - theirs[None, :, -2])
    iou = np.where(labels[:, None] == theirs[None, :, -1], np.maximum(iou, (near < 1e-6) * ALIKE) - near, 0)
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(place), len(theirs))
        if iou[i, j] < ALIKE - 0.01:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def differences(
    found: Sequence[Detection],
    masks: Sequence[NDArray[np.bool_]],
    reference: Mapping[str, Any],
    picture: int,
    pairs: Sequence[tuple[int, int]],
) -> Iterator[tuple[str, Any]]:
    """Yield what is compared of matched objects, and how far it is apart."""
    targets = [found[i] for i, _ in pairs]
    rows = [j for _, j in pairs]
    rotated = f"{picture}.obb" in reference
    theirs = reference[f"{picture}.obb" if rotated else f"{picture}.boxes"][rows]
    yield "score", np.abs([target.score for target in targets] - theirs[:, -2])
    if rotated:
        ours = np.array([target.polygon for target in targets]).reshape(-1, 4, 2)
        away = np.linalg.norm(ours[:, :, None] - corners(theirs)[:, None], axis=-1)
        yield "corner", away.min(axis=2)
        turned = np.arctan2(*(ours[:, 1] - ours[:, 0]).T[::-1]) - theirs[:, 4]
        yield "angle", np.abs((turned + np.pi / 4) % (np.pi / 2) - np.pi / 4)
    else:
        yield "box", np.abs(np.array([target.box for target in targets]).reshape(-1, 4) - theirs[:, :4])
    if f"{picture}.keypoints" in reference:
        points = reference[f"{picture}.keypoints"][rows]
        yield "keypoint", np.abs(np.array([target.keypoints for target in targets]).reshape(points.shape) - points)
    if f"{picture}.masks" in reference:
        filled = reference[f"{picture}.masks"][rows] > 0
        ours = np.array([masks[i] for i, _ in pairs]).reshape(filled.shape)
        both, either = (ours & filled).sum((1, 2)), (ours | filled).sum((1, 2))
        yield "mask", 1 - both / np.maximum(either, 1)


def corners(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the corners of rows of predict that begin with centre, size and angle: (n, 4, 2)."""
    angle = rows[:, 4]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rows[:, 2:3] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * rows[:, 3:4] / 2
    middle = rows[:, :2]
    return np.stack([middle + a * along + b * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))], axis=1)


def apart(own: Mapping[str, Any], newest: Mapping[str, Any], count: int) -> float | None:
    """Return how far the boxes of two versions' predict are apart at the most, px; None where they find others."""
    worst = 0.0
    for i in range(count):
        for name in (f"{i}.boxes", f"{i}.obb"):
            if name in newest:
                if name not in own or own[name].shape != newest[name].shape:
                    return None
                worst = max(worst, float(np.abs(own[name][:, :4] - newest[name][:, :4]).max(initial=0)))
    return worst


def measure(versions: Path, folder: Path) -> dict[str, Any]:
    """Return all rows."""
    pictures = write_pictures(folder / "pictures")
    write_files(versions, folder, pictures)
    rows = []
    for job in jobs():
        rows.append(row(job, folder, pictures[job.pictures]))
        if not job.is_fused and job.task != "classify" and "cells" in rows[-1]:
            rows.append(alone(job, folder, pictures[job.pictures]))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"newest": NEWEST, "rows": rows}


FIGURES = ("score", "box", "corner", "angle", "keypoint", "mask")
COLUMNS = ("objects", "classes", "others", *FIGURES, "cells", "own")
TEXT = """# What Ultralytics exports, and its own predict

`make ultralytics` wrote this page and `ultralytics.json`. Networks of random weights, whose heads were set up so that
each of three photographs (chelsea, coffee, rocket) has objects of several classes, and two trained ones, of molecules
(abd, on drawings) and of pages (doclaynet, from version 8.4.8), are exported by every version, then by `aerocam export`
without flags, self-check included.

Compared with what the predict of Ultralytics {newest} finds by the same file (`conf` 0.25, `iou` 0.7, `rect=False`):
the largest difference over all objects of all pictures; classifiers, which the versions preprocess differently, with
that of the version itself. `objects` and `classes` are the least of a picture, `others`
counts objects that only one of both has; boxes, corners and keypoints in px of the picture, angles in radians modulo a
quarter turn, masks as 1 - IoU. `cells` is how many cells of a map are not 0, the least of the three best objects.
`own` is how far the boxes of the version's own predict are from the newest one's, in px: versions before 8.4 undo the
letterbox with one scale for both sides, those before 8.3 also clip and turn rotated boxes.

In float16 (`half`) ONNX Runtime on a CPU computes in float32 and rounds to float16 what it does not fuse; whatever else
leaves the graph, as aerocam's layers do, changes where it rounds, and so which of two boxes with near scores is left.
`half, unfused` is the same file where ONNX Runtime may fuse nothing, for aerocam and for predict. `half, predict alone`
is predict with fusions against predict without them, aerocam apart: so far float16 alone moves the answers.
"""


def page(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = result["rows"]
    shown = [entry for entry in rows if "layers" in entry]
    layers = {(entry["network"], entry["task"]): set[tuple[str, ...]]() for entry in shown}
    for entry in shown:
        layers[entry["network"], entry["task"]].add(tuple(entry["layers"]))
    several = [f"{network} {task}" for (network, task), kinds in layers.items() if len(kinds) > 1]
    columns = ("version", "network", "task", "form", *COLUMNS)
    ruler = " | ".join(["---"] * 4 + ["--:"] * len(COLUMNS))
    lines = [TEXT.format(newest=result["newest"]), f"| {' | '.join(columns)} |", f"| {ruler} |"]
    for entry in rows:
        head = f"| {entry['version']} | {entry['network']} | {entry['task']} | {entry['form']} |"
        if "absent" in entry or "refused" in entry:
            why = f"refused: {entry['refused']}" if "refused" in entry else f"not written: {entry['absent']}"
            lines.append(f"{head} {why} {'|' * len(COLUMNS)}")
            continue
        figures = [f"{entry[name]:.2g}" if name in entry else "" for name in FIGURES]
        counts = [str(entry.get(name, "")) for name in ("objects", "classes", "unmatched")]
        own = (
            ""
            if entry["task"] == "classify" or "own" not in entry
            else "others"
            if entry["own"] is None
            else f"{entry['own']:.2g}"
        )
        lines.append(f"{head} {' | '.join([*counts, *figures, str(entry.get('cells', '')), own])} |")
    same = "The layers of a network and task are the same in all versions and forms"
    lines += ["", f"{same}." if not several else f"{same}, but for {', '.join(several)}.", ""]
    return "\n".join(lines)


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=Path, required=True, help="a folder per version, with the package in it")
    parser.add_argument("--files", type=Path, required=True, help="where the files are kept")
    given = parser.parse_args()
    measuring = partial(measure, given.versions.resolve(), given.files.resolve())
    return publish("ultralytics", measuring, page, RECORD, PAGE)


if __name__ == "__main__":
    sys.exit(main())
