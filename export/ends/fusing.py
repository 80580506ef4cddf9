"""Which ends are fused, and that they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Ends:
    """What the graph does beside the explanation itself; see `export_model`.

    Attributes:
        frame: (H, W) of the frames that it takes, or None.
        form: Of a fused head's map.
        overlay: Whether the overlay leaves the graph too.
    """

    frame: tuple[int, int] | None = None
    form: manifest.MapForm = "raw"
    overlay: bool = False


def require_ends(ends: Ends, written: Manifest, chosen: Sequence[Candidate], split: bool) -> Manifest:
    """The manifest with the ends in it.

    Raises:
        UsageError: An end that cannot be had with this model or with the other options.
    """
    rule, head = written.preprocess, written.head
    if head is None and (ends.overlay or ends.form != "raw"):
        flag = "--overlay" if ends.overlay else f"--map {ends.form}"
        raise UsageError(f"{flag}: no fused head, whose map that would be; add --head gradcam, say")
    if ends.overlay and (ends.frame is None or split):
        way = "export without --packaging split" if split else "add --frame HxW"
        raise UsageError(f"--overlay: it is drawn over the frame, which what explains does not have; {way}")
    if ends.form == "frame" and rule is None:
        raise UsageError("--map frame: the model's input is no picture; take --map layer")
    at_input = any(item.depth < 0 for item in chosen)
    if head is not None and ends.form != "raw" and find(head.method).normalisation_at(at_input) == "magnitude":
        raise UsageError(
            f"--map {ends.form}: relevance of the input itself is shown by its magnitude, which no graph does;"
            " take --map raw"
        )
    if head is not None:
        head = replace(head, form=ends.form, overlay=manifest.OVERLAY if ends.overlay else None)
    if ends.frame is not None:
        rule = replace(_framed(ends.frame, rule, chosen), frame=ends.frame)
    return replace(written, preprocess=rule, head=head)


def _framed(
    frame: tuple[int, int], rule: manifest.Preprocess | None, chosen: Sequence[Candidate]
) -> manifest.Preprocess:
    """The preprocessing, if frames of this size can be its beginning."""
    name = "x".join(map(str, frame))
    if rule is None:
        raise UsageError(f"--frame {name}: the model's input is no picture; export without it")
    if len(frame) != 2 or min(frame) < 1:
        raise UsageError(f"--frame {name}: height and width in px are expected, as in 720x1280")
    if any(item.depth < 0 for item in chosen):
        raise UsageError(
            f"--frame {name}: the input {rule.input!r} is a target layer, whose methods run the model on tensors of"
            " their own; export without --frame"
        )
    top, left, bottom, right = Geometry.of(rule, frame).region
    if top == bottom or left == right:
        raise UsageError(f"--frame {name}: the model would see less than a pixel of it; give the size of real frames")
    return rule


def fuse_ends(model: ir.Model, written: Manifest) -> None:
    """Add to a rewritten model the ends that its manifest names."""
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
