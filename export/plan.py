"""What an export is going to be: every decision about a model, made before anything of the model is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from aerocam import __version__, manifest
from aerocam.decisions import Decision
from aerocam.errors import UsageError
from aerocam.export.decisions.activation import WITHOUT, decide_activation
from aerocam.export.decisions.labels import decide_labels
from aerocam.export.decisions.probing import Probe
from aerocam.export.decisions.task import decide_score
from aerocam.export.ends import require_ends
from aerocam.export.gradients.rule_tables import layer_rule
from aerocam.export.layers.automatic import LayerChoice
from aerocam.export.layers.candidates import Candidate
from aerocam.export.layers.target_layers import ASKED, choose_layers, with_input
from aerocam.export.layers.tensor_names import GRADIENTS, activations_name
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.preprocessing import decide_preprocess
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.reading.opset import default_opset
from aerocam.export.reading.plugins import read_suppression
from aerocam.export.reading.ultralytics import class_names
from aerocam.export.request import ExportRequest, Score
from aerocam.export.scores import Hints, ScoreSite
from aerocam.export.scores.contrast import require_contrast
from aerocam.export.seed_scale import seed_scale
from aerocam.files import sha256
from aerocam.manifest import Manifest
from aerocam.methods import METHODS
from aerocam.providers import Provider


@dataclass(frozen=True)
class Plan:
    """What an export is going to be.

    Attributes:
        manifest: What the files will say of themselves. Of a split model, which tensors are carried from file to file
            is known once it is rewritten: which tensors of the model the rules of the gradients read.
        site: Where the score is.
        layers: The target layers, in the manifest's order.
        outputs: Names of the model's own outputs, and of tensors with class scores or boxes that become outputs.
        tensors: Names of all tensors of the model itself.
    """

    manifest: Manifest
    site: ScoreSite
    layers: Sequence[Candidate]
    outputs: Sequence[str]
    tensors: frozenset[str]

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
    labels, site, decisions = find_site(model, request.score, request.providers)
    walk, fused, ends, files = request.walk, request.fused, request.ends, request.files
    if (request.score.contrast or (METHODS[fused.head].contrast if fused.head else "none")) != "none":
        require_contrast(site)
        site = replace(site, score=replace(site.score, contrast="finer"))
    rule = layer_rule(walk.relevance, walk.guided, fused.head)
    choice = choose_layers(model, site, walk.names)
    layers = choice.layers
    if walk.guided:
        layers = with_input(model, site, layers)
    if fused.head is not None:
        _require_one(layers, f"head={fused.head!r}", "a head takes one")
    if files.batch is not None:
        _require_one(layers, f"batch={files.batch}", "one is expected")
    preprocess, of_preprocess = decide_preprocess(model, site, request.preprocess)
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
    named, of_labels = decide_labels(labels, site.score, given=request.score.labels is not None)
    of_layers = _layers_decision(choice, site.task)
    written = Manifest(
        task=site.task,
        layers=tuple(_manifest_layer(i, layer, request, rule) for i, layer in enumerate(layers)),
        score=site.score,
        preprocess=preprocess,
        source=_source(request),
        head=head,
        boxes=site.place,
        split=split,
        labels=named,
        seed_scale=seed_scale(model.graph, [layer.value for layer in layers], site.logits),
        precision=precision,
        decisions=(*decisions, of_layers, of_preprocess, of_labels),
        aerocam=__version__,
    )
    outputs = list(dict.fromkeys([*(str(value.name) for value in model.graph.outputs), *written.own_outputs]))
    return Plan(written, site, layers, outputs, frozenset(tensor_table(model)))


def find_site(
    model: ir.Model, score: Score, providers: Sequence[Provider] | None = None
) -> tuple[Sequence[str], ScoreSite, list[Decision]]:
    """Find the score, by what is asked, what the model says, and what it gives out for a few pictures.

    Returns:
        The labels that are known beside the graph, the site of the score, and how it was found.

    Raises:
        UsageError: The model has no output of the name that is asked for, or what is asked contradicts the graph.
        ModelError: The task is not explained, or no output has the form that the task needs.
    """
    labels = tuple(score.labels) if score.labels is not None else class_names(model.metadata_props)
    probe = Probe(model, providers)
    hints = Hints(labels, score.layout, probe.values)
    cut = read_suppression(model.metadata_props)
    site, decisions = decide_score(model, score.task, score.score_output, score.targets, hints, probe)
    decisions = [*([cut.decision()] if cut is not None else []), *decisions]
    if site.task in WITHOUT:
        if score.activation is not None:
            raise UsageError(f"`activation={score.activation!r}`: task {site.task} has no classes; leave it out")
        return labels, site, decisions
    site, activation = decide_activation(site, score.activation, probe, decisions[0].is_guess)
    return labels, site, [*decisions, activation]


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


def _layers_decision(choice: LayerChoice, task: manifest.Task) -> Decision:
    """Return how the target layers were chosen."""
    shapes = ["x".join(map(str, layer.shape)) for layer in choice.layers]
    chosen = ", ".join(f"{layer.name} {shape}" for layer, shape in zip(choice.layers, shapes, strict=True))
    if choice.evidence == ASKED:
        return Decision("layers", chosen, ASKED, "layers", "asked", choice.conflict)
    return Decision("layers", chosen, f"{choice.evidence}, for task {task}", "layers", "graph", choice.conflict)
