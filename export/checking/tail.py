"""The self-check of a tail, on ONNX Runtime: among other activations, those of the picture have the picture's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import CheckError
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, own_choice, random_feeds
from aerocam.manifest import Manifest
from aerocam.providers import Provider

TOLERANCE = 0.02
"""Largest difference, relative to the largest score. Activations that get mixed up are off by about 1."""


@onnxruntime_errors()
def check_tail(model: ir.Model, written: Manifest, providers: Sequence[Provider] | None = None, seed: int = 0) -> float:
    """Compare the scores of a batch with those of one random picture.

    Args:
        model: A rewritten model that holds forward pass, score and tail together.
        written: Its manifest, with the activations of the target layer among the outputs.
        providers: Execution providers to run on; None: the CPU.
        seed: Seed of the picture.

    Returns:
        How far the first and the last entry of the batch, the picture's own activations, are from its score, relative
        to the largest score. Between them lie others.

    Raises:
        CheckError: The difference is more than `TOLERANCE`, or not finite.
    """
    feeds = random_feeds(model, np.random.default_rng(seed)) | {manifest.TARGET: own_choice(model, written.score)}
    count = len(feeds[manifest.BATCH])
    factors = np.array([0.5, 0, 1.5])[np.arange(count) % 3]
    factors[[0, -1]] = 1
    with SessionFolder(providers) as sessions:
        session = sessions.open(LightModel.of(model))
        own, chosen = session.run([written.layers[0].activations, manifest.CHOSEN], feeds)
        feeds[manifest.BATCH] = (own * factors.reshape(-1, 1, 1, 1)).astype(own.dtype)
        score, scores = session.run([manifest.SCORE, manifest.SCORES], feeds | {manifest.TARGET: chosen})
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(scores[[0, -1]] - score).max() / max(np.abs(scores).max(), 1e-30))
    if not difference <= TOLERANCE:
        raise CheckError(
            f"the scores of several activations at once differ from those of one by {difference:.2g} on"
            f" {sessions.provider}, at most {TOLERANCE} is expected; export without `batch`, please report the model"
        )
    return difference
