"""The pictures of an evaluation, and what is known of each: `labels.json`, `labels.csv`, or the file names.

`labels.json` is a list of rows, or a dictionary from files to rows. A row has `file`, `label` (an index or a name; or
`labels`, of which the second is the second class), and if known `boxes` (each x0, y0, x1, y1 in picture px, edges),
`mask` (a picture file of two levels; what is not black is the object), and for a mosaic `cells` and `cell`, which is
the mask then.
`labels.csv` has the columns file, label, and if known x0, y0, x1, y1, mask, cells, cell; rows of the same file and
label are boxes of one target. Several labels of a file in several rows are several targets.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aerocam.errors import UsageError
from aerocam.foreign import parse_json, read_text
from aerocam.geometry import Box

logger = logging.getLogger(__name__)

Label = int | str

FIELDS = ("file", "label", "labels", "boxes", "mask", "cells", "cell")
COLUMNS = ("file", "label", "x0", "y0", "x1", "y1", "mask", "cells", "cell")
NUMBERED = re.compile(r"_(\d+)$")
"""How file names end that carry the class, as foolbox's pictures have them: imagenet_03_153.jpg."""


@dataclass(frozen=True)
class Sample:
    """A picture and one target in it.

    Attributes:
        name: Of the file, as messages and records have it.
        path: Of the file, absolute.
        row: Which of the targets of this file.
        labels: The target's class, and perhaps a second one; empty: the model's own top class.
        boxes: (x0, y0, x1, y1) each, in picture px.
        mask: A picture of where the target is; empty: none.
        cells: Of a mosaic, see `case.Truth`.
        cell: Of a mosaic, see `case.Truth`.
        fault: Why nothing can be measured on it; empty if all is well.
    """

    name: str
    path: str
    row: int = 0
    labels: tuple[Label, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: str = ""
    cells: int = 0
    cell: int = -1
    fault: str = ""


@dataclass(frozen=True)
class Data:
    """The pictures of an evaluation.

    Attributes:
        samples: One per picture and target, in the order of the files.
        truth: Where their classes come from, for the result.
    """

    samples: tuple[Sample, ...]
    truth: str


def find_data(folder: str | Path) -> Data:
    """Find the pictures in a folder that `aerocam explain` takes, and read their labels.

    Raises:
        UsageError: The folder does not exist or holds no picture, or its labels cannot be read.
    """
    from aerocam.runtime.frames.picture_files import find_pictures

    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: found no such folder, one with pictures is expected; check --data")
    rows = _rows(folder)
    masks = {str(one.get("mask")) for row in (rows or {}).values() for one in row}
    paths = [path for path in map(Path, find_pictures([str(folder)])) if path.name not in masks]
    if rows is not None:
        file = "labels.json" if (folder / "labels.json").exists() else "labels.csv"
        return Data(tuple(_labelled(paths, rows, folder, file)), file)
    plain = [Sample(path.name, str(path.resolve())) for path in paths]
    endings = [NUMBERED.search(path.stem) for path in paths]
    if all(endings):
        named = [replace(one, labels=(int(ending[1]),)) for one, ending in zip(plain, endings, strict=True) if ending]
        return Data(tuple(named), "the number at the end of each file's name")
    if any(endings):
        other = next(one.name for one, ending in zip(plain, endings, strict=True) if not ending)
        logger.warning(
            "%s: no name is taken for a label, as %s does not end in _ and a number; rename it, or write labels.json",
            folder,
            other,
        )
    return Data(tuple(plain), "none: the model's own top class")


def _labelled(
    paths: Sequence[Path], rows: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path, file: str
) -> list[Sample]:
    """Make one sample per row of a picture; pictures without a row, and rows without a picture, are faults."""
    samples = []
    for path in paths:
        plain = Sample(path.name, str(path.resolve()))
        own_rows = rows.get(path.name, ())
        for i, row in enumerate(own_rows):
            again = f"its row {i + 1} in {file} says what an earlier one says; remove it"
            twice = row in own_rows[:i]
            samples.append(replace(plain, row=i, fault=again) if twice else _sample(plain, i, row, folder, file))
        if not own_rows:
            samples.append(replace(plain, fault=f"found no row for it in {file}, a label is expected; add one"))
    present = {path.name for path in paths}
    for name in rows:
        if name not in present:
            absent = f"{file} names it, and it is no picture in the folder; correct the row"
            samples.append(Sample(name, str(folder.resolve() / name), fault=absent))
    return samples


def _sample(plain: Sample, number: int, row: Mapping[str, Any], folder: Path, file: str) -> Sample:
    label = row.get("labels", row.get("label"))
    labels = tuple(label) if isinstance(label, list) else () if label is None or label == "" else (label,)
    try:
        boxes = tuple(_corners(box) for box in row.get("boxes", ()))
        cells, cell = int(row.get("cells") or 0), int(row["cell"]) if row.get("cell") is not None else -1
        if not all(isinstance(one, (int, str)) and not isinstance(one, bool) for one in labels):
            raise ValueError(f"label {label!r}, an index or a name is expected")
        if not isinstance(row.get("mask") or "", str):
            raise ValueError(f"mask {row['mask']!r}, the name of a file is expected")
        if cells and not 0 <= cell < cells * cells:
            raise ValueError(f"cell {cell}, 0 to {cells * cells - 1} is expected of {cells} cells along each side")
    except (TypeError, ValueError) as error:
        return replace(plain, row=number, fault=f"its row in {file} has {error}; correct it")
    fault = "" if labels else f"its row in {file} has no label, one is expected; add it"
    mask = str((folder / row["mask"]).resolve()) if row.get("mask") else ""
    return replace(plain, row=number, labels=labels, boxes=boxes, mask=mask, cells=cells, cell=cell, fault=fault)


def _corners(box: Any) -> Box:
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise ValueError(f"box {box}, four numbers x0, y0, x1, y1 are expected")
    x0, y0, x1, y1 = (float(one) for one in box)
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise ValueError(f"box {box}, x0 < x1 and y0 < y1 are expected")
    return x0, y0, x1, y1


def _rows(folder: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Read the rows of each file; None if the folder has no labels."""
    names = [name for name in ("labels.json", "labels.csv") if (folder / name).exists()]
    if not names:
        return None
    if len(names) > 1:
        raise UsageError(f"{folder}: it has both labels.json and labels.csv, one is expected; move one away")
    path = folder / names[0]
    try:
        text = read_text(path)
        rows = _json_rows(parse_json(text), path) if path.suffix == ".json" else _csv_rows(text, path)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot read it: {error}; see `aerocam eval --help` for its form") from error
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_file.setdefault(str(row["file"]), []).append(row)
    return by_file


def _json_rows(data: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(data, dict):
        items = [(file, one) for file, row in data.items() for one in (row if isinstance(row, list) else [row])]
        data = [{"file": file, **(row if isinstance(row, dict) else {"label": row})} for file, row in items]
    good = isinstance(data, list) and all(isinstance(row, dict) and row.get("file") for row in data)
    if not good:
        raise UsageError(
            f"{path}: found no rows with a file each, a list such as [{{'file': 'a.jpg', 'label': 3}}] is expected"
        )
    unknown = sorted({key for row in data for key in row} - set(FIELDS))
    if unknown:
        raise UsageError(f"{path}: found the fields {', '.join(unknown)}, expected {', '.join(FIELDS)}; correct them")
    return data


def _csv_rows(text: str, path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    if "file" not in columns or set(columns) - set(COLUMNS):
        raise UsageError(
            f"{path}: found the columns {', '.join(columns)}, expected of {', '.join(COLUMNS)}; correct them"
        )
    targets: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in reader:
        label: Label = row.get("label") or ""
        label = int(label) if re.fullmatch(r"-?\d+", str(label)) else label
        key = (row["file"], label, row.get("cell"))
        extra = {name: row[name] for name in ("mask", "cells", "cell") if row.get(name)}
        one = targets.setdefault(key, {"file": row["file"], "label": label, "boxes": [], **extra})
        corners = [row.get(name) for name in ("x0", "y0", "x1", "y1")]
        if any(corners):
            one["boxes"].append(corners)
    return list(targets.values())
