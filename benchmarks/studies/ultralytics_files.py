"""The files of many versions of Ultralytics: which there are, the pictures, and how each version writes its own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.files import make_folder

REFERENCE = Path(__file__).with_name("ultralytics_reference.py")
VERSIONS = ("8.0.52", "8.0.239", "8.1.47", "8.2.103", "8.3.253", "8.4.190")
NEWEST = VERSIONS[-1]
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
FORMS: dict[str, dict[str, bool]] = {
    "plain": {},
    "dynamic": {"dynamic": True},
    "half": {"half": True},
    "half, unfused": {"half": True},
    "nms": {"nms": True},
    "simplify": {"simplify": True},
    "rectangular": {},
    "end to end": {"nms": False},
    "agnostic": {"nms": False, "agnostic_nms": True},
}
PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
TRAINED = {"abd": (640,), "doclaynet": (1024,)}
"""Size of the networks with trained weights: of molecules, from a checkpoint, and of pages, exported already."""

CHECKPOINT = "abd-model/ABD_model/ABD.pt"
SQUARE, RECTANGLE = (320,), (256, 384)


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
        form = self.form.removesuffix(", unfused").replace(" ", "-")
        return f"{self.version}/{self.network}{TASKS[self.task]}/{form}"

    @property
    def is_fused(self) -> bool:
        """Return whether ONNX Runtime may fuse operators where the file is run."""
        return not self.form.endswith("unfused")

    def reference(self, which: str) -> str:
        """Return the name of the file with what predict finds by it: that of its `own` version or the `newest`."""
        return f"{which}.npz" if self.is_fused else f"{which}-unfused.npz"

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
        forms = ["plain", "dynamic", *(["half", "half, unfused", "nms"] if later else [])]
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
    yield Job(NEWEST, "yolo26n", "detect", "agnostic")
    yield from (Job(NEWEST, network, "detect", "plain") for network in ("yolov5n", "yolo11n", "yolo12n", "yolov10n"))
    yield Job("8.3.253", "yolo11n", "segment", "plain")
    yield from (Job("8.3.253", "abd", "detect", form) for form in ("plain", "nms"))
    yield from (Job(NEWEST, "abd", "detect", form) for form in ("plain", "dynamic", "half", "half, unfused", "nms"))
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
                "reference": job.reference(reference),
                "fused": job.is_fused,
                "weights": str(versions / CHECKPOINT) if job.network == "abd" else None,
            }
            for job in jobs()
            if (reference == "newest" or job.version == version)
            and job.pictures == kind
            and not (folder / job.folder / job.reference(reference)).exists()
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
