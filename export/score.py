"""The score that is explained: found in the graph, and made a choice at run time.

A trailing softmax or sigmoid is stepped over: a class map explains a logit, not a share of probability.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.builder import Builder
from aerocam.export.selection import Choice, select
from aerocam.export.shapes import is_float, is_static, static_shape

logger = logging.getLogger("aerocam.export")

VIEWS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
OUTPUT_ACTIVATIONS: dict[str, manifest.Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
MASK = "aerocam_mask"
"""Tensor with the weights of the positions that make up a segmenter's score."""

BOX_ROWS = 4
"""Rows before the class scores in an Ultralytics detection output (1, 4 + classes, anchors)."""


@dataclass(frozen=True)
class ScoreSite:
    """Where the class scores are.

    Attributes:
        task: `classify`, `detect` or `segment`.
        logits: (1, classes) or (1, classes, 1, ...) to classify, (1, classes, anchors) to detect, classes and positions
            in any order to segment.
        score: What the manifest says of it.
        boxes: The box rows (1, 4, anchors) to detect.
    """

    task: manifest.Task
    logits: ir.Value
    score: manifest.Score
    boxes: ir.Value | None = None


def find_score(model: ir.Model, task: manifest.Task, output: str | None = None) -> ScoreSite:
    """Find the class scores among the model's outputs.

    Args:
        model: In normal form.
        task: What the network does.
        output: Name of the output that holds the class scores; None: the first that fits.

    Raises:
        UsageError: No such output.
        ModelError: No output of the form that the task needs.
    """
    outputs = [value for value in model.graph.outputs if value.name]
    if output is not None:
        names = [str(value.name) for value in outputs]
        if output not in names:
            raise UsageError(f"--output-name {output}: the model has no such output. {did_you_mean(output, names)}")
        outputs = [value for value in outputs if value.name == output]
    find = {"classify": _find_class, "detect": _find_detection, "segment": _find_segmentation}[task]
    for value in outputs:
        site = find(value) if is_static(value) else None
        if site is not None:
            if site.score.activation != "none":
                logger.info("score: the logits before the trailing %s", site.score.activation)
            return site
    found = ", ".join(f"{value.name!r} {[str(dim) for dim in value.shape or ()]}" for value in outputs)
    expected = {
        "classify": "(1, classes)",
        "detect": "(1, 4 + classes, anchors), boxes joined with sigmoids of class logits as Ultralytics has them",
        "segment": "(1, classes, H, W) with logits or probabilities",
    }[task]
    raise ModelError(
        f"task {task}: outputs {found}; one of shape {expected} was expected; see --task and --output-name"
    )


def _find_class(output: ir.Value) -> ScoreSite | None:
    value, activation = output, "none"
    logits = output
    while (node := value.producer()) is not None and (node.op_type in VIEWS or node.op_type in OUTPUT_ACTIVATIONS):
        value = node.inputs[0]  # type: ignore[assignment]
        if node.op_type in OUTPUT_ACTIVATIONS:
            logits, activation = value, OUTPUT_ACTIVATIONS[node.op_type]
            break
    shape = static_shape(logits)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)):
        return None
    score = manifest.Score(str(output.name), activation, classes=shape[1])  # type: ignore[arg-type]
    return ScoreSite("classify", logits, score)


def _find_segmentation(output: ir.Value) -> ScoreSite | None:
    logits, activation, axis = output, "none", 1
    while (node := logits.producer()) is not None and node.op_type in ("Identity", *OUTPUT_ACTIVATIONS):
        logits = node.inputs[0]  # type: ignore[assignment]
        if node.op_type in OUTPUT_ACTIVATIONS:
            activation = OUTPUT_ACTIVATIONS[node.op_type]
            axis = node.attributes.get_int("axis", -1) if node.op_type == "Softmax" else 1
            break
    shape = static_shape(logits)
    axis %= len(shape) or 1
    if len(shape) < 3 or shape[0] != 1 or axis == 0 or not is_float(logits):
        return None
    positions = int(np.prod(shape)) // shape[axis]
    score = manifest.Score(str(output.name), activation, shape[axis], anchors=positions, class_axis=axis)  # type: ignore[arg-type]
    return ScoreSite("segment", logits, score)


def _find_detection(output: ir.Value) -> ScoreSite | None:
    node = output.producer()
    shape = static_shape(output)
    if len(shape) != 3 or shape[0] != 1 or node is None or node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    if node.attributes["axis"].as_int() % 3 != 1:
        return None
    boxes, scores = node.inputs
    assert boxes is not None
    assert scores is not None
    last = scores.producer()
    if static_shape(boxes)[1] != BOX_ROWS or last is None or last.op_type != "Sigmoid" or last.inputs[0] is None:
        return None
    classes, anchors = static_shape(scores)[1:]
    score = manifest.Score(str(output.name), "sigmoid", classes, class_offset=BOX_ROWS, anchors=anchors)
    return ScoreSite("detect", last.inputs[0], score, boxes)


def append_choice(op: Builder, site: ScoreSite, keep: Set[ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Append the target input, the outputs that say what was chosen, and the chosen score.

    Args:
        op: Builder of the model's graph.
        site: Where the class scores are.
        keep: The target layers, which the choice must not reach behind.

    Returns:
        The chosen logit or logits, and the weights with which they make up the score: where the walk starts, and its
        seed.
    """
    target = ir.Value(
        name=manifest.TARGET,
        type=ir.TensorType(ir.DataType.INT32),
        shape=ir.Shape([2 if site.task == "detect" else 1]),
    )
    op.graph.inputs.append(target)
    if site.task == "segment":
        return _choose_mask(op, site, target, keep)
    choose = _choose_anchor if site.task == "detect" else _choose_class
    chosen = choose(op, site, target, keep)
    return chosen, op.floats_like(chosen, np.ones(static_shape(chosen)))


def _choose_class(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> ir.Value:
    classes = site.score.classes
    flat = op.reshape(site.logits, 1, classes)
    best = op.Cast(op.ArgMax(flat, axis=1, keepdims=0), to=ir.DataType.INT32)
    index = op.Where(op.Less(target, op.constant(np.int32(0))), best, target)
    op.output(index, manifest.CHOSEN)
    op.output(_float32(op, op.reshape(op.Gather(flat, index, axis=1), 1)), manifest.SCORE)
    return select(op, site.logits, Choice(1, index, 0, classes, keep))


def _choose_anchor(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> ir.Value:
    classes, anchors = site.score.classes, site.score.anchors
    wanted_class, wanted_anchor = (op.slice_axis(target, 0, i, i + 1) for i in range(2))

    def allowed(wanted: ir.Value, count: int, *shape: int) -> ir.Value:
        positions = op.constant(np.arange(count, dtype=np.int32).reshape(shape))
        return op.Or(op.Equal(positions, wanted), op.Less(wanted, op.constant(np.int32(0))))

    mask = op.And(allowed(wanted_class, classes, classes, 1), allowed(wanted_anchor, anchors, 1, anchors))
    grid = op.reshape(site.logits, classes, anchors)
    lowest = op.floats_like(grid, np.finfo(np.float16 if grid.dtype == ir.DataType.FLOAT16 else np.float32).min)
    flat = op.reshape(op.Where(mask, grid, lowest), 1, classes * anchors)
    best = op.ArgMax(flat, axis=1, keepdims=0)
    label = op.Div(best, op.integers(anchors))
    anchor = op.Sub(best, op.Mul(label, op.integers(anchors)))
    op.output(op.Cast(op.Concat(label, anchor, axis=0), to=ir.DataType.INT32), manifest.CHOSEN)
    op.output(_float32(op, op.reshape(op.Gather(flat, best, axis=1), 1)), manifest.SCORE)
    row = select(op, site.logits, Choice(1, label, 0, classes, keep))
    return select(op, row, Choice(2, anchor, 0, anchors, keep))


def _choose_mask(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> tuple[ir.Value, ir.Value]:
    """The logits of one class, weighted 1 / n where it is predicted, at n positions; if nowhere, the best of them."""
    classes, axis, shape = site.score.classes, site.score.class_axis, static_shape(site.logits)
    best = op.ArgMax(op.reshape(site.logits, 1, int(np.prod(shape))), axis=1, keepdims=0)
    inner = int(np.prod(shape[axis + 1 :], dtype=int))
    best = op.Div(best, op.integers(inner))
    best = op.Sub(best, op.Mul(op.Div(best, op.integers(classes)), op.integers(classes)))
    best = op.Cast(best, to=ir.DataType.INT32)
    index = op.Where(op.Less(target, op.constant(np.int32(0))), best, target)
    op.output(index, manifest.CHOSEN)
    logits = select(op, site.logits, Choice(axis, index, 0, classes, keep))
    if classes == 1:
        predicted = op.Greater(logits, 0.0)
    else:
        winners = op.ArgMax(site.logits, axis=axis, keepdims=1)
        predicted = op.Equal(op.Cast(winners, to=ir.DataType.INT32), index)
    axes = list(range(len(shape)))
    mask = op.Cast(predicted, to=logits.dtype)
    best_position = op.Cast(op.Equal(logits, op.reduce("ReduceMax", logits, axes)), to=logits.dtype)
    mask = op.Where(op.Greater(op.sum(mask, axes), 0.0), mask, best_position)
    weights = op.Div(mask, op.sum(mask, axes))
    weights.name = MASK
    op.output(_float32(op, op.reshape(op.sum(op.Mul(logits, weights), axes), 1)), manifest.SCORE)
    return logits, weights


def _float32(op: Builder, value: ir.Value) -> ir.Value:
    return value if value.dtype == ir.DataType.FLOAT else op.Cast(value, to=ir.DataType.FLOAT)
