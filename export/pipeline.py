"""`export_model`: the recipe, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from aerocam import __version__, manifest
from aerocam.errors import UsageError, did_you_mean
from aerocam.export.checking.outputs import require_valid
from aerocam.export.checking.report import CheckReport
from aerocam.export.checking.self_check import check_fused_ends, self_check
from aerocam.export.checking.tail import check_tail
from aerocam.export.destinations import Destination
from aerocam.export.destinations.refusal import Origin, origin_of, require_taken, warn_of_others
from aerocam.export.ends import Ends, fuse_ends, require_ends
from aerocam.export.gradients.rule_tables import layer_rule
from aerocam.export.heads import CAM_HEADS, TAIL_HEADS
from aerocam.export.layers.candidates import Candidate, candidates
from aerocam.export.layers.target_layers import AUTO, automatic_layers, choose_layers, with_input
from aerocam.export.packaging import join, parts, split_manifest, tensor_table
from aerocam.export.precision import with_precision
from aerocam.export.preprocessing import class_labels, default_preprocess, default_task, image_input, model_labels
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import read_model, write_models
from aerocam.export.reading.opset import default_opset
from aerocam.export.rewriting import GRADIENTS, activations_name, append_explanation, drop_tensors
from aerocam.export.scores import Hints, find_score
from aerocam.export.scores.contrast import require_contrast
from aerocam.export.seed_scale import seed_scale
from aerocam.files import sha256
from aerocam.manifest import Manifest
from aerocam.methods import METHODS
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")


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
    eigen_smooth: bool = False,
    guided: bool = False,
    relevance: bool = False,
    frame: tuple[int, int] | None = None,
    map_form: manifest.MapForm = "raw",
    overlay: bool = False,
    packaging: manifest.Packaging = "fused",
    batch: int | None = None,
    precision: manifest.Precision = "source",
    destination: Destination = "onnxruntime",
    task: manifest.Task | None = None,
    score_output: str | None = None,
    layout: str | None = None,
    targets: int = 1,
    contrast: manifest.Contrast | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    preprocess: manifest.Preprocess | Callable[[ir.Model], manifest.Preprocess | None] = default_preprocess,
    labels: Sequence[str] | None = None,
    check: bool = True,
    providers: Sequence[Provider] | None = None,
) -> Export:
    """Rewrite an ONNX model so that the same graph also emits what class activation maps need.

    The original outputs keep their names, order and values. New: an input `aerocam_target` (int32) that chooses the
    class (and anchor), outputs that name the choice and its score, and per target layer its activations and the
    gradients of the score, or a fused head's map, or both.

    Args:
        path: The model.
        output: Where to write; None: beside the model, `.cam.onnx`.
        layers: `auto`, or names or patterns of target layers.
        head: A CAM method to fuse into the graph, of `heads.CAM_HEADS` or `TAIL_HEADS`; needs exactly one layer.
        tensors: Whether activations and gradients leave the graph; None: where there is no head.
        eigen_smooth: Whether the head shows the weighted activations on their first principal component.
        guided: Whether the gradients at the input, which becomes the first layer if it is none, are those of guided
            backpropagation; at other layers they stay true.
        relevance: Whether multipliers of relevance (LRP-epsilon) take the place of the gradients, at every layer; head
            `relevance` asks for it by itself.
        frame: (H, W) in px of frames that the graph takes itself, uint8 (H, W, 3) in BGR, in place of the tensor: it
            resizes and normalises them as the runtime would. None: it takes the tensor.
        map_form: What a fused head's map is when it leaves the graph: `raw`, or in [0, 1] at the size of the `layer`,
            or in [0, 1] over the `frame`; see `manifest.Head`.
        overlay: Whether the overlay, uint8 (H, W, 3) in BGR, leaves the graph too; needs a frame and a head.
        packaging: `fused`: one file, in which every run explains; `split`: two, of which the second,
            `.explain.onnx` beside the first, explains what it is asked to.
        batch: With `split`: also a third file, `.tail.onnx`, with the scores of so many activations of the one target
            layer at once, for the methods that run the part behind it many times; None: no such file.
        precision: `source`: as the model is; `float16`: it is converted first, input and outputs stay float32.
        destination: What is to run the file: what NVIDIA's parser and builder do not take is refused for `tensorrt`.
        task: Of `manifest.Task`; None: from the model's metadata, or by the form of its outputs: `detect`, `classify`
            or `segment`.
        score_output: Name of the output that holds the class scores; None: the first that fits.
        layout: That of a detector's outputs, of `scores.detectors.LAYOUTS`; None: what the graph speaks for.
        targets: How many targets one pass explains; gradients and maps have that many on axis 0.
        contrast: `finer`: the score is what a class has that its neighbours lack; None: only with head finercam.
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
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"-o {output}: found the suffix '{output.suffix}', expected .onnx; choose another name")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {str(output.parent)!r}; make it first")
    model, precision = with_precision(load_model(path, input_shapes), precision)
    _refuse_rewritten(model)
    image_input(model)
    require_taken([model], destination, Origin(tensor_table(model).keys()))
    before = model.graph.num_nodes()
    hints = Hints(tuple(labels) if labels is not None else model_labels(model.metadata_props), layout)
    site = find_score(model, task or default_task(model, score_output, hints), score_output, targets, hints)
    if (contrast or (METHODS[head].contrast if head in METHODS else "none")) != "none":
        require_contrast(site)
        site = replace(site, score=replace(site.score, contrast="finer"))
    rule = layer_rule(relevance, guided, head)
    chosen = choose_layers(model, site, [layers] if isinstance(layers, str) else layers)
    if guided:
        chosen = with_input(model, site, chosen, head)
    _check_batch(batch, packaging, chosen, head is None if tensors is None else tensors)
    written = Manifest(
        task=site.task,
        layers=_manifest_layers(chosen, tensors if tensors is not None else head is None, rule, guided),
        score=site.score,
        preprocess=preprocess if isinstance(preprocess, manifest.Preprocess) else preprocess(model),
        source=_source(path),
        head=_manifest_head(head, chosen, eigen_smooth),
        boxes=site.place,
        labels=class_labels(hints.labels, site.score, given=labels is not None),
        seed_scale=seed_scale(model.graph, [item.value for item in chosen], site.logits),
        precision=precision,
        aerocam=__version__,
    )
    if written.head is None and written.layers[0].activations is None:
        raise UsageError("nothing to emit: give a head, or let activations and gradients leave the graph")
    written = require_ends(Ends(frame, map_form, overlay), written, chosen, packaging == "split")
    originals, tensors_before = [str(value.name) for value in model.graph.outputs], tensor_table(model).keys()
    append_explanation(model, site, written, chosen, batch or 0)
    origin = origin_of(model, tensors_before, written.head, len(chosen))
    paths = (output, _beside(output, "explain"), _beside(output, "tail"))
    if packaging == "split":
        tail = paths[2].name if batch else None
        written = split_manifest(model, written, tensors_before, paths[1].name, tail, batch or 0)
    report = None
    if check:
        report = self_check(path, join(*parts(model, written, originals)[:2]), input_shapes, providers).require()
        if batch:
            report = replace(report, tail=check_tail(model, activations_name(0, chosen[0]), providers))
    drop_tensors(model, written, originals)
    fuse_ends(model, written)
    if report is not None:
        report = check_fused_ends(join(*parts(model, written, originals)[:2]), report, providers)
    finished = parts(model, written, originals)
    require_taken(finished, destination, origin)
    warn_of_others(finished, destination)
    files = {path: LightModel.of(part) for path, part in zip(paths, finished, strict=False)}
    for light in files.values():
        require_valid(light)
    write_models(files)
    return Export(output, written, before, model.graph.num_nodes(), report)


def _beside(output: Path, job: str) -> Path:
    """Beside the file that runs on every frame, one for another job."""
    return output.with_name(f"{output.stem}.{job}.onnx")


def _check_batch(batch: int | None, packaging: manifest.Packaging, chosen: Sequence[Candidate], tensors: bool) -> None:
    """Make sure that there can be a tail, if one is wanted.

    Raises:
        UsageError: There can be none.
    """
    if batch is None:
        return
    if batch < 1:
        raise UsageError(f"--batch {batch}: 1 or more is expected")
    if packaging != "split":
        raise UsageError(f"--batch {batch}: it is of a file of its own; give --packaging split as well")
    if not tensors:
        raise UsageError(
            f"--batch {batch}: it takes the layer's activations, which do not leave a file with a head; give --tensors"
            " as well"
        )
    if len(chosen) != 1:
        names = ", ".join(item.name for item in chosen)
        raise UsageError(
            f"--batch {batch}: {len(chosen)} target layers ({names}), one is expected; choose it with --layer"
        )


def list_layers(
    path: str | Path,
    *,
    task: manifest.Task | None = None,
    score_output: str | None = None,
    layout: str | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates for a target layer, in graph order, and those that `auto` takes: none where it finds none.

    Args and errors are those of `export_model`.
    """
    model = load_model(path, input_shapes)
    hints = Hints(model_labels(model.metadata_props), layout)
    site = find_score(model, task or default_task(model, score_output, hints), score_output, hints=hints)
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


def _manifest_layers(
    chosen: Sequence[Candidate], tensors: bool, rule: manifest.Rule, guided: bool
) -> tuple[manifest.Layer, ...]:
    return tuple(
        manifest.Layer(
            item.name,
            item.fold.kind,
            item.shape,
            activations_name(i, item) if tensors else None,
            GRADIENTS.format(i) if tensors else None,
            "guided" if guided and item.depth < 0 else rule,
        )
        for i, item in enumerate(chosen)
    )


def _manifest_head(head: str | None, chosen: Sequence[Candidate], eigen_smooth: bool) -> manifest.Head | None:
    if head is None:
        if eigen_smooth:
            raise UsageError("--eigen-smooth: no fused head to smooth; add --head, or give it to aerocam explain")
        return None
    known = [*CAM_HEADS, *TAIL_HEADS]
    if head not in known:
        raise UsageError(f"--head {head}: no such fused method. {did_you_mean(head, known)}")
    if len(chosen) != 1:
        names = ", ".join(item.name for item in chosen)
        raise UsageError(
            f"--head {head}: {len(chosen)} target layers ({names}), a head takes one; choose it with --layer"
        )
    if eigen_smooth and head in TAIL_HEADS:
        raise UsageError(f"--eigen-smooth: not with --head {head}, which gives the map at once; try --head gradcam")
    return manifest.Head(head, manifest.MAP, eigen_smooth=eigen_smooth)
