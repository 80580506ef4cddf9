"""What every task has: a way to find its score among a model's outputs, and a way to choose one at run time.

A trailing softmax or sigmoid is stepped over: a class map explains a logit, not a share of probability.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.reading.ultralytics import read_ultralytics, require_fitting_task
from aerocam.export.tracing.folding import Fold

logger = logging.getLogger("aerocam.export")


@dataclass(frozen=True)
class ScoreSite:
    """Where a model's class scores are.

    Attributes:
        task: The key of the task in `TASKS`.
        logits: (1, classes) or (1, classes, 1, ...) to classify, classes and anchors in either order to detect, classes
            and positions in any order to segment.
        score: What the manifest says of the score.
        boxes: To detect, the tensors that the boxes are taken from.
        axis: Axis of `logits` with the classes.
        start: To detect, the place of the first class on that axis.
        is_share: Whether `logits` holds probabilities, their logits being no tensor of the graph.
        place: To detect, where the boxes are; None where the graph does not compute them.
        output: The output that holds the class scores, or the tensor that it gives the best of.
        others: Further logits, of the shape of `logits`: the score is the mean of all (an average of classifiers).
        is_direct: Whether the graph shows the activation right in front of the output, views apart: nothing is to be
            measured then.
        layout: To detect, the name of the outputs' layout.
        rivals: To detect, names of the layouts that would fit as well.
        fold: Of a dense output, how `logits` become (1, C, H, W).
        evidence: To detect, what speaks for the layout, where that is more than the form of one output.
        order: The entry of `logits` that each class is; empty: classes are in its order.
    """

    task: manifest.Task
    logits: ir.Value
    score: manifest.Score
    boxes: tuple[ir.Value, ...] = ()
    axis: int = 1
    start: int = 0
    is_share: bool = False
    place: manifest.Boxes | None = None
    output: ir.Value | None = None
    others: tuple[ir.Value, ...] = ()
    order: tuple[int, ...] = ()
    is_direct: bool = False
    layout: str = ""
    rivals: tuple[str, ...] = ()
    fold: Fold | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Hints:
    """What is known of a model beside its graph.

    Attributes:
        labels: Names of its classes, empty where they are not known.
        layout: The layout of a detector's outputs that the user forces, if any.
        values: What a tensor holds where the model is run, an array per picture; None where it cannot be run.
        tables: Tensors that a suppression within the graph reads: they are looked at as outputs are.
    """

    labels: Sequence[str] = ()
    layout: str | None = None
    values: Callable[[ir.Value], list[NDArray[Any]] | None] = lambda tensor: None
    tables: tuple[ir.Value, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The chosen score, from which the walk starts.

    Attributes:
        value: The chosen logit or logits.
        seed: Their cotangent: the weights with which they make up the score, of their type or a wider one. Several
            targets have one cotangent each, stacked on axis 0.
        relevance: The multiplier of `value` whose product with it adds up to the score; None: the seed does.
    """

    value: ir.Value
    seed: ir.Value
    relevance: ir.Value | None = None


NO_HINTS = Hints()

Find: TypeAlias = Callable[[ir.Value, ir.Model, Hints], "ScoreSite | None"]
Choose: TypeAlias = Callable[[Builder, ScoreSite, ir.Value, Set[ir.Value]], Chosen]


@dataclass(frozen=True)
class Task:
    """How a task's score is found and chosen.

    Attributes:
        find: The site behind a static output of a model, or None where it is not of this task's form.
        choose: Appends the choice to the graph, and the outputs `manifest.CHOSEN` and `manifest.SCORE`.
        expected: The form of the output, for the error message.
        width: Numbers in a target.
    """

    find: Find
    choose: Choose
    expected: str
    width: int = 1


TASKS: dict[str, Task] = {}
"""Task by name, filled by the modules of this package."""


def find_score(
    model: ir.Model,
    task: manifest.Task,
    output: str | None = None,
    targets: int = 1,
    hints: Hints = NO_HINTS,
) -> ScoreSite:
    """Find the class scores among the model's outputs.

    Args:
        model: A model in normal form.
        task: What the network does.
        output: Name of the output that holds the class scores; None: the first that fits.
        targets: How many are explained in one pass.
        hints: What is known beside the graph.

    Raises:
        UsageError: There is no such output, or Ultralytics' metadata contradict the task.
        ModelError: No output has the form that the task needs.
    """
    outputs = named_outputs(model, output)
    if (said := read_ultralytics(model.metadata_props)) is not None:
        require_fitting_task(said, task)
    for value in outputs:
        is_read = is_static(value) or task == "detect"  # in front of a suppression shapes are static
        site = TASKS[task].find(value, model, hints) if is_read else None
        if site is not None:
            return replace(site, score=replace(site.score, targets=targets), output=site.output or value)
    found = ", ".join(f"{value.name!r} {[str(dim) for dim in value.shape or ()]}" for value in outputs)
    raise ModelError(
        f"task {task}: outputs {found}; one of shape {TASKS[task].expected} was expected; see `task` and `score_output`"
    )


def named_outputs(model: ir.Model, name: str | None) -> list[ir.Value]:
    """Return the model's outputs, or the one called `name`.

    Raises:
        UsageError: The model has no output of that name.
    """
    outputs = [value for value in model.graph.outputs if value.name]
    names = [str(value.name) for value in outputs]
    if name is not None and name not in names:
        raise UsageError(f"`score_output={name!r}`: the model has no such output. {did_you_mean(name, names)}")
    return [value for value in outputs if name in (None, value.name)]


def append_choice(op: Builder, site: ScoreSite, keep: Set[ir.Value]) -> Chosen:
    """Append the target input, the outputs that say what was chosen, and the chosen score.

    Args:
        op: Builder of the model's graph.
        site: Where the class scores are.
        keep: The target layers, which the choice must not reach behind.
    """
    task = TASKS[site.task]
    shape = ir.Shape([site.score.targets * task.width])
    target = ir.Value(name=manifest.TARGET, type=ir.TensorType(ir.DataType.INT32), shape=shape)
    op.graph.inputs.append(target)
    return task.choose(op, site, target, keep)


def top_unless(op: Builder, scores: ir.Value, target: ir.Value) -> ir.Value:
    """Return the target's classes, int32 (targets,), with -1 as the best of `scores`, -2 the second, ...

    For a single target every negative number is the best class.

    Args:
        op: Builder of the graph.
        scores: (1, classes), or (targets, classes) where each target has its own.
        target: int32 (targets,).
    """
    (count,), (rows, classes) = static_shape(target), static_shape(scores)
    if count == 1:
        best = op.ArgMax(scores, axis=1, keepdims=0)
    else:
        kept = min(count, classes)
        _, order = op.TopK(scores, op.integers(kept), axis=1, _outputs=2)
        low, high = (op.constant(np.int32(n)) for n in (0, kept - 1))
        rank = op.Clip(op.Sub(op.constant(np.int32(-1)), target), low, high)
        if rows == 1:
            best = op.Gather(op.reshape(order, kept), rank, axis=0)
        else:
            best = op.reshape(op.GatherElements(order, op.reshape(rank, count, 1), axis=1), count)
    return op.Where(op.Less(target, op.constant(np.int32(0))), op.Cast(best, to=ir.DataType.INT32), target)


def one_each(op: Builder, chosen: ir.Value, axes: Sequence[int], weights: ir.Value | None = None) -> Chosen:
    """Return `chosen` with a seed that gives each target its own entry along `axes`, and all along the other axes.

    Args:
        op: Builder of the graph.
        chosen: (1, ...), with as many entries along each of `axes` as there are targets.
        axes: One axis, or several of which the diagonal is meant.
        weights: Weights of the entries, of the shape of `chosen`; None: 1.
    """
    shape = static_shape(chosen)
    count = shape[axes[0]]
    mask = np.ones((count, *shape[1:]))
    for axis in axes:
        mask = mask * np.eye(count).reshape(count, *(count if i == axis else 1 for i in range(1, len(shape))))
    if weights is None:
        return Chosen(chosen, op.floats_like(chosen, mask))
    return Chosen(chosen, weights if count == 1 else op.Mul(weights, op.floats_like(chosen, mask)))


def output_score(op: Builder, value: ir.Value, count: int) -> None:
    """Make the chosen scores a graph output, float32 of shape (targets,)."""
    value = op.reshape(value, count)
    op.output(op.single(value), manifest.SCORE)
