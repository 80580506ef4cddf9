"""What the candidates are measured on: activations and gradients of real networks on real pictures, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.metrics.grid import cell_window
from aerocam.benchmarks.evaluation.mosaics import draw_mosaics, mosaic_rule
from aerocam.benchmarks.latency.timing import open_plain
from aerocam.benchmarks.studies.grid import tiles
from aerocam.export import export_model
from aerocam.geometry import Box
from aerocam.manifest import TARGET, Preprocess
from aerocam.runtime import Explainer
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.predictions.scores import at_anchor, probabilities

LAST, INNER = "head/act", "blocks.10/expand/act"
HELD_OUT = ("chelsea", "coffee", "camera", "rocket", "astronaut")
MOSAICS, SEED = 40, 0
YOLO_LAYER, YOLO_ANCHORS = "/model.21/cv2/act/Mul_output_0", 20480
"""What the last of YOLOv8n's scales reads, and the number of the first anchor that is its own."""

OBJECTS = 4
"""Objects per page: the surest ones of that scale."""

SSDLITE_LAYER = "expanded_conv_13/expand/Relu6"


@dataclass(frozen=True, eq=False)
class Case:
    """One picture, mosaic, or object on a page.

    Attributes:
        picture: What is of one picture is not independent.
        size: (H, W) of the tensor that the model is given, px.
        activations: A, float32 (C, h, w).
        gradients: G of the targets, float32 (n, C, h, w).
        windows: Where each target is over the tensor; empty where that is not known.
        tensor: float32 (1, 3, H, W).
        score: The first target's probability on other tensors (1, 3, H, W); None: not measured.
    """

    picture: str
    size: tuple[int, int]
    activations: Floats
    gradients: Floats
    windows: tuple[tuple[slice, slice], ...] = ()
    tensor: Floats | None = None
    score: Callable[[Floats], float] | None = None


class Network:
    """An exported network whose activations and gradients leave the graph."""

    def __init__(
        self, path: Path, model: Path, layer: str, rule: Preprocess | None = None, labels: Sequence[str] | None = None
    ) -> None:
        """Export and open it."""
        arguments: dict[str, Any] = {"labels": labels} if rule is None else {"labels": labels, "preprocess": rule}
        export_model(model, path, layers=layer, check=False, **arguments)
        self.explainer = Explainer(path, method="gradcam")
        self._session, self.manifest = self.explainer.session, self.explainer.manifest
        target = next(spec for spec in self._session.inputs if spec.name == TARGET)
        self._target = tuple(int(size or 1) for size in target.shape)
        self._plain = open_plain(model.read_bytes(), 1)  # what explains would be computed with each score

    def run(self, tensor: Floats, target: int | tuple[int, int], names: Sequence[str]) -> list[NDArray[Any]]:
        """Run for one target; return copies of the outputs by name."""
        rule = self.manifest.preprocess
        assert rule is not None
        feeds = {rule.input: tensor, TARGET: np.array(target, np.int32).reshape(self._target)}
        outputs = self._session.submit(feeds, names).result()
        return [outputs[name].copy() for name in names]

    def tensors(self, tensor: Floats, targets: Sequence[int | tuple[int, int]]) -> tuple[Floats, Floats]:
        """Return A (C, h, w), and G (n, C, h, w) of the targets."""
        layer = self.manifest.layers[0]
        names = [str(layer.activations), str(layer.gradients)]
        runs = [self.run(tensor, target, names) for target in targets]
        return runs[0][0][0], np.stack([gradients[0] for _, gradients in runs])

    def probabilities(self, tensor: Floats) -> NDArray[np.float32]:
        """Return the probabilities of a classifier's classes, float32 (classes,)."""
        return probabilities(self.output(tensor), self.manifest.score)

    def output(self, tensor: Floats) -> NDArray[Any]:
        """Return the plain model's output that is explained."""
        assert self.manifest.preprocess is not None
        feeds = {self.manifest.preprocess.input: tensor}
        output: NDArray[Any] = self._plain.run([self.manifest.score.output], feeds)[0]
        return output

    def probability(self, tensor: Floats, target: int | tuple[int, int]) -> float:
        """Return the probability of one class, or of one class at one anchor."""
        if isinstance(target, int):
            return float(self.probabilities(tensor)[target])
        return at_anchor(self.output(tensor), self.manifest.score, *target)


def photographs(folder: Path, layer: str, held_out: bool) -> Iterator[Case]:
    """Yield cases of EfficientNet-Lite0 on photographs: the label and the best other class; else the best two."""
    network = Network(folder / "photographs.onnx", zoo.lite0.model(), layer, zoo.lite0.PREPROCESS)
    prepare = Preprocessor(zoo.lite0.PREPROCESS)
    frames = (
        [(name, zoo.photograph(name), -1) for name in HELD_OUT]
        if held_out
        else [(name, zoo.labelled_photograph(name), one.label) for name, one in zoo.LABELLED.items()]
    )
    for name, frame, label in frames:
        tensor = prepare(frame)[0].copy()
        first, second = np.argsort(network.probabilities(tensor))[:-3:-1]
        target = int(first) if label < 0 else label
        other = int(second) if target == first else int(first)
        arrays = network.tensors(tensor, [target, other])
        score = partial(network.probability, target=target)
        yield Case(name, zoo.lite0.PREPROCESS.size, *arrays, tensor=tensor, score=score)


def mosaics(folder: Path, layer: str) -> Iterator[Case]:
    """Yield cases of EfficientNet-Lite0 at twice the size on 2 x 2 mosaics; all cells' classes are targets."""
    rule = mosaic_rule(zoo.lite0.PREPROCESS)
    large = Network(folder / "mosaics.onnx", zoo.lite0.model(rule.size[0]), layer, rule)
    prepare = Preprocessor(rule)
    for mosaic in draw_mosaics(tiles(folder), MOSAICS, seed=SEED):
        asked = list(mosaic.questions())
        tensor = prepare(mosaic.frame)[0].copy()
        windows = tuple(cell_window(rule.size, one.truth.cells, one.truth.cell) for one in asked)
        yield Case(mosaic.name, rule.size, *large.tensors(tensor, [one.target for one in asked]), windows)


def pages(folder: Path) -> Iterator[Case]:
    """Yield cases of YOLOv8n on two pages: the surest objects of the last scale. Too slow for insertion."""
    network = Network(folder / "pages.onnx", zoo.yolov8n_doclaynet(), YOLO_LAYER)
    for name in zoo.PAGES:
        yield from _objects(network, name, zoo.page(name), most=OBJECTS, first_anchor=YOLO_ANCHORS, scored=False)


def persons(folder: Path) -> Iterator[Case]:
    """Yield cases of SSDLite-MobileNetV2 on a room full of people: all that it detects."""
    network = Network(
        folder / "persons.onnx", zoo.ssdlite.model(), SSDLITE_LAYER, zoo.ssdlite.PREPROCESS, zoo.ssdlite.LABELS
    )
    yield from _objects(network, "room", zoo.photograph("room"), most=30, first_anchor=0, scored=True)


def _objects(
    network: Network, name: str, frame: NDArray[np.uint8], most: int, first_anchor: int, scored: bool
) -> Iterator[Case]:
    """Yield one case per object of a frame: the surest ones from an anchor on, each beside another one."""
    assert network.manifest.preprocess is not None
    tensor, placement = Preprocessor(network.manifest.preprocess)(frame)
    outputs = {output: network.run(tensor, (0, 0), [output])[0] for output in network.manifest.own_outputs}
    objects = Objects(most=30).find(outputs, network.manifest, placement)
    objects = [one for one in objects if one.anchor >= first_anchor][:most]
    for i, one in enumerate(objects):
        pair = [one, objects[(i + 1) % len(objects)]]
        targets = [(each.index, each.anchor) for each in pair]
        windows = tuple(_window(each.box, placement.seen, frame.shape[:2]) for each in pair)
        score = partial(network.probability, target=targets[0]) if scored else None
        size = network.manifest.preprocess.size
        yield Case(f"{name} {i + 1}", size, *network.tensors(tensor, targets), windows, tensor, score)


def _window(box: Box, seen: tuple[int, int, int, int], frame: tuple[int, ...]) -> tuple[slice, slice]:
    """Convert a box in frame px, all of which the model sees, to rows and columns of the tensor."""
    top, left, bottom, right = seen
    rows, columns = (bottom - top) / frame[0], (right - left) / frame[1]
    x0, y0, x1, y1 = box
    return (
        slice(round(top + y0 * rows), round(top + y1 * rows)),
        slice(round(left + x0 * columns), round(left + x1 * columns)),
    )


SETS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "mosaics, last layer": partial(mosaics, layer=LAST),
    "photographs, last layer": partial(photographs, layer=LAST, held_out=False),
    "held out, last layer": partial(photographs, layer=LAST, held_out=True),
    "mosaics, inner layer": partial(mosaics, layer=INNER),
    "photographs, inner layer": partial(photographs, layer=INNER, held_out=False),
    "persons, SSDLite": persons,
    "pages, YOLOv8n": pages,
}
"""What is measured, by name. The constants were chosen on the photographs and mosaics; those held out and the detectors
were measured afterwards."""
