"""What the manifest says of the score that is explained, and of a detector's boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BoxForm = Literal["cxcywh", "xyxy", "yxyx"]
BoxUnit = Literal["pixel", "share"]
Contrast = Literal["none", "finer"]
Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class Score:
    """What is explained: one number, taken before any trailing softmax or sigmoid.

    Task `classify`: the logit of a class; the target is int32 of shape (1,): [class]. Of a network with one logit,
    class 1 has that, class 0 its negative.
    Task `detect`: the logit of a class at an anchor; the target is int32 of shape (2,): [class, anchor]. An anchor is
    whatever has a box: a cell of a grid, a query, or a row of a list of finished boxes.
    Task `segment`: the mean logit of a class over the positions where the model predicts it (of one class: where its
    logit is positive), or at its best position where it does so nowhere; the target is int32 of shape (1,): [class]; -1
    is the class of the greatest logit.
    Task `regress`: one number of the output; the target is int32 of shape (1,): [its place]; -1 is the number farthest
    from 0. Task `scalar`: the one number of the output, in whatever shape.
    Task `embed`: the cosine of the output and a reference, which is a run-time input; the target says nothing.
    Every -1 in the target means the model's own best choice.

    Attributes:
        output: Name of the model's own output that holds the class scores. Classify: (1, classes) or
            (1, classes, 1, 1). Detect: (1, class_offset + classes, anchors), or with the two axes the other way round.
            Segment: (1, classes, H, W), or with the classes on another axis.
        activation: What the model applies to the logits to give `output`; `none` where it gives out logits. To detect,
            those are of a softmax where there is a background, of a sigmoid where there is none.
        classes: Number of classes; of numbers, for `regress` and `embed`.
        class_offset: Row of `output` where the class scores begin (4 box rows come first for a YOLO); 0 for classify.
        anchors: Number of anchors, or of positions to segment; 0 for classify.
        class_axis: Axis of `output` with the classes.
        objectness: To detect, the row of `output` with the probability that anything is there, by which those of the
            classes are to be multiplied (YOLOv5, YOLOX); None where there is none.
        label_at: To detect, the row of `output` with the class of each box, where a box has one class and one score, at
            `class_offset` (YOLOv10); its class logit is then that score's, whatever class is asked for. None elsewhere.
        contrast: `finer`: the score is no logit but what the class has that its neighbours lack, Finer-CAM's S
            (arXiv:2501.11309); to classify.
        background: To detect, the class that means that nothing is there, never the model's own choice (SSD: 0); it
            may stand behind the others and is then not counted in `classes` (DETR). None where there is none.
        targets: How many targets one pass explains: the target input has as many [class] or [class, anchor] one after
            the other, gradients and maps as many entries on axis 0. To classify or segment, -2 is the second best
            class then, -3 the third.
    """

    output: str
    activation: Activation
    classes: int
    class_offset: int = 0
    anchors: int = 0
    class_axis: int = 1
    targets: int = 1
    objectness: int | None = None
    label_at: int | None = None
    background: int | None = None
    contrast: Contrast = "none"


@dataclass(frozen=True)
class Boxes:
    """Where a detector's boxes are: one per anchor, in an output (1, 4 + ..., anchors) or (1, anchors, 4 + ...).

    Attributes:
        output: Name of the model's own output that holds them.
        axis: Axis with the four coordinates, 1 or 2; the other counts the anchors.
        offset: Place of the first coordinate on that axis.
        form: Which four numbers: centre and size, or corners.
        unit: `pixel` of the input tensor, or `share` of its width and height.
        strides: For boxes relative to the cells of grids (YOLOX): px between cells, grid by grid, in the order of the
            anchors, row by row; the centre counts from the cell in cells, the size is a logarithm in cells. Empty for
            all others.
        suppressed: Whether each object has one box already, so that nothing is left to suppress.
    """

    output: str
    axis: int
    offset: int = 0
    form: BoxForm = "cxcywh"
    unit: BoxUnit = "pixel"
    strides: tuple[int, ...] = ()
    suppressed: bool = False
