"""The ends of a graph: whether a model can have them, and adding them to it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export.ends.frame_in import frame_in
from aerocam.export.ends.map_out import Maps
from aerocam.export.ends.overlay_out import overlay
from aerocam.export.layers.candidates import Candidate
from aerocam.export.nodes.builder import Builder
from aerocam.geometry import Geometry
from aerocam.manifest import Manifest
from aerocam.methods import find

RAW = "aerocam_raw_map"
"""Tensor with a head's raw map, where another form of it leaves the graph."""


def require_ends(
    frame: tuple[int, int] | None,
    map_form: manifest.MapForm,
    rule: manifest.Preprocess | None,
    head: str | None,
    layers: Sequence[Candidate],
) -> None:
    """Raise unless a model can have the ends that are asked for.

    Args:
        frame: (H, W) in px of the frames that the graph is to take; None: it takes the tensor.
        map_form: What the fused head's map is to be when it leaves the graph.
        rule: The model's preprocessing.
        head: The fused head, if any.
        layers: The target layers.

    Raises:
        UsageError: The input is no picture, or the head, the layers or the size of the frame rule an end out.
    """
    at_input = any(item.depth < 0 for item in layers)
    if map_form == "frame" and rule is None:
        raise UsageError("`map_form='frame'`: the model's input is no picture; take `map_form='layer'`")
    if head is not None and map_form != "raw" and find(head).normalisation_at(at_input) == "magnitude":
        raise UsageError(
            f"`map_form={map_form!r}`: relevance of the input itself is shown by its magnitude, which no graph"
            " does; take `map_form='raw'`"
        )
    if frame is None:
        return
    if rule is None:
        raise UsageError(f"`frame={frame}`: the model's input is no picture; export without it")
    if rule.color == "BANDS":
        raise UsageError(
            f"`frame={frame}`: the model takes {len(rule.mean)} bands, a camera's frame has three channels"
        )
    if at_input:
        raise UsageError(
            f"`frame={frame}`: the input {rule.input!r} is a target layer, whose methods run the model on tensors"
            " of their own; export without `frame`"
        )
    top, left, bottom, right = Geometry.of(rule, frame).region
    if top == bottom or left == right:
        raise UsageError(f"`frame={frame}`: the model would see less than a pixel of it; give the size of real frames")


def has_ends(written: Manifest) -> bool:
    """Return whether a manifest names fused ends: a frame, over which alone an overlay is drawn, or a finished map."""
    framed = written.preprocess is not None and written.preprocess.frame is not None
    return framed or (written.head is not None and written.head.form != "raw")


def fuse_ends(model: ir.Model, written: Manifest) -> None:
    """Add to a rewritten model the ends that its manifest names, if any."""
    rule, head = written.preprocess, written.head
    frame = frame_in(model, rule) if rule is not None and rule.frame is not None else None
    if head is None or (head.form == "raw" and head.overlay is None):
        return
    op = Builder(model.graph, "map")
    place = Geometry.of(rule, rule.frame or rule.size) if rule is not None else None
    raw = next(value for value in model.graph.outputs if value.name == head.output)
    maps = Maps.of(op, raw, head.method)
    if head.form != "raw":
        at = model.graph.outputs.index(raw)
        raw.name = RAW
        found = maps.layer if head.form == "layer" else _over_frame(op, maps, place, frame is not None)
        model.graph.outputs[at] = named = op.Add(found, maps.spoiled)
        named.name = head.output
    if head.overlay is not None:
        assert place is not None
        assert frame is not None
        op.output(overlay(op, maps.over_tensor(op, place.tensor_size), frame, place), head.overlay)
    ir.passes.Sequential(passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass())(model)


def _over_frame(op: Builder, maps: Maps, place: Geometry | None, framed: bool) -> ir.Value:
    assert place is not None
    return maps.over_frame(op, place) if framed else maps.over_tensor(op, place.tensor_size)
