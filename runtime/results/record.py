"""Records: an explanation as numbers and text, ready for JSON, and as files."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.files import make_folder, write_together
from aerocam.runtime.drawing.regions import Region, find_regions
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.maps.mapping import Maps, Recipe
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.region import RegionOfInterest
from aerocam.runtime.predictions.targets import Target

Record = dict[str, Any]
Parts = Sequence[Sequence[Region]]
"""Regions, target by target."""


def explanation_record(
    prediction: Prediction, maps: Maps, recipe: Recipe, targets: Sequence[Record], rule: str | float | None
) -> Record:
    """Return the record of one explanation, without its timings and warnings.

    Args:
        prediction: What the model says of the frame.
        maps: What was made of it.
        recipe: How.
        targets: As `target_records` returns them.
        rule: The rule of their regions; None: they have none.
    """
    height, width = prediction.frame.shape[:2]
    kind = "raw" if recipe.form == "raw" else "map"
    return {
        "targets": [target | {kind: _extremes(maps, i)} for i, target in enumerate(targets)],
        "classes": [asdict(class_) for class_ in prediction.classes],
        "method": recipe.method,
        "fusion": recipe.fusion,
        **({} if recipe.gaussian == 0 else {"gaussian": recipe.gaussian}),
        **({} if not maps.augmented else {"augmented": len(maps.augmented)}),
        **({} if rule is None else {"region_rule": rule}),
        **({} if prediction.region is None else {"region": _region_record(prediction.region)}),
        "frame": {"width": width, "height": height},
        "layers": list(recipe.layers),
    }


def _region_record(region: RegionOfInterest) -> Record:
    """Return a region of interest as `box`, `point`, or `mask`: the connected parts of where it is."""
    if region.mask is None:
        return {"point": list(region.box[:2])} if region.point else {"box": list(region.box)}
    parts = find_regions((region.mask > 0).astype(np.float32), 0.5, largest=False)
    return {"mask": [part.record() for part in parts]}


def target_records(targets: Sequence[Target], masks: Parts, regions: Parts | None) -> list[Record]:
    """Return the targets as dictionaries, with `mask` where the model has masks, and `regions` where there are any.

    `polygon` and `keypoints` are there for models that have them.

    Args:
        targets: Those of the frame.
        masks: The parts of the masks, of a segmenter or of objects; empty for other models.
        regions: The regions of the maps: box, area, polygons; None: not asked for.
    """
    records = [asdict(target) for target in targets]
    for record in records:
        for key in ("polygon", "keypoints"):
            if record[key] is None:
                del record[key]
    for key, parts in (("mask", masks or None), ("regions", regions)):
        if parts is not None:
            pairs = zip(records, parts, strict=True)
            records = [record | {key: [region.record() for region in of_one]} for record, of_one in pairs]
    return records


def run_record(timings: Mapping[str, float], warnings: Sequence[str]) -> Record:
    """Return what the record of an explanation ends with: milliseconds by stage, and warnings."""
    return {"timings_ms": {stage: round(spent, 3) for stage, spent in timings.items()}, "warnings": list(warnings)}


def write_explanation(
    folder: Path, stem: str, overlays: Iterable[NDArray[np.uint8]], raws: Sequence[NDArray[Any]], record: Record
) -> dict[str, Path]:
    """Write overlays, raw maps and record; all of them, or none. See `Explanation.save` for their names.

    Args:
        folder: Where; it is made if it is absent.
        stem: Beginning of the names.
        overlays: uint8 (H, W, 3) in BGR: that of all targets, then those of each, where there are several.
        raws: One raw map per layer.
        record: Ready for JSON.

    Raises:
        WriteError: A file cannot be written; then none of them is.
    """
    contents: dict[str, tuple[str, bytes]] = {}
    for i, picture in enumerate(overlays):
        number = f".{i}" if i else ""
        contents[f"overlay{number}"] = f"{stem}.cam{number}.png", cv2.imencode(".png", picture)[1].tobytes()
    contents["record"] = f"{stem}.cam.json", json_text(record).encode()
    for i, raw in enumerate(raws, 1):
        number = f".{i}" if len(raws) > 1 else ""
        contents[f"raw{number}"] = f"{stem}.cam{number}.npy", npy_bytes(raw)
    make_folder(folder)
    write_together({folder / name: content for name, content in contents.values()})
    return {kind: folder / name for kind, (name, _) in contents.items()}


def _extremes(maps: Maps, target: int) -> list[Record]:
    """Return size, minimum and maximum of a target's maps in `raws`, layer by layer."""
    layers = [raw[target] for raw in maps.raws]
    return [{"size": list(raw.shape), "min": float(raw.min()), "max": float(raw.max())} for raw in layers]


def json_text(record: Record) -> str:
    """Return a record as indented text, pairs of numbers on one line: else each point of a polygon would take three."""
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
    return re.sub(r"\[\n +([^\s,]+),\n +([^\s,]+)\n +\]", r"[\1, \2]", text) + "\n"  # a string has no line ends


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Return the content of an .npy file with this array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def jsonable(value: Any) -> Any:
    """Return `value` with None in place of every number that is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
