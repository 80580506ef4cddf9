"""What a model is run on for its self-check: random inputs, and the targets that it chooses itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.export.nodes.shapes import static_shape


def own_choice(model: ir.Model) -> NDArray[np.int32]:
    """Targets that the model chooses: its best, and for several its best ones, or the best of a class each."""
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    score = manifest.Manifest.from_json(model.metadata_props[manifest.KEY], "the model").score
    rows = np.full((score.targets, static_shape(target)[0] // score.targets), -1, np.int32)
    if score.targets > 1:
        numbers = np.arange(score.targets)
        rows[:, 0] = -1 - numbers if rows.shape[1] == 1 else numbers % score.classes
    return rows.reshape(-1)


def random_feeds(model: ir.Model, rng: np.random.Generator) -> dict[str, NDArray]:
    """Standard-normal values for every float input but the target; of a frame, random pixels."""
    return {
        str(value.name): rng.integers(0, 256, static_shape(value), np.uint8)
        if value.dtype == ir.DataType.UINT8
        else rng.standard_normal(static_shape(value)).astype(value.dtype.numpy())  # type: ignore[union-attr]
        for value in model.graph.inputs
        if value.name != manifest.TARGET
    }
