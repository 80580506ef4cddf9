"""What every task has: a way to find its score among a model's outputs, and a way to choose one at run time.

A trailing softmax or sigmoid is stepped over: a class map explains a logit, not a share of probability.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.builder import Builder
from aerocam.export.shapes import is_static, static_shape

logger = logging.getLogger("aerocam.export")

OUTPUT_ACTIVATIONS: dict[str, manifest.Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
MASK = "aerocam_mask"
"""Tensor with the weights of the positions that make up a segmenter's score."""


@dataclass(frozen=True)
class ScoreSite:
    """Where the class scores are.

    Attributes:
        task: The key of its module.
        logits: (1, classes) or (1, classes, 1, ...) to classify, (1, classes, anchors) to detect, classes and positions
            in any order to segment.
        score: What the manifest says of it.
        boxes: The box rows (1, 4, anchors) to detect.
    """

    task: manifest.Task
    logits: ir.Value
    score: manifest.Score
    boxes: ir.Value | None = None


@dataclass(frozen=True)
class Chosen:
    """Where the walk starts.

    Attributes:
        value: The chosen logit or logits.
        seed: Their cotangent, of the same shape: the weights with which they make up the score.
    """

    value: ir.Value
    seed: ir.Value


Find: TypeAlias = Callable[[ir.Value], "ScoreSite | None"]
Choose: TypeAlias = Callable[[Builder, ScoreSite, ir.Value, Set[ir.Value]], Chosen]


@dataclass(frozen=True)
class Task:
    """How a task's score is found and chosen.

    Attributes:
        find: The site behind a static output, or None where it is not of this task's form.
        choose: Appends the choice to the graph, and the outputs `manifest.CHOSEN` and `manifest.SCORE`.
        expected: The form of the output, for the error message.
        width: Numbers in a target.
    """

    find: Find
    choose: Choose
    expected: str
    width: int = 1


TASKS: dict[str, Task] = {}
"""By name, filled by the modules of this package."""


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
    for value in outputs:
        site = TASKS[task].find(value) if is_static(value) else None
        if site is not None:
            if site.score.activation != "none":
                logger.info("score: the logits before the trailing %s", site.score.activation)
            return site
    found = ", ".join(f"{value.name!r} {[str(dim) for dim in value.shape or ()]}" for value in outputs)
    raise ModelError(
        f"task {task}: outputs {found}; one of shape {TASKS[task].expected} was expected; see --task and --output-name"
    )


def append_choice(op: Builder, site: ScoreSite, keep: Set[ir.Value]) -> Chosen:
    """Append the target input, the outputs that say what was chosen, and the chosen score.

    Args:
        op: Builder of the model's graph.
        site: Where the class scores are.
        keep: The target layers, which the choice must not reach behind.
    """
    task = TASKS[site.task]
    target = ir.Value(name=manifest.TARGET, type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape([task.width]))
    op.graph.inputs.append(target)
    return task.choose(op, site, target, keep)


def ones(op: Builder, chosen: ir.Value) -> Chosen:
    """The chosen entries, each with weight 1."""
    return Chosen(chosen, op.floats_like(chosen, np.ones(static_shape(chosen))))


def output_score(op: Builder, value: ir.Value) -> None:
    """Let the chosen score leave the graph, float32 of shape (1,)."""
    value = op.reshape(value, 1)
    op.output(value if value.dtype == ir.DataType.FLOAT else op.Cast(value, to=ir.DataType.FLOAT), manifest.SCORE)
