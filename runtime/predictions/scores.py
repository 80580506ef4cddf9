"""Reading a model's own output: class probabilities, the top classes, the classes of a detector's anchors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Manifest, Score

NUMBERS = frozenset({"embed", "regress", "scalar"})
"""Tasks whose output has no probabilities."""


@dataclass(frozen=True)
class ClassScore:
    """Names a class, and says how sure the model is of it.

    Attributes:
        index: Of the class.
        label: Its name, or `class <index>` where the model has none.
        score: Probability, 0 to 1.
    """

    index: int
    label: str
    score: float


def probabilities(output: NDArray[Any], score: Score) -> NDArray[np.float32]:
    """Return each class's probability; for a detector or segmenter that at the class's best anchor or position.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.

    Returns:
        float32 (classes,). 0 for a detector's background, and for classes that none of its finished boxes has.
    """
    if not score.anchors:
        values = _linked(np.asarray(output, np.float32).reshape(-1), score)
        if len(values) < score.classes:  # one logit, or its sigmoid, for two classes
            return np.concatenate([1 - values, values])
        return values
    if score.label_at is not None:
        best_shares = np.zeros(score.classes, np.float32)
        labels, shares = _labels(output, score), _columns(output, score, score.class_offset, 1)[:, 0]
        valid = (labels >= 0) & (labels < score.classes)
        np.maximum.at(best_shares, labels[valid], np.asarray(shares[valid], np.float32))
        return best_shares
    if score.objectness is None and score.background is None:
        rows = np.moveaxis(output[0], score.class_axis - 1, 0)[score.class_offset :][: score.classes]
        rows = rows.reshape(score.classes, -1)
        if score.link != "softmax":
            return _linked(np.asarray(rows.max(axis=1), np.float32), score)
        places = np.asarray(rows[:, rows.argmax(axis=1)], np.float32)  # where each class has its largest logit
        return np.array(np.diagonal(_softmax(places.T)))
    best = _class_shares(output, score, slice(None)).max(axis=0)
    if score.background is not None and score.background < score.classes:
        best[score.background] = 0
    return best


def region_means(output: NDArray[Any], score: Score, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each channel of a dense output over a region, float32 (channels,).

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.
        weights: (h, w), of its positions.
    """
    start = score.position_offset
    rows = np.moveaxis(output, score.class_axis, 0).reshape(score.classes, -1)[:, start : start + weights.size]
    means: NDArray[np.float32] = rows.astype(np.float32) @ (weights.reshape(-1) / weights.sum())
    return means


def logits(probabilities: NDArray[Any], sigmoid: bool) -> NDArray[np.float64]:
    """Return the logits that probabilities of classes come from; of a softmax up to a number added to all of them.

    A probability of 0 counts as the smallest normal float32, one of 1 as the largest float32 below it.

    Args:
        probabilities: Those of the classes, 0 to 1.
        sigmoid: Whether each is the sigmoid of its logit; else they are a softmax.

    Returns:
        float64, shaped as `probabilities`.
    """
    shares = np.asarray(probabilities, np.float64)
    found: NDArray[np.float64] = np.log(np.maximum(shares, float(np.finfo(np.float32).tiny)))
    return found - np.log(np.maximum(1 - shares, float(np.finfo(np.float32).epsneg))) if sigmoid else found


def at_anchor(output: NDArray[Any], score: Score, index: int, anchor: int) -> float:
    """Return the probability of one class at one anchor of a detector, times the objectness where there is one.

    Where an anchor has one class and one score it is that score.
    """
    if score.label_at is not None:
        return float(_columns(output, score, score.class_offset, 1)[anchor, 0])
    return float(_class_shares(output, score, slice(anchor, anchor + 1))[0, index])


def choice(output: NDArray[Any], score: Score, index: int, anchor: int) -> tuple[int, int]:
    """Return the class and the anchor of a detector's greatest probability.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.
        index: The class, if that is fixed; else -1.
        anchor: The anchor, if that is fixed; else -1.
    """
    if anchor >= 0 and index >= 0:
        return index, anchor
    if score.label_at is not None:
        shares = np.array(_columns(output, score, score.class_offset, 1)[:, 0], np.float32)
        labels = _labels(output, score)
        if index >= 0:
            shares[labels != index] = -1
        best = int(shares.argmax()) if anchor < 0 else anchor
        return (int(labels[best]) if index < 0 else index), best
    of_all = _class_shares(output, score, slice(None) if anchor < 0 else slice(anchor, anchor + 1))
    if score.background is not None and score.background < score.classes:
        of_all[:, score.background] = -1
    columns = of_all if index < 0 else of_all[:, index : index + 1]
    row, column = divmod(int(columns.argmax()), columns.shape[1])
    return (column if index < 0 else index), (row if anchor < 0 else anchor)


def anchor_scores(
    output: NDArray[Any], score: Score, above: float
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]:
    """Return the anchors of a detector whose best class has a probability above a threshold.

    Args:
        output: The model's output that `score` describes.
        score: The manifest's.
        above: The threshold; objectness is included in what is compared.

    Returns:
        Anchors in their order, the best class of each (never the background), and its probability, (n,) each.
    """
    if score.label_at is not None:
        shares = np.asarray(_columns(output, score, score.class_offset, 1)[:, 0], np.float32)
        labels = _labels(output, score)
        anchors = np.flatnonzero((shares > above) & (labels >= 0) & (labels < score.classes))
        return anchors, labels[anchors], shares[anchors]
    anchors = np.arange(score.anchors)
    if score.objectness is not None:  # times a probability, it only gets less: most anchors are out already
        anchors = np.flatnonzero(_sure(output, score, slice(None))[:, 0] > above)
    elif score.background is None and score.link == "none":
        anchors = np.flatnonzero(_columns(output, score, score.class_offset, score.classes).max(axis=1) > above)
    shares = _class_shares(output, score, anchors)
    if score.background is not None and score.background < score.classes:
        shares[:, score.background] = -1
    labels = shares.argmax(axis=1)
    best = shares[np.arange(len(anchors)), labels]
    above_it = best > above
    return anchors[above_it], labels[above_it].astype(np.int64), best[above_it]


def _columns(output: NDArray[Any], score: Score, start: int, count: int) -> NDArray[Any]:
    """Return columns of a detector's output as (anchors, count), a view."""
    return np.moveaxis(output[0], score.class_axis - 1, -1)[:, start : start + count]


def _labels(output: NDArray[Any], score: Score) -> NDArray[np.int64]:
    """Return the one class of each anchor."""
    assert score.label_at is not None
    column = np.nan_to_num(np.asarray(_columns(output, score, score.label_at, 1)[:, 0], np.float64), nan=-1)
    return np.clip(column, -1, score.classes).astype(np.int64)


def _class_shares(output: NDArray[Any], score: Score, anchors: NDArray[np.intp] | slice) -> NDArray[np.float32]:
    """Return each class's probability at these anchors, objectness included: (n, classes), never a view."""
    count = max(score.classes, 0 if score.background is None else score.background + 1)
    shares = np.array(_columns(output, score, score.class_offset, count)[anchors], np.float32)
    shares = _linked(shares, score)
    if score.objectness is not None:
        shares *= _sure(output, score, anchors)
    return shares[:, : score.classes]


def _sure(output: NDArray[Any], score: Score, anchors: NDArray[np.intp] | slice) -> NDArray[np.float32]:
    """Return the probability that anything is there at these anchors, (n, 1)."""
    assert score.objectness is not None
    return _linked(np.asarray(_columns(output, score, score.objectness, 1)[anchors], np.float32), score)


def top_classes(values: NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[ClassScore]:
    """Return the `count` best classes, best first; equal ones in the order of their index."""
    count = min(count, len(values))
    if count < 1:
        return []
    best = np.argpartition(-values, count - 1)[:count]
    best = best[np.lexsort((best, -values[best]))]
    return [ClassScore(int(index), label_of(int(index), labels), float(values[index])) for index in best]


def numbers(values: NDArray[np.float32], manifest: Manifest, count: int) -> list[ClassScore]:
    """Return the `count` numbers of a regression farthest from 0, as they are; none of an embedding."""
    if manifest.task == "embed":
        return []
    order = np.argsort(-np.abs(values), kind="stable")[:count].tolist()
    return [ClassScore(index, number_label(index, manifest), float(values[index])) for index in order]


def number_label(index: int, manifest: Manifest) -> str:
    """Return what a score is called that is not a class's."""
    if manifest.task == "embed":
        return "similarity"
    return manifest.labels[index] if manifest.labels else f"output {index}"


def label_of(index: int, labels: tuple[str, ...]) -> str:
    """Return the name of a class, or `class <index>` where the model has no names."""
    return labels[index] if labels else f"class {index}"


def _linked(values: NDArray[np.float32], score: Score) -> NDArray[np.float32]:
    """Return probabilities of an output's numbers, classes on the last axis."""
    if score.link == "none":
        return values if score.unit == 1 else values / np.float32(score.unit)
    return _softmax(values) if score.link == "softmax" else _sigmoid(values)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return exp(x) / sum(exp(x)) over the last axis, safe against overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)), safe against overflow."""
    values: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * logits))
    return values
