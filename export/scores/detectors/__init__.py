"""The layouts of detectors' outputs: each is recognised by one function, in the order of `LAYOUTS` or `UNJOINED`.

A finder of `LAYOUTS` gets an output that may hold class scores and says what it holds, or None. It trusts the shape
alone where the user forces its layout; otherwise the nodes that compute the output must speak for it as well. One of
`UNJOINED` gets a model whose outputs hold parts of what is needed, appends what joins and decodes them, and returns the
site.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.scores.detectors import decoded, pairs, queries, raw_yolo, scales, suppression, yolo
from aerocam.export.scores.detectors.suppression import pairs_before, tables_before
from aerocam.export.scores.registry import Hints, ScoreSite

Finder: TypeAlias = Callable[[ir.Value, ir.Model, Hints], "ScoreSite | None"]

LAYOUTS: dict[str, Finder] = {
    "yolov8": yolo.find_yolov8,
    "yolov10": yolo.find_yolov10,
    "yolox": yolo.find_yolox,
    "yolov5": yolo.find_yolov5,
    "rtdetr": queries.find_rtdetr,
    "detr": queries.find_detr,
    **pairs.FINDERS,
}
"""Finder by name of its layout, the likelier first where one output fits several."""

UNJOINED: dict[tuple[str, ...], Callable[[ir.Model, Hints], ScoreSite | None]] = {
    ("blazeface",): decoded.find_faces,
    ("nanodet",): decoded.find_distributions,
    ("centernet",): decoded.find_centres,
    ("yolox",): raw_yolo.find_cells,
    tuple(raw_yolo.ANCHORS): raw_yolo.find_anchored,
    tuple(pairs.FINDERS): suppression.find_flat,
    ("yolov10", "rtdetr"): queries.find_finished,
}
"""Finder by the names of its layouts, the most special first."""

NAMES = tuple(dict.fromkeys([*LAYOUTS, *(name for names in UNJOINED for name in names)]))
"""All that a user can force."""


def join(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of a detector whose outputs are to be joined or decoded, after appending what does so.

    Raises:
        ModelError: The outputs are a detector's, but what they lack is not known.
    """
    for names, find_in in UNJOINED.items():
        if (hints.layout is None or hints.layout in names) and (site := find_in(model, hints)) is not None:
            return site
    kinds = scales.groups(model)
    if hints.layout is None and len(kinds) > 1 and len(next(iter(kinds.values()))) >= scales.FEWEST:
        shown = ", ".join(f"{each.value.name!r} {static_shape(each.value)}" for kind in kinds.values() for each in kind)
        raise ModelError(
            f"outputs {shown}: predictions at several scales, as of a detector, in no layout that is known; let the"
            " graph join them and decode the boxes, or give `layout`, or `task` if it is no detector"
        )
    return None


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the class logits behind an output of one of `LAYOUTS`, with the names of what fits."""
    value, sites = _fitting(output, model, hints)
    if not sites:
        return None
    name, *others = sites
    site = replace(sites[name], layout=name, rivals=tuple(others), output=value)
    place = site.place
    if place is not None and (
        name in pairs.FINDERS or (value is not output and place.angle is None and not place.strides)
    ):
        site = replace(site, place=pairs.measured(model, place, hints))
    return site


def fits(model: ir.Model, output: ir.Value, hints: Hints) -> str:
    """Return the first layout that an output and its boxes fit, "" where there is none."""
    _, sites = _fitting(output, model, hints)
    return next((name for name, site in sites.items() if site.place is not None), "")


def _fitting(output: ir.Value, model: ir.Model, hints: Hints) -> tuple[ir.Value, dict[str, ScoreSite]]:
    """Return the sites of the layouts that fit an output, or else the last table in front of its suppression."""
    if hints.layout == "yolov7":  # decoded, as YOLOv5
        hints = replace(hints, layout="yolov5")
    wanted = [name for name in LAYOUTS if hints.layout in (None, name)]
    before = tables_before(output, model)
    apart = [(scores, replace(hints, tables=boxes)) for scores, boxes in pairs_before(output, model)]
    for value, known in ((output, hints), *((value, hints) for value in before), *apart):
        sites = {name: LAYOUTS[name](value, model, known) for name in wanted if is_static(value)}
        fitting = {name: site for name, site in sites.items() if site is not None}
        if fitting:
            return value, fitting
    return output, {}
