"""What is true of a network by its origin: the words that the tables of networks are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aerocam.manifest import ColorOrder, ResizeRule, Task

Triple = tuple[float, float, float]
Numbers = tuple[Triple, Triple]
"""Mean and standard deviation of the pixels, in 0 to 255, in the order of the channels."""

IMAGENET: Numbers = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
HALVES: Numbers = ((127.5,) * 3, (127.5,) * 3)
UNIT: Numbers = ((0.0,) * 3, (255.0,) * 3)
CLIP: Numbers = ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323))
CAFFE: Numbers = ((104.0, 117.0, 123.0), (1.0,) * 3)
LITE0: Numbers = ((127.0,) * 3, (128.0,) * 3)

STRETCH_OR_FIT: tuple[ResizeRule, ...] = ("stretch", "letterbox")
"""Of networks that are trained on whole pictures of any proportions: no one rule is theirs, but nothing is cut off."""
EMBEDDED: tuple[ResizeRule, ...] = ("stretch",)
"""Of embeddings: nothing of a frame is to be left out, whatever the evaluation of their origin cuts off."""


@dataclass(frozen=True)
class Place:
    """Where a layer is right.

    Attributes:
        module: Pattern (regular expression) of the modules whose outputs are right, searched for in the tensor's path;
            for files without modules, in the tensor's name.
        size: Rows and columns of its grid.
    """

    module: str
    size: tuple[int, ...]


@dataclass(frozen=True)
class Truth:
    """What is true of a network, written by hand from where it comes from.

    Attributes:
        layers: Where the target layers are right, one after the other.
        task: What it does.
        output: Number of the output that is explained; None where what is explained is no output of the model's own.
        classes: Number of classes, without a background behind them; of numbers, where there are no classes.
        background: The class of nothing, if there is one.
        link: What turns the output, as the model gives it, into probabilities; `none` where it holds them already; None
            where its numbers are no scores of classes.
        boxes: Of a detector: form and unit of its boxes, such as `xyxy pixel`; `none` where the graph does not decode
            them.
        numbers: What its preprocessing subtracts and divides by; None where the input is no picture.
        resize: How the size is reached; any of these.
        color: Order of the channels.
        label: Name of the first class, where its file names them.
    """

    layers: tuple[Place, ...]
    task: Task = "classify"
    output: int | None = 0
    classes: int = 1000
    background: int | None = None
    link: str | None = "softmax"
    boxes: str = ""
    numbers: Numbers | None = IMAGENET
    resize: tuple[ResizeRule, ...] = ("crop",)
    color: ColorOrder = "RGB"
    label: str = ""


@dataclass(frozen=True)
class Network:
    """A network that is made to be looked at, most with random weights.

    Attributes:
        build: Makes it, a module of PyTorch's.
        truth: What is true of it.
        inputs: Shapes of its inputs.
        is_trained: Whether its weights are real ones, which stay as they are.
        words: Number of ids in a second input of words, (4, words); 0 where there is none.
    """

    build: Callable[[], Any]
    truth: Truth
    inputs: tuple[tuple[int, ...], ...] = ((1, 3, 64, 64),)
    is_trained: bool = False
    words: int = 0
