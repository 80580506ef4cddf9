"""Records and arrays as the content of files."""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray


def json_text(record: dict[str, Any]) -> str:
    """A record as text, indented, but for pairs of numbers: a polygon would take three lines for each of its points."""
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
    return re.sub(r"\[\n +([^\s,]+),\n +([^\s,]+)\n +\]", r"[\1, \2]", text) + "\n"  # a string has no line ends


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def jsonable(value: Any) -> Any:
    """`value` with every number that is not finite replaced by None: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
