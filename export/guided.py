"""Guided gradients at the model's input, beside true gradients at its layers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import CheckError, UsageError
from aerocam.export.adjoints.guided import GUIDED, is_guided
from aerocam.export.autodiff import differentiate, nodes_between
from aerocam.export.builder import Builder
from aerocam.export.candidates import Candidate, candidates
from aerocam.export.feeds import random_feeds
from aerocam.export.light import LightModel
from aerocam.export.scores import ScoreSite
from aerocam.export.sessions import SessionFolder
from aerocam.export.shapes import static_shape

logger = logging.getLogger("aerocam.export")


def with_input(model: ir.Model, site: ScoreSite, chosen: Sequence[Candidate], head: str | None) -> list[Candidate]:
    """The chosen layers, with the model's input in front if it is not among them: that is where gradients are guided.

    Raises:
        UsageError: A fused head is asked for too, or the input has no channels and positions.
    """
    if head is not None:
        raise UsageError(
            f"--guided: not with --head {head}, which takes true gradients of one layer; export without the head"
        )
    inputs = [item for item in chosen if item.depth < 0] or [
        item for item in candidates(model, site) if item.depth < 0
    ][:1]
    if not inputs:
        raise UsageError("--guided: the score does not depend on an input of channels and positions; export without it")
    path = nodes_between(model.graph, [item.value for item in inputs], site.logits)
    count = sum(is_guided(node) for node in path)
    logger.info("guided gradients at the input %s, through %d ReLUs", inputs[0].name, count)
    if not count:
        logger.warning("no ReLU lies between input and score: the guided gradients are the gradients")
    return [*(item for item in inputs if item not in chosen), *chosen]


def gradients_of(
    op: Builder, score: ir.Value, seed: ir.Value, layers: Sequence[ir.Value], guided: Collection[ir.Value]
) -> list[ir.Value]:
    """Gradients at `layers`, at those in `guided` the guided ones; args, errors and order as of `differentiate`."""
    found: dict[ir.Value, ir.Value] = {}
    if true := [layer for layer in layers if layer not in guided]:
        found.update(zip(true, differentiate(op, score, seed, true), strict=True))
    if rest := [layer for layer in layers if layer in guided]:
        found.update(zip(rest, differentiate(op, score, seed, rest, GUIDED), strict=True))
    return [found[layer] for layer in layers]


def check_guided(model: ir.Model, names: Sequence[str], providers: Sequence[str] | None = None) -> None:
    """Make sure that guided gradients are finite, on a random picture; differences of the score say nothing of them.

    Args:
        model: A rewritten model.
        names: Outputs with guided gradients.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        CheckError: They are not finite.
    """
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    feeds = random_feeds(model, np.random.default_rng(0))
    feeds[manifest.TARGET] = np.full(static_shape(target), -1, np.int32)
    with SessionFolder(providers) as sessions:
        found = sessions.open(LightModel.of(model)).run(list(names), feeds)
    for name, array in zip(names, found, strict=True):
        if not np.isfinite(array).all():
            raise CheckError(
                f"{name}: the guided gradients are not finite on {sessions.provider}; try another provider,"
                " please report the model"
            )
        logger.info("%s: guided gradients are no derivative; finite, and not compared with differences", name)
