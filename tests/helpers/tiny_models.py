"""Explainable models small enough to know every value by hand, for the tests of the device side.

Each one averages patches of the picture per colour channel: A[c] = mean of channel c over a 4x4 patch (8x8 for the
detector), so that a bright red square in the picture is a peak of A[0] at the same place. Class c weighs A by row c of
`WEIGHTS`: red, green and blue speak for their own class, everything speaks against class 3.

They need onnx to be made. Where it is absent (an environment as old as a Jetson's), make them elsewhere with
`python tests/helpers/tiny_models.py DIR` and set AEROCAM_TEST_MODELS=DIR.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aerocam import manifest as contract
from aerocam.manifest import Boxes, Head, Layer, Manifest, Preprocess, Score, Source

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], np.float32)
LABELS = ("red", "green", "blue", "darkness")
CROP = {"resize": "crop", "short_side": 40, "interpolation": "cubic"}


@dataclass(frozen=True)
class Tiny:
    """A recipe.

    Attributes:
        preprocess: What differs from a stretch to 32 x 48 px, RGB, divided by 255.
        detect: Whether it is a detector.
        activation: What is applied to the logits.
        head: Whether it has a fused gradcam head.
        tensors: Which of `activations` and `gradients` leave the graph.
        layers: 1, or 2 for a second layer, the first one pooled 2x2.
        seed_scale: Of the gradients.
        table: The rule of its layers; of so linear a network gradients are multipliers of relevance, too.
        nan: Whether the activations are NaN where the picture is not black.
        labels: Class names.
        manifest: Whether the file carries one.
    """

    preprocess: dict[str, Any] = field(default_factory=dict)
    detect: bool = False
    activation: str = "none"
    head: bool = False
    tensors: tuple[str, ...] = ("activations", "gradients")
    layers: int = 1
    seed_scale: float = 1.0
    table: contract.Rule = "gradient"
    nan: bool = False
    labels: tuple[str, ...] = LABELS
    manifest: bool = True

    @property
    def rule(self) -> Preprocess:
        """The manifest's preprocessing."""
        rule = Preprocess("images", (32, 32) if self.detect else (32, 48))
        return dataclasses.replace(rule, **self.preprocess)


GRAY = {"color": "GRAY", "mean": (0.0,), "std": (255.0,)}
LETTERBOX = {"resize": "letterbox", "fill": 0}
RECIPES = {
    "stretch": Tiny(),
    "crop": Tiny(CROP),
    "letterbox": Tiny(LETTERBOX),
    "bgr": Tiny({"color": "BGR", "mean": (10.0, 20.0, 30.0), "std": (50.0, 60.0, 70.0)}),
    "gray": Tiny(GRAY),
    "softmax": Tiny(activation="softmax"),
    "sigmoid": Tiny(activation="sigmoid"),
    "head": Tiny(head=True, tensors=()),
    "head_and_layers": Tiny(head=True),
    "activations": Tiny(tensors=("activations",)),
    "two_layers": Tiny(layers=2),
    "scaled": Tiny(seed_scale=8.0),
    "nan": Tiny(nan=True),
    "relevance": Tiny(table="relevance"),
    "relevance_nan": Tiny(nan=True, table="relevance"),
    "relevance_detect": Tiny(LETTERBOX, detect=True, activation="sigmoid", table="relevance"),
    "unnamed": Tiny(labels=()),
    "twins": Tiny(labels=("red", "crane", "crane", "darkness")),
    "no_manifest": Tiny(manifest=False),
    "detect": Tiny(LETTERBOX, detect=True, activation="sigmoid"),
}


def model(name: str) -> Path:
    """The path of the model of this recipe; made at its first use, or read from AEROCAM_TEST_MODELS."""
    ready = os.environ.get("AEROCAM_TEST_MODELS")
    return Path(ready, f"{name}.onnx") if ready else _make(name, _folder())


@functools.cache
def _folder() -> Path:
    """A folder for this run of the tests."""
    keep = tempfile.TemporaryDirectory(prefix="aerocam-tiny-")
    _KEPT.append(keep)
    return Path(keep.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def _make(name: str, folder: Path) -> Path:
    """Build one model and save it."""
    import onnx

    path = folder / f"{name}.onnx"
    onnx.save(build(RECIPES[name]), path)
    return path


def build(tiny: Tiny) -> Any:
    """The ONNX model of a recipe: opset 17, IR 8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph(tiny)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in graph.nodes],
            "tiny",
            [
                helper.make_tensor_value_info("images", TensorProto.FLOAT, graph.input_shape),
                helper.make_tensor_value_info(contract.TARGET, TensorProto.INT32, [2 if tiny.detect else 1]),
            ],
            [helper.make_empty_tensor_value_info(name) for name in graph.outputs],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    if tiny.manifest:
        helper.set_model_props(model, {contract.KEY: graph.manifest().to_json()})
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """The nodes of a model, written down by hand."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        height, width = tiny.rule.size
        self.patch = 8 if tiny.detect else 4
        self.grid = (height // self.patch, width // self.patch)
        self.channels = len(tiny.rule.mean)
        self.input_shape = [1, self.channels, height, width]
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}
        self.outputs: list[str] = []
        self.layers: list[Layer] = []
        self._activations()
        if tiny.detect:
            self._detector()
        else:
            self._classifier()
        if tiny.head:
            self._head()

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append((kind, inputs, [output], attributes))
        return output

    def const(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.asarray(value, dtype)
        return name

    def _activations(self) -> None:
        """A: the mean of each channel over patches; NaN where asked for (0/0 outside black)."""
        name = "patches" if self.tiny.nan else "A"
        size = [self.patch, self.patch]
        self.op("AveragePool", ["images"], name, kernel_shape=size, strides=size)
        if self.tiny.nan:
            self.op("Sub", [name, name], "nought")
            self.op("Div", ["nought", "nought"], "A")

    def _classifier(self) -> None:
        """Logits = W mean(A); G = W[class] / cells everywhere."""
        weights = self.const("W", WEIGHTS[:, : self.channels])
        self.op("GlobalAveragePool", ["A"], "pooled")
        self.op("Flatten", ["pooled"], "flat")
        logits = self.op("Gemm", ["flat", weights], "logits", transB=1)
        if self.tiny.activation == "softmax":
            self.op("Softmax", [logits], "probabilities", axis=1)
        if self.tiny.activation == "sigmoid":
            self.op("Sigmoid", [logits], "probabilities")
        self.op("ArgMax", [logits], "best64", axis=1, keepdims=0)
        self.op("Cast", ["best64"], "best", to=6)
        self._choose("best")
        self.op("Gather", [logits, contract.CHOSEN], "row_score", axis=1)
        self.op("Reshape", ["row_score", self.const("one", [1], np.int64)], contract.SCORE)
        self.outputs = [logits if self.tiny.activation == "none" else "probabilities"]
        self.outputs += [contract.CHOSEN, contract.SCORE]
        self.op("Gather", [weights, contract.CHOSEN], "row", axis=0)
        cells = self.grid[0] * self.grid[1]
        self.op("Mul", ["row", self.const("share", self.tiny.seed_scale / cells)], "weight")
        self.op("Reshape", ["weight", self.const("column", [1, -1, 1, 1], np.int64)], "weights4")
        self.op("Expand", ["weights4", self.const("shape", [1, self.channels, *self.grid], np.int64)], "G")
        self._layer("A", "G", self.grid)
        if self.tiny.layers == 2:
            half = (self.grid[0] // 2, self.grid[1] // 2)
            for source, target in (("A", "A2"), ("G", "G2")):
                self.op("AveragePool", [source], target, kernel_shape=[2, 2], strides=[2, 2])
            self._layer("A2", "G2", half)

    def _detector(self) -> None:
        """Logits = 10 W A - 5 per cell; boxes are the cells; G = 10 W[class] at the anchor, 0 elsewhere."""
        rows, columns = self.grid
        cells = rows * columns
        weights = self.const("W", WEIGHTS[:, : self.channels])
        self.op("Reshape", ["A", self.const("flat_shape", [3, cells], np.int64)], "flat")
        self.op("MatMul", [weights, "flat"], "product")
        self.op("Mul", ["product", self.const("ten", 10)], "tenfold")
        self.op("Sub", ["tenfold", self.const("five", 5)], "logits")
        self.op("Sigmoid", ["logits"], "shares")
        y, x = np.divmod(np.arange(cells), columns)
        boxes = np.stack([8 * x + 4, 8 * y + 4, np.full(cells, 8), np.full(cells, 6)])
        self.op("Concat", [self.const("boxes", boxes), "shares"], "table", axis=0)
        self.op("Unsqueeze", ["table", self.const("front", [0], np.int64)], "output0")
        self._choose_anchor(cells)
        self.op("Mul", ["chosen_class", self.const("cells", cells, np.int32)], "first")
        self.op("Add", ["first", "chosen_anchor"], "place")
        self.op("Reshape", ["logits", self.const("line", [-1], np.int64)], "all_logits")
        self.op("Gather", ["all_logits", "place"], contract.SCORE, axis=0)
        self.outputs = ["output0", contract.CHOSEN, contract.SCORE]
        self.op("Gather", [weights, "chosen_class"], "row", axis=0)
        self.op("Reshape", ["row", self.const("column", [1, -1, 1, 1], np.int64)], "row4")
        self.op("Equal", [self.const("numbers", np.arange(cells), np.int32), "chosen_anchor"], "here")
        self.op("Cast", ["here"], "spot", to=1)
        self.op("Reshape", ["spot", self.const("grid", [1, 1, *self.grid], np.int64)], "spot4")
        self.op("Mul", ["row4", "spot4"], "share")
        self.op("Mul", ["share", "ten"], "G")
        self._layer("A", "G", self.grid)

    def _choose_anchor(self, cells: int) -> None:
        """Chosen = the target, with the class's best anchor, or the best of all, for -1. A class given, or neither."""
        start, middle, end = (self.const(f"at{i}", [i], np.int64) for i in range(3))
        self.op("Slice", [contract.TARGET, start, middle], "asked_class")
        self.op("Slice", [contract.TARGET, middle, end], "asked_anchor")
        self.op("ReduceMax", ["logits"], "best_of_class", axes=[1], keepdims=0)
        self.op("ArgMax", ["best_of_class"], "best_class64", axis=0, keepdims=1)
        self.op("Cast", ["best_class64"], "best_class", to=6)
        self.op("Less", ["asked_class", self.const("nil", [0], np.int32)], "class_free")
        self.op("Where", ["class_free", "best_class", "asked_class"], "chosen_class")
        self.op("Gather", ["logits", "chosen_class"], "class_logits", axis=0)
        self.op("ArgMax", ["class_logits"], "best_anchor64", axis=1, keepdims=0)
        self.op("Cast", ["best_anchor64"], "best_anchor", to=6)
        self.op("Less", ["asked_anchor", "nil"], "anchor_free")
        self.op("Where", ["anchor_free", "best_anchor", "asked_anchor"], "chosen_anchor")
        self.op("Concat", ["chosen_class", "chosen_anchor"], contract.CHOSEN, axis=0)

    def _choose(self, best: str) -> None:
        """Chosen = the target, or the best for -1."""
        self.op("Less", [contract.TARGET, self.const("nil", [0], np.int32)], "free")
        self.op("Where", ["free", best, contract.TARGET], contract.CHOSEN)

    def _layer(self, a: str, g: str, grid: tuple[int, int]) -> None:
        """Name a layer's tensors as outputs, as far as the recipe has them."""
        names = {kind: name for kind, name in (("activations", a), ("gradients", g)) if kind in self.tiny.tensors}
        self.outputs += names.values()
        shape = (1, self.channels, *grid)
        tensors = names.get("activations"), names.get("gradients")
        self.layers.append(Layer(a, "spatial", shape, *tensors, self.tiny.table))

    def _head(self) -> None:
        """Grad-CAM in the graph."""
        self.op("ReduceMean", ["G"], "importance", axes=[2, 3], keepdims=1)
        self.op("Mul", ["importance", "A"], "weighed")
        self.op("ReduceSum", ["weighed", self.const("channel_axis", [1], np.int64)], contract.MAP, keepdims=0)
        self.outputs.append(contract.MAP)

    def manifest(self) -> Manifest:
        """What the exporter would have written."""
        tiny = self.tiny
        link = "none" if tiny.activation != "none" else "sigmoid" if tiny.detect else "softmax"
        score = Score(self.outputs[0], tiny.activation, len(WEIGHTS), link=link)  # type: ignore[arg-type]
        if tiny.detect:
            score = dataclasses.replace(score, class_offset=4, anchors=self.grid[0] * self.grid[1])
        return Manifest(
            task="detect" if tiny.detect else "classify",
            layers=tuple(self.layers),
            score=score,
            preprocess=tiny.rule,
            source=Source("0" * 64, "tiny.onnx", 17, "by hand"),
            head=Head("gradcam", contract.MAP) if tiny.head else None,
            boxes=Boxes(self.outputs[0], axis=1) if tiny.detect else None,
            labels=tiny.labels,
            seed_scale=tiny.seed_scale,
        )


if __name__ == "__main__":
    made = Path(sys.argv[1])
    made.mkdir(parents=True, exist_ok=True)
    for each in RECIPES:
        print(_make(each, made))
