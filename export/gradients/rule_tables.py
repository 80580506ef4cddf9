"""The tables of rules with which the walk can go from the score back to a layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import Rule
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.guided import GUIDED
from aerocam.export.gradients.relevance import RELEVANCE
from aerocam.export.nodes.builder import Builder
from aerocam.methods import METHODS

logger = logging.getLogger("aerocam.export")

TABLES: dict[manifest.Rule, Mapping[str, Rule]] = {"gradient": ADJOINTS, "guided": GUIDED, "relevance": RELEVANCE}
"""Table of rules for `differentiate`, by the rule that the manifest names for a layer."""

NAMES: dict[manifest.Rule, str] = {"guided": "guided gradients", "relevance": "multipliers of relevance"}
"""What the tables that give no gradients give instead."""


def layer_rule(relevance: bool, guided: bool, head: str | None) -> manifest.Rule:
    """Return the rule of layers behind the input; a fused head for relevance asks for it by itself.

    Raises:
        UsageError: Relevance is asked for together with something that takes gradients.
    """
    asks = METHODS[head].gradients if head in METHODS else None
    if not relevance and asks != "relevance":
        return "gradient"
    if guided:
        raise UsageError("--guided: not with relevance, which has rules of its own; export two files")
    if head is not None and asks != "relevance":
        raise UsageError(f"--relevance: not with --head {head}, which takes gradients; try --head relevance")
    return "relevance"


def gradients_of(
    op: Builder, score: ir.Value, seed: ir.Value, layers: Sequence[ir.Value], rules: Sequence[manifest.Rule]
) -> list[ir.Value]:
    """Return the gradients at `layers`, each by its rule; other arguments, errors and order as in `differentiate`."""
    gradients: dict[ir.Value, ir.Value] = {}
    for rule, table in TABLES.items():
        if chosen := [layer for layer, wanted in zip(layers, rules, strict=True) if wanted == rule]:
            gradients.update(zip(chosen, differentiate(op, score, seed, chosen, table), strict=True))
    return [gradients[layer] for layer in layers]
