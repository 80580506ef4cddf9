"""What an export without options decided about a network, held against what is true of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from aerocam.benchmarks.studies.networks.truth import Place, Truth
from aerocam.decisions import Decision
from aerocam.errors import AerocamError
from aerocam.export import export_model
from aerocam.export.reading.modules import module_path
from aerocam.manifest import Manifest

Outcome = Literal["right", "warned and right", "warned and wrong", "silent and wrong"]
NEAR = 1.0
"""Grey levels by which means and deviations may be apart."""


@dataclass(frozen=True)
class Verdict:
    """What came of one decision.

    Attributes:
        subject: What it is about.
        outcome: Whether it is right, and whether the export warned of it.
        decided: What was decided, in words.
        expected: What is true, in words; empty where it is right.
    """

    subject: str
    outcome: Outcome
    decided: str
    expected: str = ""


@dataclass(frozen=True)
class Judgement:
    """What came of one file.

    Attributes:
        verdicts: One per decision; none where the export was refused.
        refused: Why it was.
    """

    verdicts: tuple[Verdict, ...] = ()
    refused: str = ""


def judge(path: Path, truth: Truth | None, shapes: Mapping[str, Sequence[int]] | None = None) -> Judgement:
    """Export a file without options, and say what is right of each decision.

    Args:
        path: The file.
        truth: What is true of it; None: it looks at no pictures.
        shapes: Shapes for inputs with dynamic axes.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = export_model(path, Path(folder) / "explained.onnx", check=False, input_shapes=shapes)
        except AerocamError as error:
            return Judgement(refused=str(error).replace(f"{path}: ", ""))
    if truth is None:
        nothing = Decision("task", done.manifest.task, "", "task")
        return Judgement((Verdict("task", "silent and wrong", nothing.decided, "it looks at no pictures"),))
    return Judgement(tuple(verdicts(done.manifest, truth, ir.load(path))))


def verdicts(manifest: Manifest, truth: Truth, model: ir.Model) -> Iterator[Verdict]:
    """Yield a verdict on each decision of a manifest.

    Args:
        manifest: What the exported file says.
        truth: What is true.
        model: The original.
    """
    for decision in manifest.decisions:
        expected = CHECKS[decision.subject](manifest, truth, model)
        warned, right = decision.is_guess, not expected
        outcome: Outcome = (
            ("warned and right" if warned else "right")
            if right
            else "warned and wrong"
            if warned
            else "silent and wrong"
        )
        yield Verdict(decision.subject, outcome, decision.decided, expected)


def _task(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    return "" if manifest.task == truth.task else truth.task


def _output(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    """Return which output is right, with its number of classes, unless that was taken."""
    outputs = [str(value.name) for value in model.graph.outputs]
    name = None if truth.output is None else outputs[truth.output]
    is_output = manifest.score.output == name if name is not None else manifest.score.output not in outputs
    return "" if is_output and manifest.score.classes == truth.classes else f"{name}, {truth.classes} classes"


def _activation(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    if truth.link is None:
        return "no scores of classes"
    return "" if manifest.score.link == truth.link else f"{truth.link} of the output"


def _layout(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    is_right = (manifest.score.classes, manifest.score.background) == (truth.classes, truth.background)
    return "" if is_right else f"{truth.classes} classes, background {truth.background}"


def _boxes(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    shown = "none" if manifest.boxes is None else f"{manifest.boxes.form} {manifest.boxes.unit}"
    return "" if shown == truth.boxes else truth.boxes or "no boxes"


def _layers(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    """Return where the layers are right, unless they are there."""
    producers = {str(value.name): node for node in model.graph for value in node.outputs}
    places = [(f"{module_path(producers.get(layer.name))} {layer.name}", layer.shape[2:]) for layer in manifest.layers]
    there = sorted(places, key=lambda place: (-prod(place[1]), place[0]))
    wanted = sorted(truth.layers, key=lambda place: -prod(place.size))
    if len(there) == len(wanted) and all(_is_at(*layer, place) for layer, place in zip(there, wanted, strict=True)):
        return ""
    return ", ".join(f"{place.module} {'x'.join(map(str, place.size))}" for place in truth.layers)


def _is_at(name: str, size: tuple[int, ...], place: Place) -> bool:
    """Return whether a layer, of this path and name, is at a place; the planes of a volume lie below each other."""
    flat = (prod(place.size[:-1]), place.size[-1])
    path, _, tensor = name.partition(" ")
    return size == flat and any(re.search(place.module, text) for text in (path, tensor))


def _preprocessing(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    """Return numbers, colour and rule, unless they are those; how far the crop goes and by what filter is not asked."""
    found = manifest.preprocess
    if found is None or truth.numbers is None:
        return "" if found is None and truth.numbers is None else _shown(truth)
    numbers = ((found.mean * 3)[:3], (found.std * 3)[:3])
    apart = max(np.abs(np.subtract(a, b)).max() for a, b in zip(numbers, truth.numbers, strict=True))
    is_right = apart <= NEAR and found.color == truth.color and found.resize in truth.resize
    return "" if is_right else _shown(truth)


def _shown(truth: Truth) -> str:
    if truth.numbers is None:
        return "none, the input is no picture"
    mean, std = (", ".join(f"{x:g}" for x in dict.fromkeys(numbers)) for numbers in truth.numbers)
    return f"{' or '.join(truth.resize)}, {truth.color}, mean {mean}, std {std}"


def _labels(manifest: Manifest, truth: Truth, model: ir.Model) -> str:
    return "" if (manifest.labels or ("",))[0] == truth.label else truth.label or "none"


CHECKS: dict[str, Callable[[Manifest, Truth, ir.Model], str]] = {
    "task": _task,
    "output": _output,
    "activation": _activation,
    "layout": _layout,
    "boxes": _boxes,
    "layers": _layers,
    "preprocessing": _preprocessing,
    "labels": _labels,
}
"""By subject: says what is true where a decision is not that; nothing where it is right."""
