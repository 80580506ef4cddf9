"""`export_model`: the recipe, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam import __version__, manifest
from aerocam.errors import ManifestError, UsageError, did_you_mean
from aerocam.export.autodiff import differentiate
from aerocam.export.builder import Builder
from aerocam.export.check import CheckReport, check_model, require_valid
from aerocam.export.graph import freeze_inputs, load_model
from aerocam.export.heads import CAM_HEADS
from aerocam.export.light import LightModel
from aerocam.export.onnx_file import read_model, sha256, write_model
from aerocam.export.opset import default_opset
from aerocam.export.preprocessing import default_preprocess, default_task, image_input, model_labels
from aerocam.export.scores import Chosen, ScoreSite, append_choice, find_score
from aerocam.export.shapes import static_shape
from aerocam.export.stacking import stack
from aerocam.export.target_layers import AUTO, Candidate, automatic_layers, candidates, choose_layers
from aerocam.manifest import Manifest

logger = logging.getLogger("aerocam.export")

ACTIVATIONS = "aerocam_activations_{}"
"""Output with the activations of a layer that is folded or an input; others leave under their own name, uncopied."""

GRADIENTS = "aerocam_gradients_{}"
"""Output with the gradients of a layer, in the shape of its activations."""

OWN_GRADIENTS = "aerocam_own_gradients_{}"
"""Tensor with the gradients of a folded layer in its own shape."""


@dataclass(frozen=True)
class Export:
    """What `export_model` made.

    Attributes:
        path: The file.
        manifest: What it says of itself.
        nodes_before: Nodes of the original graph, after reading.
        nodes_after: Nodes of the exported one.
        report: The self-check's figures, or None where it was switched off.
    """

    path: Path
    manifest: Manifest
    nodes_before: int
    nodes_after: int
    report: CheckReport | None


def export_model(
    path: str | Path,
    output: str | Path | None = None,
    *,
    layers: str | Sequence[str] = AUTO,
    head: str | None = None,
    tensors: bool | None = None,
    task: manifest.Task | None = None,
    score_output: str | None = None,
    targets: int = 1,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    preprocess: manifest.Preprocess | Callable[[ir.Model], manifest.Preprocess | None] = default_preprocess,
    labels: Sequence[str] | None = None,
    check: bool = True,
    providers: Sequence[str] | None = None,
) -> Export:
    """Rewrite an ONNX model so that the same graph also emits what class activation maps need.

    The original outputs keep their names, order and values. New: an input `aerocam_target` (int32) that chooses the
    class (and anchor), outputs that name the choice and its score, and per target layer its activations and the
    gradients of the score, or a fused head's map, or both.

    Args:
        path: The model.
        output: Where to write; None: beside the model, `.cam.onnx`.
        layers: `auto`, or names or patterns of target layers.
        head: A CAM method to fuse into the graph, of `heads.CAM_HEADS`; needs exactly one layer.
        tensors: Whether activations and gradients leave the graph; None: where there is no head.
        task: `classify`, `detect` or `segment`; None: from the model's metadata, else `classify`.
        score_output: Name of the output that holds the class scores; None: the first that fits.
        targets: How many targets one pass explains; gradients and maps have that many on axis 0.
        input_shapes: Static shapes for dynamic inputs, by name.
        preprocess: How a frame becomes the input, or a function that says so of the model; default: from the model's
            metadata, else ImageNet's.
        labels: Class names; None: from the model's metadata, else none.
        check: Compare the result with the original and with finite differences before writing it.
        providers: Execution providers for the self-check.

    Raises:
        AerocamError: One of its kinds, with what was found, what was expected and what to do. Nothing is written then.
    """
    path = Path(path)
    output = Path(output) if output is not None else path.with_name(f"{path.stem}.cam.onnx")
    if output.resolve() == path.resolve():
        raise UsageError(f"-o {output}: that is the model itself; choose another name")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {str(output.parent)!r}; make it first")
    model = load_model(path, input_shapes)
    _refuse_rewritten(model)
    image_input(model)
    before = model.graph.num_nodes()
    site = find_score(model, task or default_task(model), score_output, targets)
    chosen = choose_layers(model, site, [layers] if isinstance(layers, str) else layers)
    written = Manifest(
        task=site.task,
        layers=_manifest_layers(chosen, tensors if tensors is not None else head is None),
        score=site.score,
        preprocess=preprocess if isinstance(preprocess, manifest.Preprocess) else preprocess(model),
        source=_source(path),
        head=_manifest_head(head, chosen),
        labels=_labels(labels, model, site),
        aerocam=__version__,
    )
    if written.head is None and written.layers[0].activations is None:
        raise UsageError("nothing to emit: give a head, or let activations and gradients leave the graph")
    originals = [str(value.name) for value in model.graph.outputs]
    _append(model, site, written, chosen)
    report = self_check(path, model, input_shapes, providers).require() if check else None
    _drop_tensors(model, written, originals)
    light = LightModel.of(model)
    require_valid(light)
    write_model(light, output)
    return Export(output, written, before, model.graph.num_nodes(), report)


def list_layers(
    path: str | Path,
    *,
    task: manifest.Task | None = None,
    score_output: str | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates for a target layer, in graph order, and those that `auto` takes: none where it finds none.

    Args and errors are those of `export_model`.
    """
    model = load_model(path, input_shapes)
    site = find_score(model, task or default_task(model), score_output)
    known = candidates(model, site, try_out=True)
    return known, automatic_layers(model, site, known)


def _refuse_rewritten(model: ir.Model) -> None:
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    if manifest.TARGET in taken or manifest.KEY in model.metadata_props:
        raise UsageError("the model has been through `aerocam export` already; export the original again instead")


def _source(path: Path) -> manifest.Source:
    proto = read_model(path).proto
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return manifest.Source(sha256(path), path.name, default_opset(proto, str(path)), producer)


def _manifest_layers(chosen: Sequence[Candidate], tensors: bool) -> tuple[manifest.Layer, ...]:
    return tuple(
        manifest.Layer(
            item.name,
            item.fold.kind,
            item.shape,
            _activations_name(i, item) if tensors else None,
            GRADIENTS.format(i) if tensors else None,
        )
        for i, item in enumerate(chosen)
    )


def _activations_name(i: int, item: Candidate) -> str:
    return ACTIVATIONS.format(i) if item.is_folded or item.depth < 0 else item.name


def _manifest_head(head: str | None, chosen: Sequence[Candidate]) -> manifest.Head | None:
    if head is None:
        return None
    if head not in CAM_HEADS:
        raise UsageError(f"--head {head}: no such fused method. {did_you_mean(head, CAM_HEADS)}")
    if len(chosen) != 1:
        names = ", ".join(item.name for item in chosen)
        raise UsageError(
            f"--head {head}: {len(chosen)} target layers ({names}), a head takes one; choose it with --layer"
        )
    return manifest.Head(head, manifest.MAP)


def _labels(given: Sequence[str] | None, model: ir.Model, site: ScoreSite) -> tuple[str, ...]:
    classes = site.score.classes
    if given is not None and given and len(given) != classes:
        raise UsageError(f"labels: {len(given)} names for {classes} classes; give one name per class")
    if given is not None:
        return tuple(given)
    labels = model_labels(model.metadata_props)
    if labels and len(labels) != classes:
        logger.warning("the model's metadata names %d classes, it has %d; classes go by number", len(labels), classes)
        return ()
    return labels


def _append(model: ir.Model, site: ScoreSite, written: Manifest, chosen: Sequence[Candidate]) -> None:
    """Everything this package adds to the graph, activations and gradients always among it."""
    op = Builder(model.graph)
    start = append_choice(op, site, {item.value for item in chosen})
    gradients = _gradients(op, start, chosen, site.score.targets)
    pairs = []
    for i, (item, (own, gradient)) in enumerate(zip(chosen, gradients, strict=True)):
        activations = item.value
        if item.depth >= 0 and not activations.is_graph_output():
            model.graph.outputs.append(activations)
        if _activations_name(i, item) != item.name:
            activations = op.output(item.fold(op, activations), ACTIVATIONS.format(i))
        if own is not gradient:
            op.output(own, OWN_GRADIENTS.format(i))
        pairs.append((activations, op.output(gradient, GRADIENTS.format(i))))
    if written.head is not None:
        map_ = CAM_HEADS[written.head.method](op, *pairs[0])
        op.output(op.Cast(map_, to=ir.DataType.FLOAT) if map_.dtype != ir.DataType.FLOAT else map_, written.head.output)
    ir.passes.Sequential(passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass())(model)
    model.metadata_props[manifest.KEY] = written.to_json()
    model.producer_name, model.producer_version = "aerocam", __version__


def _gradients(
    op: Builder, start: Chosen, chosen: Sequence[Candidate], targets: int
) -> list[tuple[ir.Value, ir.Value]]:
    """Per layer the gradients in its own shape and folded, one after the other for several targets."""
    layers = [item.value for item in chosen]
    if targets == 1:
        own = differentiate(op, start.value, start.seed, layers)
        return [(g, item.fold(op, g) if item.is_folded else g) for g, item in zip(own, chosen, strict=True)]
    one = op.Identity(op.floats_like(start.value, np.zeros(static_shape(start.value))))
    own = differentiate(op, start.value, one, layers)
    folded = [item.fold(op, g) if item.is_folded else g for g, item in zip(own, chosen, strict=True)]
    stacks = stack(op, one, start.seed, [*own, *folded], targets)
    return list(zip(stacks[: len(own)], stacks[len(own) :], strict=True))


def _drop_tensors(model: ir.Model, written: Manifest, originals: Sequence[str]) -> None:
    """Take out the activations and gradients that the manifest does not name, and what only they needed."""
    kept = {*originals, *(name for layer in written.layers for name in (layer.activations, layer.gradients))}
    tensors = {name for i, layer in enumerate(written.layers) for name in (layer.name, *_added_names(i))}
    for value in [value for value in model.graph.outputs if value.name in tensors - kept]:
        model.graph.outputs.remove(value)
    passes.RemoveUnusedNodesPass()(model)


def _added_names(i: int) -> tuple[str, ...]:
    return ACTIVATIONS.format(i), GRADIENTS.format(i), OWN_GRADIENTS.format(i)


def self_check(
    path: Path,
    model: ir.Model,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[str] | None = None,
) -> CheckReport:
    """Compare a rewritten model with its original file and with finite differences.

    Args:
        path: The original model.
        model: The rewritten one; layers whose gradients leave the graph are checked, each in its own shape.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.
    """
    original = read_model(path)
    freeze_inputs(original.proto, input_shapes or {})
    names = {value.name for value in model.graph.outputs}
    layers = Manifest.from_json(model.metadata_props[manifest.KEY], "the model").layers
    own = {y.name for node in model.graph for y in node.outputs}
    pairs = {}
    for i, layer in enumerate(layers):
        if GRADIENTS.format(i) in names:
            folded = OWN_GRADIENTS.format(i) in own
            pairs[layer.name] = (layer.name, OWN_GRADIENTS.format(i) if folded else GRADIENTS.format(i))
    return check_model(original, model, pairs, providers)


def check_export(
    path: str | Path,
    exported: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[str] | None = None,
) -> CheckReport:
    """Compare an exported file with its original, for example on the provider that will be used.

    Args:
        path: The original model.
        exported: What `export_model` made of it.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        ManifestError: `exported` carries no manifest, or was made of another model.
    """
    light = read_model(exported)
    text = next((item.value for item in light.proto.metadata_props if item.key == manifest.KEY), None)
    if text is None:
        raise ManifestError(f"{exported}: it carries no manifest; make it with: aerocam export {path}")
    source = Manifest.from_json(text, str(exported)).source
    if source.sha256 != sha256(path):
        raise ManifestError(f"{exported}: it was made of {source.name!r}, not of this {path}; give that file")
    return self_check(Path(path), light.whole(), input_shapes, providers)
