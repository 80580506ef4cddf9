"""What an export is going to be: every decision about a model, made before anything of the model is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from aerocam import __version__, manifest
from aerocam.errors import UsageError
from aerocam.export.ends import require_ends
from aerocam.export.gradients.rule_tables import layer_rule
from aerocam.export.layers.candidates import Candidate
from aerocam.export.layers.target_layers import AUTO, choose_layers, with_input
from aerocam.export.layers.tensor_names import GRADIENTS, activations_name
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.preprocessing import (
    class_labels,
    default_preprocess,
    default_task,
    image_input,
    is_ultralytics,
    model_labels,
    require_fitting,
)
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.reading.opset import default_opset
from aerocam.export.request import ExportRequest, Score
from aerocam.export.scores import Hints, ScoreSite, find_score
from aerocam.export.scores.contrast import require_contrast
from aerocam.export.seed_scale import seed_scale
from aerocam.files import sha256
from aerocam.manifest import Manifest
from aerocam.methods import METHODS


@dataclass(frozen=True)
class Decision:
    """Something that was decided about a model.

    Attributes:
        subject: What it is about, such as `task`.
        decided: What was decided, in words.
        evidence: What speaks for it, in words.
        parameter: The parameter of `export_model` that settles it.
        is_guess: Whether nothing in the model or the request speaks for it against what else it could be.
    """

    subject: str
    decided: str
    evidence: str
    parameter: str
    is_guess: bool = False


@dataclass(frozen=True)
class Plan:
    """What an export is going to be.

    Attributes:
        manifest: What the files will say of themselves. Of a split model, which tensors are carried from file to file
            is known once it is rewritten: which tensors of the model the rules of the gradients read.
        site: Where the score is.
        layers: The target layers, in the manifest's order.
        outputs: Names of the model's own outputs.
        tensors: Names of all tensors of the model itself.
        decisions: How each of these came about.
    """

    manifest: Manifest
    site: ScoreSite
    layers: Sequence[Candidate]
    outputs: Sequence[str]
    tensors: frozenset[str]
    decisions: tuple[Decision, ...]

    @property
    def batch(self) -> int:
        """Return how many activations a tail takes; 0 where there is none."""
        return 0 if self.manifest.split is None else self.manifest.split.batch


def make_plan(model: ir.Model, request: ExportRequest, precision: manifest.Precision) -> Plan:
    """Decide what an export is going to be.

    Args:
        model: In normal form, in the precision of the export; it stays as it is.
        request: What is asked.
        precision: `float16` where the model was converted to it, else `source`.

    Raises:
        AerocamError: What is asked cannot be had of this model.
    """
    hints, site = find_site(model, request.score)
    walk, fused, ends, files = request.walk, request.fused, request.ends, request.files
    if (request.score.contrast or (METHODS[fused.head].contrast if fused.head else "none")) != "none":
        require_contrast(site)
        site = replace(site, score=replace(site.score, contrast="finer"))
    rule = layer_rule(walk.relevance, walk.guided, fused.head)
    layers = choose_layers(model, site, walk.names)
    if walk.guided:
        layers = with_input(model, site, layers)
    if fused.head is not None:
        _require_one(layers, f"head={fused.head!r}", "a head takes one")
    if files.batch is not None:
        _require_one(layers, f"batch={files.batch}", "one is expected")
    given = request.preprocess
    preprocess = given if isinstance(given, manifest.Preprocess) else given(model)
    if preprocess is not None:
        require_fitting(preprocess, image_input(model))
    require_ends(ends.frame, ends.map_form, preprocess, fused.head, layers)
    if preprocess is not None:
        preprocess = replace(preprocess, frame=ends.frame)
    head = split = None
    if fused.head is not None:
        drawn = manifest.OVERLAY if ends.overlay else None
        head = manifest.Head(fused.head, manifest.MAP, ends.map_form, drawn, fused.eigen_smooth)
    if files.packaging == "split":
        _, explain, tail = (path.name for path in request.paths)
        split = manifest.Split(explain, (), tail if files.batch else None, files.batch or 0)
    written = Manifest(
        task=site.task,
        layers=tuple(_manifest_layer(i, layer, request, rule) for i, layer in enumerate(layers)),
        score=site.score,
        preprocess=preprocess,
        source=_source(request),
        head=head,
        boxes=site.place,
        split=split,
        labels=class_labels(hints.labels, site.score, given=request.score.labels is not None),
        seed_scale=seed_scale(model.graph, [layer.value for layer in layers], site.logits),
        precision=precision,
        aerocam=__version__,
    )
    outputs = [str(value.name) for value in model.graph.outputs]
    return Plan(written, site, layers, outputs, frozenset(tensor_table(model)), _decisions(model, request, written))


def find_site(model: ir.Model, score: Score) -> tuple[Hints, ScoreSite]:
    """Find the score, by what is asked and what the model says; return the hints from beside the graph, and its site.

    Raises:
        UsageError: The model has no output of the name that is asked for.
        ModelError: The task is not explained, or no output has the form that the task needs.
    """
    labels = tuple(score.labels) if score.labels is not None else model_labels(model.metadata_props)
    hints = Hints(labels, score.layout)
    task = score.task or default_task(model, score.score_output, hints)
    return hints, find_score(model, task, score.score_output, score.targets, hints)


def _require_one(layers: Sequence[Candidate], parameter: str, expected: str) -> None:
    """Raise UsageError unless there is one target layer."""
    if len(layers) != 1:
        names = ", ".join(layer.name for layer in layers)
        raise UsageError(f"`{parameter}`: {len(layers)} target layers ({names}), {expected}; choose it with `layers`")


def _manifest_layer(i: int, layer: Candidate, request: ExportRequest, rule: manifest.Rule) -> manifest.Layer:
    """Return layer number `i` as the manifest has it; `rule` is that of every layer but a guided input."""
    leave, is_guided = request.fused.leave_tensors, request.walk.guided and layer.depth < 0
    activations, gradients = (activations_name(i, layer), GRADIENTS.format(i)) if leave else (None, None)
    own = "guided" if is_guided else rule
    return manifest.Layer(layer.name, layer.fold.kind, layer.shape, activations, gradients, own, layer.fold.planes)


def _source(request: ExportRequest) -> manifest.Source:
    """Return what the manifest says of the original file."""
    proto = read_model(request.path).proto
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    opset = default_opset(proto, str(request.path))
    return manifest.Source(sha256(request.path), request.path.name, opset, producer)


def _decisions(model: ir.Model, request: ExportRequest, written: Manifest) -> tuple[Decision, ...]:
    """Return how task, output, layers, preprocessing and labels came to be as the manifest has them."""
    score, asked = request.score, "asked for"
    metadata = "the model's metadata" if is_ultralytics(model) else ""
    form, count = f"the form of output {written.score.output!r}", len(model.graph.outputs)
    task = asked if score.task or score.layout else metadata or form
    output = asked if score.score_output else "the only one" if count == 1 else f"the first of {count} that fits"
    is_auto = AUTO in request.walk.names
    layers = f"chosen by the graph, for task {written.task}" if is_auto else asked
    preprocess, is_default = written.preprocess, request.preprocess is default_preprocess
    shown = (
        "none, the input is no picture"
        if preprocess is None
        else f"{preprocess.resize}, {preprocess.color}, {preprocess.mean}, {preprocess.std}"
    )
    origin = metadata or "what networks of this form mostly take" if is_default and preprocess is not None else asked
    labels = asked if score.labels is not None else "the model's metadata" if written.labels else "nothing names them"
    return (
        Decision("task", written.task, task, "task"),
        Decision("output", written.score.output, output, "score_output", output not in (asked, "the only one")),
        Decision("layers", ", ".join(layer.name for layer in written.layers), layers, "layers"),
        Decision("preprocessing", shown, origin, "preprocess", is_default and preprocess is not None and not metadata),
        Decision("labels", ", ".join(written.labels[:3]) or "by number", labels, "labels"),
    )
