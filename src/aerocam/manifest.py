"""The manifest: the one contract between an exported model and the runtime.

`aerocam export` writes it as JSON into the ONNX `metadata_props` under `KEY` (and beside an engine, `<engine>.json`);
the runtime reads it back. Both sides go through `Manifest.to_json` and `Manifest.from_json`, which validate.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Literal

from aerocam.decisions import Decision
from aerocam.decoding import Count, Positive, Range, decode
from aerocam.errors import ManifestError
from aerocam.foreign import parse_json

BoxForm = Literal["cxcywh", "xyxy", "yxyx"]
BoxUnit = Literal["pixel", "share"]
Contrast = Literal["none", "finer"]
Link = Literal["softmax", "sigmoid", "none"]
Activation = Literal["softmax", "sigmoid", "none", "probabilities"]
Side = Annotated[int, Range(1, 1 << 15)]


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
    Task `sequence`: the logit of a symbol at a place of a line (a text reader); the target is int32 of shape (2,):
    [class, anchor], the symbol and its place.
    Task `regress`: one number of the output, or of a dense one the mean of a channel over a region; the target is int32
    of shape (1,): [its place, or the channel]; -1 is the number, or the mean, farthest from 0.
    Task `scalar`: the one number of the output, in whatever shape.
    Task `embed`: the cosine of the output, or of a dense one's mean over a region, and a reference, which is a run-time
    input; the target says nothing.
    Every -1 in the target means the model's own best choice.

    Attributes:
        output: Name of the output that holds the class scores: one of the model's own, or a tensor of it that the
            export made one, where the model gives out only the best of them. Classify: (1, classes) or
            (1, classes, 1, 1). Detect: (1, class_offset + classes, anchors), or with the two axes the other way round.
            Segment: (1, classes, H, W), or with the classes on another axis. Sequence: (1, anchors, classes).
        activation: What the model applies to the logits to give `output`; `none` where it gives out logits, or numbers
            that are no scores of classes; `probabilities` where it gives out probabilities that no tensor of the graph
            holds the logits of.
        link: What turns `output` into probabilities: `none` where it holds them, or numbers that are to be shown as
            they are.
        unit: What one is in `output`, where it holds probabilities: 100 for per cent.
        classes: Number of classes; of numbers or channels, for `regress` and `embed`.
        class_offset: Row of `output` where the class scores begin (4 box rows come first for a YOLO); 0 for classify.
        anchors: Number of anchors, of positions to segment or in a dense output, or of places of a line; else 0.
        class_axis: Axis of `output` with the classes.
        objectness: To detect, the row of `output` with the probability that anything is there, or its logit where
            `link` is a sigmoid, by which those of the classes are to be multiplied (YOLOv5, YOLOX); None where there is
            none.
        label_at: To detect, the row of `output` with the class of each box, where a box has one class and one score, at
            `class_offset` (YOLOv10); its class logit is then that score's, whatever class is asked for. None elsewhere.
        contrast: `finer`: the score is no logit but what the class has that its neighbours lack, Finer-CAM's S
            (arXiv:2501.11309); to classify.
        background: To detect, the class that means that nothing is there, never the model's own choice (SSD: 0); it
            may stand behind the others and is then not counted in `classes` (DETR). Of a sequence, the blank between
            symbols (CTC). None where there is none.
        positions: Of a dense output, (h, w) of its positions, a grid over the input's picture; None elsewhere.
        position_offset: Place of the first of them on the output's other axes: class tokens may come before.
        targets: How many targets one pass explains: the target input has as many [class] or [class, anchor] one after
            the other, gradients and maps as many entries on axis 0. To classify or segment, -2 is the second best
            class then, -3 the third.
    """

    output: str
    activation: Activation
    classes: Count
    class_offset: int = 0
    anchors: int = 0
    class_axis: Annotated[int, Range(0, 7)] = 1
    targets: Annotated[int, Range(1, 1 << 16)] = 1
    objectness: int | None = None
    label_at: int | None = None
    background: int | None = None
    contrast: Contrast = "none"
    positions: tuple[Count, Count] | None = None
    position_offset: int = 0
    link: Link = "none"
    unit: Positive = 1.0

    @property
    def has_sigmoids(self) -> bool:
        """Return whether each probability comes from a logit of its own, by a sigmoid, or is taken as if it did."""
        return self.activation in ("sigmoid", "probabilities") or self.link == "sigmoid"


@dataclass(frozen=True)
class Masks:
    """Where a detector has the masks of its objects: coefficients beside each box, and prototypes for all of them.

    A mask is where the sum of the prototypes, each times its coefficient, is above 0 and within the box.

    Attributes:
        output: Name of the model's own output with the prototypes, (1, count, h, w) over the input tensor.
        offset: Place of the first coefficient on the axis of the boxes.
        count: Number of coefficients.
    """

    output: str
    offset: int
    count: Count


@dataclass(frozen=True)
class Keypoints:
    """Where a detector has the keypoints of its objects: beside each box, one after the other.

    Attributes:
        offset: Place of the first number on the axis of the boxes.
        count: Number of keypoints.
        numbers: Of each: 2, x and y in px of the input tensor, or 3, also how sure the model is of it, 0 to 1.
    """

    offset: int
    count: Count
    numbers: Annotated[int, Range(2, 3)]


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
        angle: Of rotated boxes, the place of the angle on that axis, in radians, from x towards y; None: upright ones.
        masks: Where the objects' masks are, if it gives any.
        keypoints: Where the objects' keypoints are, if it gives any.
    """

    output: str
    axis: Annotated[int, Range(1, 2)]
    offset: int = 0
    form: BoxForm = "cxcywh"
    unit: BoxUnit = "pixel"
    strides: tuple[Count, ...] = ()
    suppressed: bool = False
    angle: int | None = None
    masks: Masks | None = None
    keypoints: Keypoints | None = None


KEY = "aerocam"
"""Name of the manifest among a model's `metadata_props`."""

SCHEMA = 2
"""Version of the manifest's form. A reader refuses any other."""

TARGET = "aerocam_target"
"""Name of the run-time input that chooses what is explained, int32; see `Score`."""

REFERENCE = "aerocam_reference"
"""Name of the run-time input of an embedding network with what it is compared to, float32 (targets, numbers)."""

REGION = "aerocam_region"
"""Name of the run-time input of a dense output with the region that is explained, float32 (targets, h, w): weights at
its positions, none negative, which the score divides by their sum."""

CHOSEN = "aerocam_chosen"
"""Name of the output that says what was explained, int32, the target with every -1 resolved."""

SCORE = "aerocam_score"
"""Name of the output with the explained score itself, before softmax or sigmoid; float32, shape (1,)."""

MAP = "aerocam_map"
"""Name of a fused head's output: the map, float32 (targets, h, w); see `Head.form`."""

FRAME = "aerocam_frame"
"""Name of the input that takes a camera's frame, uint8 (H, W, 3) in BGR; see `Preprocess.frame`."""

OVERLAY = "aerocam_overlay"
"""Name of the output with the overlay, uint8 (H, W, 3) in BGR; see `Head.overlay`."""

BATCH = "aerocam_batch"
"""Name of a tail's input with several activations of the layer, (batch, C, h, w), of the layer's type."""

SCORES = "aerocam_scores"
"""Name of a tail's output with their scores, float32 (batch, targets)."""

Task = Literal["classify", "detect", "segment", "sequence", "regress", "embed", "scalar"]
Packaging = Literal["fused", "split"]
Rule = Literal["gradient", "guided", "relevance"]
Precision = Literal["source", "float16"]
Kind = Literal["spatial", "tokens", "sequence", "volume"]
ResizeRule = Literal["stretch", "crop", "letterbox"]
ColorOrder = Literal["RGB", "BGR", "GRAY", "BANDS"]
PixelUnits = Literal["levels", "own"]
TensorLayout = Literal["NCHW", "NHWC"]
Interpolation = Literal["nearest", "linear", "cubic", "area", "pil-bilinear", "pil-bicubic"]
MapForm = Literal["raw", "layer", "frame"]


@dataclass(frozen=True)
class Layer:
    """A target layer.

    Attributes:
        name: The tensor's name in the graph.
        kind: What its positions are: pixels (`spatial`), patches (`tokens`), samples (`sequence`) or voxels (`volume`).
        shape: Static shape of the activations as they leave the graph: always (1, C, H, W). A sequence is one row, the
            planes of a volume lie below each other; tokens that are no patches have been cut off.
        activations: Name of the graph output with the activations A, or None where only a fused head's map leaves
            the graph.
        gradients: Name of the graph output with the gradients G = d score / d A, same shape, or None.
        rule: By which table of rules these were walked back. `gradient`: they are G. `guided`: what guided
            backpropagation leaves of G (arXiv:1412.6806); only at the model's input. `relevance`: multipliers M of
            layer-wise relevance propagation, whose product A M is the relevance of A for the score.
        planes: D of a volume (D, H, W), whose planes lie below each other in `shape`; 1 of all others. Methods with a
            neighbourhood take it: a neighbour lies in the same plane.
    """

    name: str
    kind: Kind
    shape: tuple[Annotated[int, Range(1, 1)], Count, Count, Count]
    activations: str | None
    gradients: str | None
    rule: Rule = "gradient"
    planes: Count = 1


@dataclass(frozen=True)
class Split:
    """A model in several files: one that runs on every frame, one that explains what it is asked to, perhaps a tail.

    Attributes:
        explain: Name of the file that explains, in the same folder.
        carried: Outputs of the forward file that the other takes as inputs: the target layers, and whatever else
            reaches the score around them.
        tail: Name of the file, in the same folder, that has the scores of several activations of the one target layer
            at once, forward only; None where there is none. It takes `BATCH`, the target, and some of `carried`, as
            they are on the frame: from them comes what is chosen.
        batch: How many activations it takes; 0 where there is none.
    """

    explain: str
    carried: tuple[str, ...]
    tail: str | None = None
    batch: int = 0


@dataclass(frozen=True)
class Head:
    """A CAM method fused into the graph.

    Attributes:
        method: The method's name, as in `aerocam.runtime`.
        output: Name of the graph output with the map, float32 (targets, h, w).
        form: What that map is. `raw`: at the layer's size, before ReLU and normalisation; `layer`: at the layer's size,
            in [0, 1]; `frame`: in [0, 1] over the frame where the graph takes one (`Preprocess.frame`), else over the
            input tensor. In [0, 1] it is by the method's normalisation, and NaN where the raw map is not finite.
        overlay: Name of the graph output with the frame and over it the maps, at each place the strongest, in jet at a
            weight of 0.5; None where there is none.
        eigen_smooth: Whether the weighted activations are shown on their first principal component, not summed.
    """

    method: str
    output: str
    form: MapForm = "raw"
    overlay: str | None = None
    eigen_smooth: bool = False


@dataclass(frozen=True)
class Preprocess:
    """How a frame becomes the input tensor: (resized pixel - mean) / std, one value per channel.

    Attributes:
        input: Name of the model's image input, (1, C, H, W), or (1, H, W, C).
        size: (H, W) of the input tensor, in px.
        color: Channel order that the model expects; `BANDS`: any number of channels, in a frame's own order.
        resize: `stretch` to size; `crop`: the short side to `short_side`, then the centre; `letterbox`: the whole
            frame fits, centred, the rest filled with `fill`.
        short_side: Length of the short side before the centre crop, in px; only for `crop`.
        interpolation: Interpolation of the resize: OpenCV's of that name, or Pillow's, which antialias where a frame
            shrinks, as torchvision and timm have them.
        mean: Per channel in the order of `color`, in `units`.
        std: Per channel in the order of `color`, in `units`.
        fill: Pixel value around a letterboxed frame, in `units`.
        layout: Order of the input's axes: channels first, or last as TensorFlow has them.
        frame: (H, W) of the only frames that the graph takes: it preprocesses them itself, `FRAME` is its input and
            `input` a tensor within. None where it takes the tensor.
        units: What pixel values are counted in. `levels`: 0 to 255, onto which those of uint16, 0 to 65535, are scaled
            without rounding; floats, which have no highest level, are refused. `own`: those of the frame, whatever its
            type.
        shown: Which channels of `BANDS` are shown as red, green and blue.
    """

    input: str
    size: tuple[Side, Side]
    color: ColorOrder = "RGB"
    resize: ResizeRule = "stretch"
    short_side: Annotated[int, Range(0, 1 << 15)] = 0
    interpolation: Interpolation = "linear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[Positive, ...] = (255.0, 255.0, 255.0)
    fill: Annotated[int, Range(0, 65535)] = 114
    layout: TensorLayout = "NCHW"
    frame: tuple[Side, Side] | None = None
    units: PixelUnits = "levels"
    shown: tuple[int, int, int] = (0, 1, 2)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor, in the order of `layout`."""
        (height, width), channels = self.size, len(self.mean)
        return (1, channels, height, width) if self.layout == "NCHW" else (1, height, width, channels)


@dataclass(frozen=True)
class Source:
    """The model that was exported.

    Attributes:
        sha256: SHA-256 of the file (hexadecimal), external data not included.
        name: Its file name.
        opset: Its default-domain opset, before conversion.
        producer: Its producer, as far as it says.
    """

    sha256: str
    name: str
    opset: int
    producer: str


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime has to know about an exported model.

    Attributes:
        task: What the network does.
        layers: The target layers, at least one.
        score: What is explained.
        preprocess: How a frame becomes the input tensor; None where the input is no picture.
        source: The model that was exported.
        head: The fused CAM method, if any.
        boxes: A detector's boxes, if any.
        split: How the model is split into two files, if it is.
        labels: Class names, `score.classes` of them, or none at all.
        seed_scale: Gradients in the file are this times the true ones (a power of two; 1 for float32).
        precision: What the network computes in: `source`, as the model that was exported; `float16`, to which it was
            converted.
        decisions: What was decided about the model, on what evidence.
        aerocam: Version of aerocam that wrote it.
        schema: Version of this form.
    """

    task: Task
    layers: tuple[Layer, ...]
    score: Score
    preprocess: Preprocess | None
    source: Source
    head: Head | None = None
    boxes: Boxes | None = None
    split: Split | None = None
    labels: tuple[str, ...] = ()
    seed_scale: Positive = 1.0
    precision: Precision = "source"
    decisions: tuple[Decision, ...] = ()
    aerocam: str = ""
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        """Check that the fields fit one another.

        Raises:
            ManifestError: A count or an order is impossible.
        """
        if not self.layers:
            raise ManifestError("manifest: it names no target layer, at least one is expected; export the model again")
        if self.labels and len(self.labels) != self.score.classes:
            raise ManifestError(
                f"manifest: {len(self.labels)} labels for {self.score.classes} classes; give one label per class"
            )
        for layer in self.layers:
            if layer.shape[2] % layer.planes:
                raise ManifestError(
                    f"manifest: layer {layer.name!r} has {layer.shape[2]} rows for {layer.planes} planes, equal"
                    " planes are expected; export the model again"
                )
        for name in () if self.split is None else (self.split.explain, self.split.tail):
            if name is not None and (name in ("", ".", "..") or any(char in name for char in "/\\\0")):
                raise ManifestError(
                    f"manifest: split names {name!r}, the name of a file in the model's own folder is expected; export"
                    " the model again"
                )
        drawn = self.head is not None and self.head.overlay is not None
        if drawn and (self.preprocess is None or self.preprocess.frame is None):
            raise ManifestError("manifest: head.overlay without preprocess.frame; export the model again with a frame")
        if self.preprocess is None:
            return
        if self.preprocess.units == "levels" and self.preprocess.fill > 255:
            raise ManifestError(f"manifest: preprocess.fill is {self.preprocess.fill}, levels are 0 to 255; correct it")
        if self.preprocess.color == "BANDS" and max(self.preprocess.shown) >= len(self.preprocess.mean):
            raise ManifestError(
                f"manifest: preprocess.shown is {self.preprocess.shown}, channels 0 to {len(self.preprocess.mean) - 1}"
                " are expected; export the model again"
            )
        channels = {"GRAY": 1, "BANDS": len(self.preprocess.mean)}.get(self.preprocess.color, 3)
        for name in ("mean", "std"):
            if len(getattr(self.preprocess, name)) != channels:
                raise ManifestError(
                    f"manifest: preprocess.{name} has {len(getattr(self.preprocess, name))} values,"
                    f" {self.preprocess.color} has {channels} channels; give one value per channel"
                )

    @property
    def has_anchors(self) -> bool:
        """Return whether a target is a class and an anchor, not a class alone."""
        return self.task in ("detect", "sequence")

    @property
    def own_outputs(self) -> tuple[str, ...]:
        """Return the names of the model's own outputs from which scores, and a detector's objects, are read."""
        boxes = () if self.boxes is None else (self.boxes.output,)
        masks = () if self.boxes is None or self.boxes.masks is None else (self.boxes.masks.output,)
        return tuple(dict.fromkeys((self.score.output, *boxes, *masks)))

    def to_json(self) -> str:
        """Return the manifest as one JSON object."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> Manifest:
        """Read a manifest.

        Args:
            text: The JSON.
            origin: Where it comes from (a file name), for the error message.

        Raises:
            ManifestError: The text is not JSON or has another schema, or a field is missing, unknown or ill-typed.
        """
        try:
            data = parse_json(text)
        except ValueError as error:
            raise ManifestError(f"{origin}: its manifest is not JSON ({error}); export the model again") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise ManifestError(
                f"{origin}: manifest schema {schema!r}, this aerocam reads {SCHEMA}; export the model again"
            )
        try:
            return decode(cls, data, "manifest")
        except ManifestError as error:
            raise ManifestError(f"{origin}: {error}") from error
