"""What a network does, and which output says so: by the metadata, the form of the outputs, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.decisions import Decision, Source
from aerocam.errors import ModelError
from aerocam.export.decisions.numbers import measured
from aerocam.export.decisions.probing import Probe
from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.nodes.shapes import is_static, may_be_image, static_shape
from aerocam.export.reading.ultralytics import DETECTS, read_ultralytics, require_known_task
from aerocam.export.scores import (
    Hints,
    ScoreSite,
    classify,
    detectors,
    embed,
    find_score,
    named_outputs,
    regress,
    segment,
    sequence,
)
from aerocam.manifest import Task

USUAL = frozenset({365, 1000, 1001, 11221, 21841, 21843})
"""Numbers of classes of Places and ImageNet, which hardly anything else has; 10 may be CIFAR or landmarks."""

WIDTH = 64
"""Widths of embeddings are multiples of that, numbers of classes hardly ever."""

SURE = 0.9
"""Probability of a background, and the share of the anchors where it has that."""

CLEAR = 1.5
"""How much farther the centres of boxes, in the order of their anchors, go along rows than along columns, at least."""


@dataclass(frozen=True)
class Found:
    """A task that an output speaks for.

    Attributes:
        task: The task.
        output: The output.
        evidence: What speaks for it, in words.
        source: Where that comes from; `assumed` where it could be another task as well.
    """

    task: Task
    output: ir.Value
    evidence: str
    source: Source = "graph"


def decide_score(
    model: ir.Model, task: Task | None, output: str | None, targets: int, hints: Hints, probe: Probe
) -> tuple[ScoreSite, list[Decision]]:
    """Decide what a network does and which output says so, and find the score there.

    Args:
        model: In normal form.
        task: The task that is asked for; None: what evidence says.
        output: Name of the output that is asked for; None: the first that fits.
        targets: How many targets one pass explains.
        hints: What is known beside the graph.
        probe: Runs the model.

    Raises:
        UsageError: The model has no output of that name.
        ModelError: No output has the form that the task needs, or nothing says what the network does.
    """
    outputs = named_outputs(model, output)
    if output is None and task in (None, "detect") and (joined := detectors.join(model, hints)) is not None:
        site = replace(joined, score=replace(joined.score, targets=targets))
        return site, _decisions_on_joined(model, site, hints)
    named = task or ("detect" if hints.layout is not None else None) or _by_metadata(model)
    if named is not None:
        told = task is not None or hints.layout is not None
        site = find_score(model, named, output, targets, hints)
        evidence, source = ("asked for", "asked") if told else ("the model's metadata", "metadata")
        found = Found(named, site.output, evidence, source)  # type: ignore[arg-type]
    else:
        found = _by_form(model, outputs, hints, probe)
        site = find_score(model, found.task, str(found.output.name), targets, hints)
    has_background = site is not (site := _with_background(site, probe))
    decision = Decision("task", found.task, found.evidence, "task", found.source)
    decisions = [decision, _output_decision(model, site, output, hints)]
    if site.task == "detect":
        decisions += _detector_decisions(model, site, hints, has_background)
    elif has_background:
        evidence = "the likeliest symbol at most places of every test picture"
        decisions.append(
            Decision("blank", f"symbol {site.score.background}, never chosen", evidence, "target", "measured")
        )
    return site, decisions


def _with_background(site: ScoreSite, probe: Probe) -> ScoreSite:
    """Return a site with the class that stands for nothing as the background, where test pictures show one.

    TensorFlow's detectors, whose classes have a sigmoid each, are sure of class 0 nearly everywhere: nowhere else is
    one class at nine of ten anchors. Of a text reader, CTC's blank is the first symbol or the last, and the likeliest
    at most places of a picture without text.
    """
    score = site.score
    if site.task == "sequence":
        assert site.output is not None
        likeliest = np.array([array[0].argmax(1) for array in probe.values(site.output) or ()])
        for end in (0, score.classes - 1):
            if likeliest.size and (likeliest == end).mean(axis=1).min() > 0.5:
                return replace(site, score=replace(score, background=end))
        return site
    if site.layout != "retinanet" or score.background is not None or score.activation != "sigmoid" or score.classes < 2:
        return site
    assert site.output is not None
    arrays = probe.values(site.output)
    if arrays is None or min(np.mean(np.take(array, 0, score.class_axis) > SURE) for array in arrays) < SURE:
        return site
    return replace(site, score=replace(score, background=0))


def _by_metadata(model: ir.Model) -> Task | None:
    """Return the task that Ultralytics' metadata name; None without them.

    Raises:
        ModelError: They name a task that is not explained.
    """
    said = read_ultralytics(model.metadata_props)
    if said is None or not said.task:
        return None
    require_known_task(said)
    return "detect" if said.task in DETECTS else "classify"


def _by_form(model: ir.Model, outputs: Sequence[ir.Value], hints: Hints, probe: Probe) -> Found:
    """Return the task that an output speaks for most clearly.

    Raises:
        ModelError: None speaks for any.
    """
    for value in outputs:
        if layout := detectors.fits(model, value, hints):
            return Found("detect", value, f"output {_shown(value)} has the layout {layout}")
    shapes = ", ".join(_shown(value) for value in outputs)
    outputs = [value for value in outputs if is_static(value)]
    anchors = {static_shape(value)[1] for value in outputs if _rank(value) == 3 and static_shape(value)[2] > 1}
    unclear = []
    for value in outputs:
        if _rank(value) == 3 and static_shape(value)[1] in anchors:  # one number per anchor of a detector, say
            continue
        if (site := classify.find(value, model, hints)) is not None:
            found = _of_vector(value, site, hints, probe)
            if found.source != "assumed":
                return found
            unclear.append(found)
    if unclear:
        return unclear[0]
    for value in outputs:
        if _rank(value) > 3 and (site := segment.find(value, model, hints)) is not None:
            found = _of_positions(value, site, hints, probe)
            if found.source != "assumed":
                return found
            unclear.append(found)
        elif (site := sequence.find(value, model, hints)) is not None and _is_ready(value, site, probe):
            return Found(
                "sequence", value, f"output {_shown(value)} has probabilities of symbols at places", "measured"
            )
        elif _rank(value) == 3 and (site := regress.find(value, model, hints)) is not None and site.score.classes == 1:
            unclear.append(_of_one_channel(value))
    if unclear:
        return unclear[0]
    if any(node.op_type == "NonMaxSuppression" for node in model.graph.all_nodes()):
        raise ModelError(
            f"outputs {shapes}: a detector that suppresses boxes in the graph, but no table in front of that has the"
            " box of every anchor; let it decode all boxes before it chooses any, or export it without the suppression"
        )
    raise ModelError(
        f"outputs {shapes}: nothing says what the network does; `task` names it, one of"
        f" {', '.join(get_args(manifest.Task))} (numbers at positions are `task='regress'`, features there"
        " `task='embed'`), and `score_output` the output"
    )


def _of_vector(value: ir.Value, site: ScoreSite, hints: Hints, probe: Probe) -> Found:
    """Return the task that an output (1, n) speaks for: classes, an embedding of length 1, or classes as a guess."""
    shown, count = _shown(value), site.score.classes
    assert site.output is not None
    if site.score.activation != "none" or site.output is not value:
        how = f"a {site.score.activation}" if site.score.activation != "none" else "the best of several"
        return Found("classify", value, f"output {shown} is {how}")
    producer = value.producer()
    if producer is not None and producer.op_type == "LogSoftmax":
        return Found("classify", value, f"output {shown} is the logarithm of a softmax")
    if len(hints.labels) in (count, count - 1) and hints.labels:
        return Found("classify", value, f"output {shown} has a number for each of {len(hints.labels)} labels")
    arrays = probe.values(site.output)
    if arrays is not None and count > 2:
        lengths = np.array([np.linalg.norm(array.astype(np.float64)) for array in arrays])
        if np.abs(lengths - 1).max() < 1e-3 and min(float(array.min()) for array in arrays) < 0:
            return Found("embed", value, f"output {shown} has length 1 for every test picture", "measured")
        if (numbers := measured(site.output, arrays, 1)).kind in ("shares", "probabilities"):
            return Found("classify", value, f"output {shown} has {numbers}", "measured")
    if count in USUAL:
        return Found("classify", value, f"output {shown} has as many numbers as a well-known data set has classes")
    if count >= WIDTH and count % WIDTH == 0:
        return Found("embed", value, f"output {shown}, as wide as embeddings are; it may be classes", "assumed")
    return Found("classify", value, f"output {shown}, which may be a regression or an embedding as well", "assumed")


def _of_positions(value: ir.Value, site: ScoreSite, hints: Hints, probe: Probe) -> Found:
    """Return `segment`, with what speaks for it: an activation, labels, probabilities, or nothing."""
    shown, classes = _shown(value), site.score.classes
    assert site.output is not None
    if site.score.activation != "none" or site.output is not value:
        how = f"a {site.score.activation}" if site.score.activation != "none" else "the best class"
        return Found("segment", value, f"output {shown} is {how} at each position")
    if len(hints.labels) == classes and hints.labels:
        return Found("segment", value, f"output {shown} has a channel for each of {classes} labels")
    if _is_ready(value, site, probe):
        return Found("segment", value, f"output {shown} has probabilities at each position", "measured")
    if classes == 1:
        return _of_one_channel(value)
    return Found("segment", value, f"output {shown}, whose {classes} channels may be no classes", "assumed")


def _of_one_channel(value: ir.Value) -> Found:
    """Return `regress`, the likelier one, of an output with a number at each position that shows no sigmoid."""
    return Found("regress", value, f"output {_shown(value)}, a number at each position, which may be a mask", "assumed")


def _is_ready(value: ir.Value, site: ScoreSite, probe: Probe) -> bool:
    """Return whether the scores of the classes were measured to be probabilities."""
    arrays = probe.values(value)
    return arrays is not None and measured(value, arrays, site.score.class_axis).kind in ("shares", "probabilities")


def _output_decision(model: ir.Model, site: ScoreSite, asked: str | None, hints: Hints) -> Decision:
    """Return which output was taken, and which others there are."""
    taken = str(site.score.output)
    if asked is not None:
        return Decision("output", taken, "asked for", "score_output", "asked")
    finders = {"classify": classify, "segment": segment, "sequence": sequence, "regress": regress, "embed": embed}
    finder = finders[site.task].find if site.task in finders else None
    others: list[str] = []
    rivals: list[str] = []
    for value in model.graph.outputs:
        other = finder(value, model, hints) if finder is not None and is_static(value) else None
        if value.name == taken or (other is not None and other.output is site.output):
            continue
        boxes = site.place is not None and value.name == site.place.output
        (rivals if other is not None else others).append(_shown(value) if not boxes else f"{value.name!r}, the boxes")
    if rivals:
        evidence = f"the first of {len(rivals) + 1} that fit"
        return Decision("output", taken, evidence, "score_output", "graph", f"{' and '.join(rivals)} would fit as well")
    evidence = f"the only one that fits; not taken: {', '.join(others)}" if others else "the only one"
    return Decision("output", taken, evidence, "score_output")


def _decisions_on_joined(model: ir.Model, site: ScoreSite, hints: Hints) -> list[Decision]:
    """Return the decisions on a detector whose outputs were joined."""
    assert site.place is not None
    outputs = ", ".join(_shown(value) for value in model.graph.outputs)
    source: Source = "asked" if hints.layout else "graph"
    computed_from = ancestors(tensor_table(model)[site.place.output])
    sizes = [str(value.name) for value in model.graph.inputs if value in computed_from and not may_be_image(value)]
    against = f"they are in px of what the input {sizes[0]!r} says" if sizes and site.place.unit == "pixel" else ""
    evidence = f"layout {site.layout}"
    shown = f"{site.place.form} in {site.place.unit}s, tensor {site.place.output!r}"
    return [
        Decision("task", "detect", f"the outputs have the layout {site.layout}", "task", source),
        Decision("output", site.score.output, f"appended to the graph, made of {outputs}", "score_output"),
        Decision("layout", site.layout, site.evidence, "layout", source),
        Decision("boxes", shown, evidence, "fix" if against else "layout", "graph", against),
    ]


def _detector_decisions(model: ir.Model, site: ScoreSite, hints: Hints, has_background: bool) -> list[Decision]:
    """Return what a detector's outputs are, and what the numbers of its boxes mean; a background may be measured."""
    rivals = f"{' and '.join(site.rivals)} would fit as well" if site.rivals else ""
    source: Source = "asked" if hints.layout else "graph"
    assert site.output is not None
    inner = "" if site.output.is_graph_output() else f", in front of its suppression: tensor {site.score.output!r}"
    evidence = f"{'asked for' if hints.layout else 'the form of the graph'}{inner}"
    if has_background:
        evidence += f"; class {site.score.background}, sure of itself nearly everywhere, is the background"
    layout = Decision("layout", site.layout, evidence, "layout", source, rivals)
    if site.place is None:
        against = "the graph does not decode them: encodings relative to anchors that it does not hold"
        return [layout, Decision("boxes", "none", "classes at anchors can be explained", "layout", "graph", against)]
    shown = f"{site.place.form} in {site.place.unit}s, output {site.place.output!r}"
    if site.layout in detectors.pairs.FINDERS:
        evidence = "their order and size on test pictures"
        return [layout, Decision("boxes", shown, evidence, "layout", "measured", _against_order(model, site, hints))]
    return [layout, Decision("boxes", shown, f"layout {site.layout}", "layout")]


def _against_order(model: ir.Model, site: ScoreSite, hints: Hints) -> str:
    """Return what speaks against the order of a detector's corners, as those on test pictures have it."""
    assert site.place is not None
    boxes = detectors.pairs.boxes_seen(tensor_table(model)[site.place.output], site.place, hints)
    if boxes is None or site.place.form == "cxcywh":
        return ""
    steps = np.abs(np.diff(boxes[:, :2] + boxes[:, 2:], axis=0)).sum(axis=0)
    return "" if steps.max() >= CLEAR * steps.min() else "their centres move as much along rows as along columns"


def _rank(value: ir.Value) -> int:
    return len(static_shape(value))


def _shown(value: ir.Value) -> str:
    return f"{value.name!r} {static_shape(value) if is_static(value) else '(its shape depends on the data)'}"
