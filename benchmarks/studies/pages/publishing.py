"""What the published pages of figures have in common: their folder, where they come from, how they are written."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aerocam.errors import AerocamError
from aerocam.files import make_folder, write_together

FOLDER = Path("benchmarks/studies/results")

YOLO_LAST = ("--layer", "/model.21/cv2/act/Mul_output_0")
"""What the last of YOLOv8n's three scales reads."""


def origin(record: str, host: Mapping[str, Any]) -> str:
    """Return how a page of figures says where they come from, up to ONNX Runtime's device."""
    return (
        f"`make bench` wrote this page and `{record}`, on this machine: {host['processor']}, {host['cores']} cores,\n"
        f"ONNX Runtime {host['onnxruntime']} on the CPU"
    )


def publish(
    name: str, measure: Callable[[], dict[str, Any]], page: Callable[[Mapping[str, Any]], str], record: str, text: str
) -> int:
    """Measure, write a record (JSON) and its page (Markdown) to `FOLDER`, and print the page.

    Args:
        name: Of the module that is run, for its errors.
        measure: Gives the record.
        page: Makes the page of it.
        record: Name of the record's file.
        text: Name of the page's file.

    Returns:
        The exit code.
    """
    logging.getLogger("aerocam.export").setLevel(logging.WARNING)
    try:
        make_folder(FOLDER)
        result = measure()
        write_together({FOLDER / record: json.dumps(result, indent=1).encode()})  # kept whatever becomes of the page
        shown = page(result)
        write_together({FOLDER / text: shown.encode()})
        print(shown)
    except AerocamError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
