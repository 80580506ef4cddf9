"""Model-parameter randomisation: does a method's map depend on what the network has learnt?

"Sanity Checks for Saliency Maps" (arXiv:1810.03292): the weights are replaced by random ones layer by layer, from the
output towards the input, each step keeping those before. A map that stays as it was does not explain the network. The
steps rewrite weights of the original ONNX file and export it again, so any method that an export gives can be tested.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.similarity import ssim
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.runtime import Explainer

Draw = Literal["redraw", "permute"]
"""New weights from a normal distribution of the old ones' mean and deviation, or the old ones in another order."""

WEIGHTED = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
"""Operators with weights, and which of their inputs these can be."""


@dataclass(frozen=True)
class Step:
    """Maps after some weights were randomised, compared with the original ones.

    Attributes:
        randomised: How many weights are random, those nearest the output.
        last: Name of the last of them; "" where none is.
        spearman: Mean rank correlation of the maps' px, over the pictures on which neither map is constant.
        ssim: Mean structural similarity, over all pictures.
        constant: On how many pictures a map is constant, zero for example.
    """

    randomised: int
    last: str
    spearman: float
    ssim: float
    constant: int


def weight_names(model: onnx.ModelProto) -> list[str]:
    """List the initialisers that Conv, ConvTranspose, Gemm and MatMul read as weights, from the output to the input.

    In the reverse order of the nodes, each once; biases, and weights that are stored quantised, are not among them.
    """
    stored = {one.name for one in model.graph.initializer if len(one.dims) > 1}
    weights: dict[str, None] = {}
    for node in reversed(model.graph.node):
        names = [node.input[place] for place in WEIGHTED.get(node.op_type, ()) if place < len(node.input)]
        weights |= dict.fromkeys(name for name in names if name in stored)
    return list(weights)


def randomised(model: onnx.ModelProto, count: int, seed: int = 0, draw: Draw = "redraw") -> onnx.ModelProto:
    """Return a copy of a model with the `count` weights nearest its output randomised.

    Each weight has random numbers of its own, so a step keeps those of the steps before.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    places = {name: place for place, name in enumerate(weight_names(model)[:count])}
    for tensor in changed.graph.initializer:
        if tensor.name in places:
            old = numpy_helper.to_array(tensor)
            new = _drawn(old, np.random.default_rng([seed, places[tensor.name]]), draw)
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return changed


def _drawn(old: NDArray[Any], rng: np.random.Generator, draw: Draw) -> NDArray[Any]:
    """Draw random weights in place of old ones."""
    if draw == "permute":
        return rng.permutation(old.ravel()).reshape(old.shape)
    return rng.normal(old.mean(dtype=np.float64), old.std(dtype=np.float64), old.shape).astype(old.dtype)


def cascade(
    model: str | Path,
    frames: Sequence[NDArray[np.uint8]],
    methods: Sequence[str],
    *,
    counts: Sequence[int] | None = None,
    seed: int = 0,
    draw: Draw = "redraw",
    options: Mapping[str, Any] | None = None,
) -> dict[str, list[Step]]:
    """Randomise more and more weights, and compare the maps with the original ones.

    Args:
        model: The original ONNX file, not an exported one.
        frames: Pictures, uint8 (H, W, 3) in BGR; on each the original's top class is explained throughout.
        methods: CAM methods.
        counts: How many weights are random at each step, from the output on; None: from none to all in ten steps.
        seed: Of all that is drawn.
        draw: How.
        options: For `export_model`, the same every time, such as `layers` and `preprocess`.

    Returns:
        By method: one entry per step.

    Raises:
        UsageError: A count is larger than the number of weights.
        ModelError: The model has no weights that can be randomised, or cannot be exported.
    """
    proto = onnx.load(str(model))
    names = weight_names(proto)
    if not names:
        raise ModelError(f"{model}: it has no weights of {', '.join(WEIGHTED)} to randomise; give a model in float32")
    counts = sorted({round(len(names) * step / 10) for step in range(11)}) if counts is None else counts
    if not all(0 <= count <= len(names) for count in counts):
        raise UsageError(
            f"randomisation: counts {list(counts)}, 0 to {len(names)} are expected: so many weights there are"
        )
    arguments: dict[str, Any] = {"check": False, **(options or {})}
    steps: dict[str, list[Step]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as room:
        first = export_model(model, Path(room) / "original.cam.onnx", **arguments).path
        with Explainer(first, method=methods[0]) as explainer:
            targets = [int(explainer.predict(frame).probabilities.argmax()) for frame in frames]
        original = dict(_maps(first, frames, targets, methods))
        for count in counts:
            path = Path(room) / "randomised.onnx"
            onnx.save(randomised(proto, count, seed, draw), str(path))
            exported = export_model(path, Path(room) / "randomised.cam.onnx", **arguments).path
            for method, maps in _maps(exported, frames, targets, methods):
                last = names[count - 1] if count else ""
                steps[method].append(compare(original[method], maps, count, last))
    return steps


def _maps(
    path: Path, frames: Sequence[NDArray[np.uint8]], targets: Sequence[int], methods: Sequence[str]
) -> Iterator[tuple[str, list[Floats]]]:
    """Yield each method with its maps over the input tensor."""
    for method in methods:
        with Explainer(path, method=method) as explainer:
            yield method, [explainer(*one).tensor_map[0] for one in zip(frames, targets, strict=True)]


def compare(first: Sequence[Floats], second: Sequence[Floats], count: int = 0, last: str = "") -> Step:
    """Compare two lists of maps (H, W) in [0, 1] over the same pictures, pair by pair."""
    ranks = [rank_correlation(*pair) for pair in zip(first, second, strict=True)]
    finite = [one for one in ranks if np.isfinite(one)]
    mean = float(np.mean(finite)) if finite else float("nan")
    alike = float(np.mean([ssim(*pair) for pair in zip(first, second, strict=True)]))
    return Step(count, last, mean, alike, len(ranks) - len(finite))


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's correlation over the px, by SciPy; NaN if a map is constant."""
    from scipy.stats import ConstantInputWarning, spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # what it warns of is what the NaN says
        return float(spearmanr(first.ravel(), second.ravel()).statistic)
