"""What is to be found in each of the tiny detectors, and the logits and preferences behind their outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import tiny_detectors as tiny
from aerocam.manifest import Boxes, Keypoints, Masks, Score

Array = NDArray[Any]
CELLS, CLASSES = tiny.CELLS, tiny.CLASSES


@dataclass(frozen=True)
class Case:
    """A layout.

    Attributes:
        layout: Its name.
        build: Makes the graph.
        score: What the manifest is to say of the score.
        boxes: And of the boxes.
        layers: What `auto` takes.
        link: `sigmoid` or `softmax`, of the logits behind the output `y`; `none` where `y` is logits of a softmax,
            `host` where it is those of sigmoids.
        metadata: What Ultralytics writes of it into the file.
    """

    layout: str
    build: Callable[[tiny.Graph], None]
    score: Score
    boxes: Boxes
    layers: tuple[str, ...] = ("p0", "p1")
    link: str = "sigmoid"
    metadata: dict[str, str] = field(default_factory=dict)

    def file(self) -> onnx.ModelProto:
        """The detector, with its metadata."""
        proto = tiny.build(self.build)[0]
        onnx.helper.set_model_props(proto, self.metadata)
        return proto

    def logits(self, y: Array) -> Array:
        """(anchors, classes): the logits as the output gives them; of a softmax, but for a number per anchor."""
        y = y[0] if self.score.class_axis == 2 else y[0].T
        if self.score.label_at is not None:
            share = y[:, 4:5]
            return np.log(share / (1 - share))
        count = self.score.classes + (self.score.background == self.score.classes)
        shares = y[:, self.score.class_offset :][:, :count]
        if self.link in ("none", "host"):
            return shares[:, : self.score.classes]
        if self.link == "softmax":
            return np.log(shares)[:, : self.score.classes]
        return np.log(shares / (1 - shares))

    def preference(self, y: Array) -> Array:
        """(anchors, classes): the probability by which the model is to choose."""
        y = y[0] if self.score.class_axis == 2 else y[0].T
        logits = self.logits(y[None] if self.score.class_axis == 2 else y.T[None])
        shares = 1 / (1 + np.exp(-logits))
        if self.link in ("none", "softmax"):
            powers = np.exp(y[:, : self.score.classes + 1]) if self.link == "none" else y
            shares = (powers / powers.sum(axis=1, keepdims=True))[:, : self.score.classes]
        sure = y[:, 4:5] if self.link != "host" else 1 / (1 + np.exp(-y[:, 4:5]))
        return shares * sure if self.score.objectness else shares


YOLO = Score("y", "sigmoid", CLASSES, 4, CELLS)
QUERY = Score("y", "sigmoid", CLASSES, 0, tiny.QUERIES, 2)
SHARES = Boxes("boxes", 2, unit="share", suppressed=True)
CORNERS = Boxes("boxes", 2, form="yxyx", unit="share")
TOKENS = ("tokens",)
NAMES = {"stride": "32", "names": "{0: 'red', 1: 'green', 2: 'blue'}", "imgsz": "[32, 32]"}
EXTRAS = {
    "segment": Case(
        "yolov8",
        tiny.yolov8_segment,
        YOLO,
        Boxes("y", 1, masks=Masks("prototypes", 7, 2)),
        metadata={**NAMES, "task": "segment"},
    ),
    "pose": Case(
        "yolov8",
        tiny.yolov8_pose,
        YOLO,
        Boxes("y", 1, keypoints=Keypoints(7, 2, 3)),
        metadata={**NAMES, "task": "pose", "kpt_shape": "[2, 3]"},
    ),
    "obb": Case("yolov8", tiny.yolov8_obb, YOLO, Boxes("y", 1, angle=7), metadata={**NAMES, "task": "obb"}),
}
"""Detectors of Ultralytics that have more of an object than a box."""

CASES = {
    "yolov8": Case("yolov8", tiny.yolov8, YOLO, Boxes("y", 1)),
    "yolov8-last": Case("yolov8", tiny.yolov8_last, Score("y", "sigmoid", CLASSES, 4, CELLS, 2), Boxes("y", 2)),
    "yolov8-logits": Case(
        "yolov8", tiny.yolov8_logits, Score("y", "none", CLASSES, 4, CELLS), Boxes("y", 1), link="host"
    ),
    "yolov8-product": Case(
        "yolov8", tiny.yolov8_product, Score("y", "probabilities", CLASSES, 4, CELLS, 2), Boxes("y", 2)
    ),
    "yolox-logits": Case(
        "yolov5",
        tiny.yolox_logits,
        Score("y", "none", CLASSES, 5, CELLS, 2, objectness=4),
        Boxes("y", 2),
        link="host",
    ),
    **EXTRAS,
    "yolov5": Case("yolov5", tiny.yolov5, Score("y", "sigmoid", CLASSES, 5, 3 * CELLS, 2, objectness=4), Boxes("y", 2)),
    "yolov5-segment": Case(
        "yolov5",
        tiny.yolov5_segment,
        Score("y", "sigmoid", CLASSES, 5, 3 * CELLS, 2, objectness=4),
        Boxes("y", 2, masks=Masks("prototypes", 8, 2)),
    ),
    "yolox": Case(
        "yolox",
        tiny.yolox,
        Score("y", "sigmoid", CLASSES, 5, CELLS, 2, objectness=4),
        Boxes("y", 2, strides=tiny.STRIDES),
    ),
    "yolox-decoded": Case(
        "yolov5", tiny.yolox_decoded, Score("y", "sigmoid", CLASSES, 5, CELLS, 2, objectness=4), Boxes("y", 2)
    ),
    "yolov10": Case(
        "yolov10",
        tiny.yolov10,
        Score("y", "sigmoid", CLASSES, 4, tiny.FINISHED, 2, label_at=5),
        Boxes("y", 2, form="xyxy", suppressed=True),
    ),
    "yolov10-agnostic": Case(
        "yolov10",
        tiny.yolov10_agnostic,
        Score("y", "sigmoid", CLASSES, 4, tiny.FINISHED, 2, label_at=5),
        Boxes("y", 2, form="xyxy", suppressed=True),
        metadata={**NAMES, "task": "detect"},
    ),
    "yolov10-obb": Case(
        "yolov10",
        tiny.yolov10_obb,
        Score("y", "sigmoid", CLASSES, 4, tiny.FINISHED, 2, label_at=5),
        Boxes("y", 2, suppressed=True, angle=6),
        metadata={**NAMES, "task": "obb"},
    ),
    "ssd": Case(
        "ssd", tiny.ssd, Score("y", "softmax", 1 + CLASSES, 0, CELLS, 2, background=0), CORNERS, link="softmax"
    ),
    "retinanet": Case("retinanet", tiny.retinanet, Score("y", "sigmoid", CLASSES, 0, CELLS, 2), CORNERS),
    "retinanet-first": Case(
        "retinanet", tiny.retinanet_first, Score("y", "sigmoid", CLASSES, 0, CELLS), Boxes("boxes", 1)
    ),
    "retinanet-apart": Case("retinanet", tiny.retinanet_apart, Score("y", "sigmoid", CLASSES, 0, CELLS, 2), CORNERS),
    "detr": Case(
        "detr",
        tiny.detr,
        Score("y", "none", CLASSES, 0, tiny.QUERIES, 2, background=CLASSES),
        SHARES,
        TOKENS,
        link="none",
    ),
    "detr-softmax": Case(
        "detr",
        tiny.detr_softmax,
        Score("y", "softmax", CLASSES, 0, tiny.QUERIES, 2, background=CLASSES),
        SHARES,
        TOKENS,
        link="softmax",
    ),
    "rtdetr": Case(
        "rtdetr",
        tiny.rtdetr,
        Score("y", "sigmoid", CLASSES, 4, tiny.QUERIES, 2),
        Boxes("y", 2, unit="share", suppressed=True),
        TOKENS,
    ),
    "dfine": Case("rtdetr", tiny.dfine, Score("y", "none", CLASSES, 0, tiny.QUERIES, 2), SHARES, TOKENS, link="host"),
    "rtdetr-finished": Case(
        "yolov10",
        tiny.rtdetr_finished,
        Score("y", "sigmoid", CLASSES, 4, tiny.FINISHED, 2, label_at=5),
        Boxes("y", 2, unit="share", suppressed=True),
        TOKENS,
    ),
    "rtdetr-beside": Case("rtdetr", tiny.rtdetr_beside, QUERY, SHARES, TOKENS),
}
