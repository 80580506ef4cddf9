"""What stands behind the classes in a row of a YOLO's output: an angle, coefficients of a mask, or keypoints.

How many classes there are the graph says; the metadata say what the rest is, and the two are held against each other.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.reading.ultralytics import Ultralytics, read_ultralytics
from aerocam.export.scores.detectors.columns import Table


def class_count(table: Table, model: ir.Model, forced: bool, first: int) -> int:
    """Return how many columns from `first` on are sigmoids, thus classes; 0 where there is none.

    Where the layout is forced and the graph shows no sigmoid, the metadata's names count, else all columns.
    """
    stop, beyond = first, table.columns + 1  # the columns before `stop` are sigmoids, those before `beyond` are not all
    while beyond - stop > 1:
        middle = table.columns if beyond > table.columns else (stop + beyond) // 2
        stop, beyond = (middle, beyond) if table.is_activated(first, middle) else (stop, middle)
    if stop > first or not forced:
        return max(stop - first, 0)
    said = read_ultralytics(model.metadata_props)
    return len(said.names) if said is not None and said.names else table.columns - first


def with_extras(
    place: manifest.Boxes, table: Table, first: int, model: ir.Model, forced: bool
) -> manifest.Boxes | None:
    """Return the boxes with what the columns from `first` on hold of each object.

    None where columns are left of which nothing says what they are, and the layout is not forced.

    Raises:
        ModelError: The metadata's task contradicts the columns, or the layout is forced on columns of unknown meaning.
    """
    said, count = read_ultralytics(model.metadata_props), table.columns - first
    task = said.task if said is not None else ""
    prototypes = _prototypes(model, count)
    if task in ("segment", "") and prototypes is not None:
        return replace(place, masks=manifest.Masks(str(prototypes.name), first, count))
    if task == "obb" and count == 1:
        return replace(place, angle=first)
    if task == "pose" and said is not None and said.keypoints is not None and count == _product(said):
        return replace(place, keypoints=manifest.Keypoints(first, *said.keypoints))
    if task in ("", "detect") and count <= 0:
        return place
    if not task and not forced:
        return None
    raise ModelError(_contradiction(table, first, said))


def _product(said: Ultralytics) -> int:
    assert said.keypoints is not None
    return said.keypoints[0] * said.keypoints[1]


def _prototypes(model: ir.Model, count: int) -> ir.Value | None:
    """Return the output (1, count, h, w), if there is one."""
    for value in model.graph.outputs:
        if count > 0 and is_float(value) and is_static(value):
            shape = static_shape(value)
            if len(shape) == 4 and shape[:2] == (1, count):
                return value
    return None


def _contradiction(table: Table, first: int, said: Ultralytics | None) -> str:
    shape, count = static_shape(table.value), table.columns - first
    rest = f"output {table.value.name!r} {shape} has {count} numbers behind box and classes"
    if said is None or not said.task:
        return f"{rest}, and nothing says what they are; keep the metadata that Ultralytics wrote into the file"
    expected = {
        "detect": "none",
        "segment": "as many as its prototypes, an output (1, coefficients, h, w)",
        "obb": "1, the angle",
        "pose": f"those of its keypoints, kpt_shape {list(said.keypoints or ())}",
    }[said.task]
    return f"{rest}; the metadata's task {said.task!r} has {expected}; export it again, or correct the metadata"
