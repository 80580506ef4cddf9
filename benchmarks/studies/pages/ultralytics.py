"""`python -m aerocam.benchmarks.studies.pages.ultralytics`: files of many versions of Ultralytics, and its own predict.

Every version writes its networks, most with random weights, see `ultralytics_reference.py`; aerocam exports them
without flags, and what it finds in three pictures is compared with what the newest version's predict finds by the file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.errors import AerocamError
from aerocam.export import export_model
from aerocam.files import make_folder
from aerocam.manifest import Manifest
from aerocam.runtime import Explainer, Objects, read_picture
from aerocam.runtime.predictions.detections import Detection
from aerocam.runtime.predictions.objects import masks_at

RECORD, PAGE = "ultralytics.json", "ultralytics.md"
REFERENCE = Path(__file__).parents[1] / "ultralytics_reference.py"
VERSIONS = ("8.0.52", "8.0.239", "8.1.47", "8.2.103", "8.3.253", "8.4.190")
NEWEST = VERSIONS[-1]
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
FORMS: dict[str, dict[str, bool]] = {
    "plain": {},
    "dynamic": {"dynamic": True},
    "half": {"half": True},
    "nms": {"nms": True},
    "simplify": {"simplify": True},
    "rectangular": {},
    "end to end": {"nms": False},
}
PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
TRAINED = {"abd": (640,), "doclaynet": (1024,)}
"""Size of the networks with trained weights: of molecules, from a checkpoint, and of pages, exported already."""

CHECKPOINT = "abd-model/ABD_model/ABD.pt"
SQUARE, RECTANGLE = (320,), (256, 384)
ALIKE = 0.7
"""IoU from which two boxes of a class can be one object; the best pairs first."""


@dataclass(frozen=True)
class Job:
    """A file: by which version, of which network, in which form."""

    version: str
    network: str
    task: str
    form: str

    @property
    def folder(self) -> str:
        """Return its folder's name."""
        return f"{self.version}/{self.network}{TASKS[self.task]}/{self.form.replace(' ', '-')}"

    @property
    def size(self) -> tuple[int, ...]:
        """Return the size of its input."""
        if self.network in TRAINED:
            return TRAINED[self.network]
        return RECTANGLE if self.form == "rectangular" else SQUARE

    @property
    def pictures(self) -> str:
        """Return which pictures it is tried on."""
        return {"abd": "molecules", "doclaynet": "pages"}.get(self.network, "photographs")


def jobs() -> Iterator[Job]:
    """Yield all files: five tasks by every version, and what only some of them have."""
    for version in VERSIONS:
        later = version >= "8.3"  # versions before have no suppression in the graph, and on a CPU no float16
        forms = ["plain", "dynamic", *(["half", "nms"] if later else [])]
        for task in TASKS:
            yield from (Job(version, "yolov8n", task, form) for form in forms if (task, form) != ("classify", "nms"))
        if not later:
            yield Job(version, "yolov8n", "detect", "half")
    for version in ("8.2.103", "8.3.253"):  # later ones do so unasked
        yield from (Job(version, "yolov8n", task, "simplify") for task in ("detect", "segment"))
    yield from (Job(NEWEST, "yolov8n", task, "rectangular") for task in TASKS)
    for task in TASKS:
        yield Job(NEWEST, "yolo26n", task, "plain")
        if task != "classify":
            yield Job(NEWEST, "yolo26n", task, "end to end")
    yield from (Job(NEWEST, network, "detect", "plain") for network in ("yolov5n", "yolo11n", "yolo12n", "yolov10n"))
    yield Job("8.3.253", "yolo11n", "segment", "plain")
    yield from (Job("8.3.253", "abd", "detect", form) for form in ("plain", "nms"))
    yield from (Job(NEWEST, "abd", "detect", form) for form in ("plain", "dynamic", "half", "nms"))
    yield Job(NEWEST, "doclaynet", "detect", "plain")


def molecule(turn: float) -> NDArray[np.uint8]:
    """Return a drawing of two rings and what hangs on them, uint8 (560, 640, 3)."""
    frame = np.full((560, 640, 3), 255, np.uint8)

    def line(a: Any, b: Any) -> None:
        cv2.line(frame, (round(a[0]), round(a[1])), (round(b[0]), round(b[1])), (0, 0, 0), 3, cv2.LINE_AA)

    places = np.arange(6) * np.pi / 3 + np.pi / 6 + turn
    side = 80 * np.stack([np.cos(places), np.sin(places)], axis=1)
    middle = np.array([320, 280]) - (side[0] + side[5]) / 2
    for centre in (middle, middle + side[0] + side[5]):
        for i in range(6):
            line(centre + side[i], centre + side[(i + 1) % 6])
            if i % 2 == 0:
                line(centre + 0.82 * side[i], centre + 0.82 * side[(i + 1) % 6])
    for i, name in ((1, "O"), (2, "N"), (3, "OH"), (4, "Cl")):
        line(middle + side[i], middle + 1.8 * side[i])
        x, y = middle + 2.1 * side[i]
        cv2.putText(
            frame, name, (round(x - 12), round(y + 12)), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 3, cv2.LINE_AA
        )
    return frame


def write_pictures(folder: Path) -> dict[str, list[Path]]:
    """Write all pictures as PNG; return their files by what they show."""
    article, report = zoo.page("article"), zoo.page("report")
    shown: dict[str, list[NDArray[Any]]] = {
        "photographs": [zoo.photograph(name) for name in PHOTOGRAPHS],
        "molecules": [molecule(0), molecule(0.4), cv2.resize(molecule(0), (480, 500))],
        "pages": [article, report, article[: len(article) * 2 // 3]],
    }
    files: dict[str, list[Path]] = {}
    for kind, frames in shown.items():
        make_folder(folder / kind)
        files[kind] = [folder / kind / f"{i}.png" for i in range(len(frames))]
        for file, frame in zip(files[kind], frames, strict=True):
            cv2.imwrite(str(file), frame)
    return files


def write_files(versions: Path, folder: Path, pictures: Mapping[str, Sequence[Path]]) -> None:
    """Let every version write its files and find objects by them, then the newest find objects by all of them.

    Args:
        versions: A folder per version, with the package in it.
        folder: Where the files are; those that are there are not made again.
        pictures: Files by what they show.
    """
    make_folder(folder / "settings")
    for job in jobs():
        if job.network == "doclaynet" and not (folder / job.folder / "model.onnx").exists():
            make_folder(folder / job.folder)
            shutil.copy(zoo.yolov8n_doclaynet(), folder / job.folder / "model.onnx")
    runs = [*(("own", version) for version in VERSIONS), ("newest", NEWEST)]
    for (reference, version), kind in itertools.product(runs, pictures):
        todo: list[dict[str, Any]] = [
            {
                "folder": str(folder / job.folder),
                "name": f"{job.network}{TASKS[job.task]}",
                "size": job.size,
                "options": FORMS[job.form],
                "reference": f"{reference}.npz",
                "weights": str(versions / CHECKPOINT) if job.network == "abd" else None,
            }
            for job in jobs()
            if (reference == "newest" or job.version == version)
            and job.pictures == kind
            and not (folder / job.folder / f"{reference}.npz").exists()
            and not (
                (folder / job.folder / "failed.txt").exists() and not (folder / job.folder / "model.onnx").exists()
            )
        ]
        if not todo:
            continue
        file = folder / "jobs.json"
        file.write_text(json.dumps({"pictures": [str(path) for path in pictures[kind]], "jobs": todo}))
        environment = os.environ | {"PYTHONPATH": str(versions / version), "YOLO_CONFIG_DIR": str(folder / "settings")}
        subprocess.run([sys.executable, str(REFERENCE), str(file)], env=environment, check=False)


def row(job: Job, folder: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Return what came of a file."""
    said = {"version": job.version, "network": job.network, "task": job.task, "form": job.form}
    place = folder / job.folder
    if not (place / "newest.npz").exists():
        reason = place / "failed.txt"
        return said | {"absent": reason.read_text().splitlines()[0] if reason.exists() else "Ultralytics ended"}
    weights = onnx.load(place / "model.onnx").graph.initializer
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    if job.form == "half" and not half:
        return said | {"absent": "written in float32: on a CPU this version has no float16"}
    try:
        done = export_model(place / "model.onnx", place / "model.cam.onnx")
    except AerocamError as error:
        return said | {"refused": str(error).replace(str(place), "")}
    layers = [layer.name.replace("/model/", "/") for layer in done.manifest.layers]
    newest, own = np.load(place / "newest.npz"), place / "own.npz"
    reference = np.load(own) if job.task == "classify" else newest
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
"""


def page(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = result["rows"]
    shown = [entry for entry in rows if "cells" in entry]
    layers = {(entry["network"], entry["task"]): set[tuple[str, ...]]() for entry in shown}
    for entry in shown:
        layers[entry["network"], entry["task"]].add(tuple(entry["layers"]))
    several = [f"{network} {task}" for (network, task), kinds in layers.items() if len(kinds) > 1]
    columns = ("version", "network", "task", "form", *COLUMNS)
    ruler = " | ".join(["---"] * 4 + ["--:"] * len(COLUMNS))
    lines = [TEXT.format(newest=result["newest"]), f"| {' | '.join(columns)} |", f"| {ruler} |"]
    for entry in rows:
        head = f"| {entry['version']} | {entry['network']} | {entry['task']} | {entry['form']} |"
        if "cells" not in entry:
            why = f"refused: {entry['refused']}" if "refused" in entry else f"not written: {entry['absent']}"
            lines.append(f"{head} {why} {'|' * len(COLUMNS)}")
            continue
        figures = [f"{entry[name]:.2g}" if name in entry else "" for name in FIGURES]
        counts = [str(entry.get(name, "")) for name in ("objects", "classes", "unmatched")]
        own = "" if entry["task"] == "classify" else "others" if entry["own"] is None else f"{entry['own']:.2g}"
        lines.append(f"{head} {' | '.join([*counts, *figures, str(entry['cells']), own])} |")
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
