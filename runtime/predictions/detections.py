"""What a detector finds in a frame: boxes with class and score, and the anchor that each one comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.geometry import Box, Point, Size
from aerocam.manifest import Boxes, Manifest
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions.boxes import boxes_at, suppress
from aerocam.runtime.predictions.objects import Keypoint, masks_at, places_at
from aerocam.runtime.predictions.rotated import rotated_at, suppress_rotated
from aerocam.runtime.predictions.scores import anchor_scores, label_of
from aerocam.runtime.predictions.targets import Class, class_index

CANDIDATES = 30000
"""The best boxes that suppression is run on, as Ultralytics has it: far more than objects in a picture."""


@dataclass(frozen=True)
class Detection:
    """Describes an object that a detector finds.

    Example:
        >>> from aerocam.runtime import Explainer, Objects, read_picture
        >>> with Explainer("detector.cam.onnx") as explainer:
        ...     prediction = explainer.predict(read_picture("photo.png"))
        ...     found = Objects().find(prediction.outputs, explainer.manifest, prediction.placement)
        >>> [(detection.label, round(detection.score, 2), detection.anchor) for detection in found]
        [('red', 0.33, 6)]

    Attributes:
        index: Index of its class.
        label: The class's name.
        score: How sure the model is, 0 to 1; objectness included where the model has it.
        box: (left, top, right, bottom) in px of the frame, cut to it.
        anchor: Which of the model's anchors it is: with `index`, the target that explains it.
        polygon: Of a rotated box, its four corners (x, y) in px of the frame, also outside of it; `box` holds them all.
        keypoints: Its keypoints (x, y) or (x, y, how sure, 0 to 1) in px of the frame, where the model has any.
    """

    index: int
    label: str
    score: float
    box: Box
    anchor: int
    polygon: tuple[Point, ...] | None = None
    keypoints: tuple[Keypoint, ...] | None = None


@dataclass(frozen=True)
class Objects:
    """Asks for what a detector finds in a frame, as targets: every object with a map of its own.

    Example:
        >>> from aerocam.runtime import Explainer, Objects, read_picture
        >>> with Explainer("detector.cam.onnx") as explainer:
        ...     explanation = explainer(read_picture("photo.png"), Objects(most=3, confidence=0.3, classes=("red",)))
        >>> [(target.label, target.box[0]) for target in explanation.targets], len(explanation.map)
        ([('red', 48.0)], 1)

    Attributes:
        most: How many objects, the best ones.
        number: Only this one of them, the best being 1; None: all.
        confidence: See `detections`.
        iou: See `detections`.
        classes: See `detections`.
        guess: Whether the model's own top choice stands for them where there are none; else nothing is explained.
    """

    most: int = 5
    number: int | None = None
    confidence: float = 0.25
    iou: float = 0.7
    classes: tuple[Class, ...] | None = None
    guess: bool = True

    def check(self, manifest: Manifest) -> None:
        """Make sure that a model has what is asked for.

        Raises:
            UsageError: See `detections`; or a number that cannot be.
        """
        for name, count in (("most", self.most), ("number", self.number)):
            if count is not None and count < 1:
                raise UsageError(f"`{name}={count}`: expected 1 or more, objects count from 1")
        for name, value in (("confidence", self.confidence), ("iou", self.iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"`{name}={value}`: expected 0 to 1")
        if manifest.boxes is None:
            raise UsageError(
                f"task {manifest.task}: the model gives no boxes; a detector whose graph decodes them is expected"
            )
        for class_ in self.classes or ():
            class_index(class_, manifest)

    def find(self, outputs: Mapping[str, NDArray[Any]], manifest: Manifest, placement: Placement) -> list[Detection]:
        """Return the objects that are meant; see `detections` for the arguments."""
        most = max(self.most, self.number or 0)
        objects = detections(
            outputs,
            manifest,
            placement,
            confidence=self.confidence,
            iou=self.iou,
            classes=self.classes,
            max_detections=most,
        )
        return objects if self.number is None else objects[self.number - 1 : self.number]


def detections(
    outputs: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    placement: Placement,
    *,
    confidence: float = 0.25,
    iou: float = 0.7,
    classes: Sequence[Class] | None = None,
    max_detections: int = 300,
    agnostic: bool = False,
) -> list[Detection]:
    """Find the boxes of a detector, best first; the defaults are Ultralytics'.

    An anchor counts for its best class. Of boxes of one class that overlap, the best is kept, as torchvision's `nms`
    has it, or Ultralytics for rotated ones; where the model has done so itself, or need not (YOLOv10, DETR), all are
    kept. An object whose mask is empty is none.

    Args:
        outputs: Of the model, by name: those that `manifest.score` and `manifest.boxes` name.
        manifest: The model's.
        placement: Where the frame lies in the input tensor.
        confidence: Boxes of a greater score are found.
        iou: Intersection over union above which the worse of two boxes goes.
        classes: Indices or labels of the classes to find; None: all.
        max_detections: How many boxes to return.
        agnostic: Whether boxes of different classes suppress each other.

    Raises:
        UsageError: The model has no boxes, no such class, or a threshold is not between 0 and 1.
    """
    Objects(confidence=confidence, iou=iou).check(manifest)
    assert manifest.boxes is not None
    indices = None if classes is None else np.array([class_index(class_, manifest) for class_ in classes], np.int64)
    score = manifest.score
    anchors, labels, scores = anchor_scores(outputs[score.output], score, confidence)
    if indices is not None:
        asked = np.isin(labels, indices)
        anchors, labels, scores = anchors[asked], labels[asked], scores[asked]
    size = placement.tensor_size
    kept = _kept(outputs, manifest.boxes, (anchors, labels, scores), size, iou, max_detections, agnostic)
    places = places_at(outputs, manifest.boxes, anchors[kept], placement)
    return [
        Detection(
            int(labels[i]),
            label_of(int(labels[i]), manifest.labels),
            float(scores[i]),
            place.box,
            int(anchors[i]),
            place.polygon,
            place.keypoints,
        )
        for i, place in zip(kept, places, strict=True)
    ]


def _kept(
    outputs: Mapping[str, NDArray[Any]],
    where: Boxes,
    found: tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]],
    size: Size,
    iou: float,
    most: int,
    agnostic: bool,
) -> NDArray[np.intp]:
    """Return which of the anchors found, with labels and scores, are objects, best first; see `detections`."""
    anchors, labels, scores = found
    kept = np.argsort(-scores, kind="stable")[:CANDIDATES]
    apart = None if agnostic else labels[kept]
    if not where.suppressed and where.angle is not None:
        kept = kept[suppress_rotated(rotated_at(outputs, where, anchors[kept]), scores[kept], apart, iou, most)]
    elif not where.suppressed:
        kept = kept[suppress(boxes_at(outputs, where, anchors[kept], size), scores[kept], apart, iou, most)]
    kept = kept[:most]
    if where.masks is not None:
        kept = kept[[bool(mask.any()) for mask in masks_at(outputs, where, anchors[kept], size)]]
    return kept
