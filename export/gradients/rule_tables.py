"""The tables of rules that a layer can be walked back to with, and the check of those whose result is no derivative."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import CheckError, UsageError
from aerocam.export.checking.gradients import random_feeds
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import Rule
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.guided import GUIDED
from aerocam.export.gradients.relevance import RELEVANCE
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

TABLES: dict[manifest.Rule, Mapping[str, Rule]] = {"gradient": ADJOINTS, "guided": GUIDED, "relevance": RELEVANCE}
"""What `differentiate` walks back with, by the name that a layer has in the manifest."""

NAMES: dict[manifest.Rule, str] = {"guided": "guided gradients", "relevance": "multipliers of relevance"}
"""What those tables give that give no gradients."""


def layer_rule(relevance: bool, guided: bool, head: str | None) -> manifest.Rule:
    """The rule of layers behind the input; a fused head for relevance asks for it by itself.

    Raises:
        UsageError: Relevance is asked for together with something that takes gradients.
    """
    if not relevance and head != "relevance":
        return "gradient"
    if guided:
        raise UsageError("--guided: not with relevance, which has rules of its own; export two files")
    if head not in (None, "relevance"):
        raise UsageError(f"--relevance: not with --head {head}, which takes gradients; try --head relevance")
    return "relevance"


def gradients_of(
    op: Builder, score: ir.Value, seed: ir.Value, layers: Sequence[ir.Value], rules: Sequence[manifest.Rule]
) -> list[ir.Value]:
    """Gradients at `layers`, at each by its rule; the other arguments, errors and order as of `differentiate`."""
    found: dict[ir.Value, ir.Value] = {}
    for rule, table in TABLES.items():
        if own := [layer for layer, wanted in zip(layers, rules, strict=True) if wanted == rule]:
            found.update(zip(own, differentiate(op, score, seed, own, table), strict=True))
    return [found[layer] for layer in layers]


def check_finite(
    model: ir.Model, rules: Mapping[str, manifest.Rule], providers: Sequence[Provider] | None = None
) -> None:
    """Make sure that what is no gradient is finite, on a random picture; differences of the score say nothing of it.

    Args:
        model: A rewritten model.
        rules: Outputs, and the rule of each, none of them `gradient`.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        CheckError: One of them is not finite.
    """
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    feeds = random_feeds(model, np.random.default_rng(0))
    feeds[manifest.TARGET] = np.full(static_shape(target), -1, np.int32)
    with SessionFolder(providers) as sessions:
        found = sessions.open(LightModel.of(model)).run(list(rules), feeds)
    for (name, rule), array in zip(rules.items(), found, strict=True):
        if not np.isfinite(array).all():
            raise CheckError(
                f"{name}: the {NAMES[rule]} are not finite on {sessions.provider}; try another provider,"
                " please report the model"
            )
        logger.info("%s: %s are no derivative; finite, and not compared with differences", name, NAMES[rule])
