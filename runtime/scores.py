"""Reading a model's own output: class probabilities, the top classes, the box at an anchor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Manifest, Score
from aerocam.runtime.placement import Box

BOX_ROWS = 4
"""Rows before the class scores that a detector of the YOLO family has: centre x, centre y, width, height."""

NUMBERS = frozenset({"embed", "regress", "scalar"})
"""Tasks whose output has no probabilities."""


@dataclass(frozen=True)
class ClassScore:
    """A class and how sure the model is of it.

    Attributes:
        index: Of the class.
        label: Its name, or `class <index>` where the model has none.
        score: Probability, 0 to 1.
    """

    index: int
    label: str
    score: float


def probabilities(output: NDArray[Any], score: Score) -> NDArray[np.float32]:
    """Each class's probability; for a detector or segmenter that at the class's best anchor or position.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.

    Returns:
        float32 (classes,).
    """
    if score.anchors:
        rows = np.moveaxis(output[0], score.class_axis - 1, 0)[score.class_offset :][: score.classes]
        best = np.asarray(rows.reshape(score.classes, -1).max(axis=1), np.float32)
        return best if score.activation != "none" else _sigmoid(best)
    values = np.asarray(output, np.float32).reshape(-1)
    if len(values) < score.classes:  # one logit, or its sigmoid, for two classes
        values = values if score.activation != "none" else _sigmoid(values)
        return np.concatenate([1 - values, values])
    return values if score.activation != "none" else _softmax(values)


def at_anchor(output: NDArray[Any], score: Score, index: int, anchor: int) -> float:
    """The probability of one class at one anchor of a detector."""
    value = np.asarray(output[0, score.class_offset + index, anchor], np.float32)
    return float(value if score.activation != "none" else _sigmoid(value))


def box_at(output: NDArray[Any], score: Score, anchor: int) -> Box | None:
    """The box at an anchor in px of the input tensor, or None where the output's form has no box."""
    if score.class_offset != BOX_ROWS:
        return None
    x, y, width, height = (float(value) for value in output[0, :BOX_ROWS, anchor])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def top_classes(values: NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[ClassScore]:
    """The `count` best classes, best first; equal ones in the order of their index."""
    count = min(count, len(values))
    if count < 1:
        return []
    best = np.argpartition(-values, count - 1)[:count]
    best = best[np.lexsort((best, -values[best]))]
    return [ClassScore(int(index), label_of(int(index), labels), float(values[index])) for index in best]


def numbers(values: NDArray[np.float32], manifest: Manifest, count: int) -> list[ClassScore]:
    """The `count` numbers of a regression farthest from 0, as they are; none of an embedding."""
    if manifest.task == "embed":
        return []
    order = np.argsort(-np.abs(values), kind="stable")[:count].tolist()
    return [ClassScore(index, number_label(index, manifest), float(values[index])) for index in order]


def number_label(index: int, manifest: Manifest) -> str:
    """What a score is called that is no class's."""
    if manifest.task == "embed":
        return "similarity"
    return manifest.labels[index] if manifest.labels else f"output {index}"


def label_of(index: int, labels: tuple[str, ...]) -> str:
    """The name of a class, or `class <index>` where the model has no names."""
    return labels[index] if labels else f"class {index}"


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x) / sum(exp(x)), safe against overflow."""
    powers = np.exp(logits - logits.max())
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), safe against overflow."""
    values: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * logits))
    return values
