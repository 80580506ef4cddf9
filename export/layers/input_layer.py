"""Guided gradients at the model's input, beside true gradients at its layers: which layers these are."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.gradients.autodiff import nodes_between
from aerocam.export.gradients.guided import is_guided
from aerocam.export.layers.candidates import Candidate, candidates
from aerocam.export.scores import ScoreSite

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
