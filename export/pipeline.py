"""`export_model`, and what it does from top to bottom: request, plan, rewrite, check, finish, write."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from aerocam import manifest
from aerocam.decisions import Decision
from aerocam.errors import UsageError
from aerocam.export.checking.outputs import require_valid
from aerocam.export.checking.report import CheckReport
from aerocam.export.checking.self_check import check_fused_ends, self_check
from aerocam.export.checking.tail import check_tail
from aerocam.export.destinations import Destination
from aerocam.export.destinations.refusal import Origin, origin_of, require_taken, warn_of_others
from aerocam.export.ends import has_ends
from aerocam.export.layers.candidates import Candidate
from aerocam.export.layers.target_layers import AUTO, automatic_layers, listed
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.packaging import join, parts
from aerocam.export.plan import find_site, make_plan
from aerocam.export.precision import with_precision
from aerocam.export.preprocessing import Given, image_input
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import write_models
from aerocam.export.request import ExportRequest, Score
from aerocam.export.rewriting import finish, rewrite
from aerocam.manifest import Manifest
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")


@dataclass(frozen=True)
class Export:
    """What was exported.

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
    activation: manifest.Activation | None = None,
    targets: int = 1,
    contrast: manifest.Contrast | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fix: Mapping[str, Any] | None = None,
    preprocess: Given = None,
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
        layers: `auto`, `INPUT` (the picture), or names or patterns of target layers.
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
        task: Of `manifest.Task`; None: from the model's metadata, or by the form of its outputs and what they hold for
            a few pictures.
        score_output: Name of the output that holds the class scores; None: the first that fits.
        layout: That of a detector's outputs, of `scores.detectors.NAMES`; None: what the graph speaks for.
        activation: How the class scores become probabilities: by a `softmax` or a `sigmoid` of them, not at all
            (`none`), or they are `probabilities`; None: by the graph, and by what they are for a few pictures.
        targets: How many targets one pass explains; gradients and maps have that many on axis 0.
        contrast: `finer`: the score is what a class has that its neighbours lack; None: only with head finercam.
        input_shapes: Static shapes for dynamic inputs, by name.
        fix: What inputs beside the picture are to be from now on, by name: an array, or a number for all of it. They
            become constants; those that are not fixed are given at run time.
        preprocess: How a frame becomes the input: a `manifest.Preprocess`, the name of one of `PRESETS`, settings of
            it (`preset`, `color`, `resize`, `mean`, `std`, `short_side`, `interpolation`, `fill`, `units`, `shown`), or
            a function that says so of the model; None: from the model's metadata, else what is usual for its task.
        labels: Class names; None: from the model's metadata, else none.
        check: Compare the result with the original and with finite differences before writing it.
        providers: Execution providers for the self-check.

    Raises:
        AerocamError: One of its kinds, with what was found, what was expected and what to do. Nothing is written then.
    """
    return export(ExportRequest.of(**locals()))  # every parameter is a field of the request or of one of its parts


def export(request: ExportRequest) -> Export:
    """Do what a request asks for.

    Raises:
        AerocamError: One of its kinds, with what was found, what was expected and what to do. Nothing is written then.
    """
    model, precision = _read(request)
    before = model.graph.num_nodes()
    plan = make_plan(model, request, precision)
    written = rewrite(model, plan)
    origin = origin_of(model, written, plan.tensors)

    def pieces() -> tuple[ir.Model, ...]:
        """Make the models of the files: anew for the check and for writing, as `join` uses them up."""
        return parts(model, written, plan.outputs)

    report = None
    if request.check:  # of a split model the two halves, joined: they are what is written
        joined = join(*pieces()[:2])
        report = self_check(
            request.path, joined, written, request.input_shapes, request.providers, request.fix
        ).require()
        if plan.batch:
            report = replace(report, tail=check_tail(model, written, request.providers))
    finish(model, plan)
    if report is not None and has_ends(written):
        report = check_fused_ends(join(*pieces()[:2]), written, report, request.providers)
    finished = pieces()
    require_taken(finished, request.files.destination, origin)
    warn_of_others(finished, request.files.destination)
    files = {path: LightModel.of(piece) for path, piece in zip(request.paths, finished, strict=False)}
    for light in files.values():
        require_valid(light)
    write_models(files)
    log_decisions(written.decisions)
    return Export(request.paths[0], written, before, model.graph.num_nodes(), report)


def log_decisions(decisions: Sequence[Decision]) -> None:
    """Log what was decided about a model, guesses as warnings."""
    for decision in decisions:
        logger.log(logging.WARNING if decision.is_guess else logging.INFO, "%s", decision)


def _read(request: ExportRequest) -> tuple[ir.Model, manifest.Precision]:
    """Read the model in the precision that is asked for, and say whether it was converted.

    Raises:
        UsageError: The model has been exported before, or is quantised and float16 is asked for.
        ModelError: The model cannot be read, has no picture, or a node that the destination does not take.
    """
    model, precision = with_precision(load_model(request.path, request.input_shapes, request.fix), request.precision)
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    if manifest.TARGET in taken or manifest.KEY in model.metadata_props:
        raise UsageError("the model has been through `aerocam export` already; export the original again instead")
    image_input(model)
    require_taken([model], request.files.destination, Origin(tensor_table(model).keys()))
    return model, precision


def list_layers(
    path: str | Path,
    *,
    task: manifest.Task | None = None,
    score_output: str | None = None,
    layout: str | None = None,
    activation: manifest.Activation | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    fix: Mapping[str, Any] | None = None,
) -> tuple[list[Candidate], list[Candidate]]:
    """List the candidates for a target layer, in graph order, and those that `auto` takes, if it finds any.

    Args and errors are those of `export_model`.
    """
    score = Score(task, score_output, layout, activation)
    model = load_model(path, input_shapes, fix)
    _, site, _ = find_site(model, score)
    known = listed(model, site)
    return known, automatic_layers(model, site, known)
