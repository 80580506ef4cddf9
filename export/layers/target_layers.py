"""Which tensors can be explained, which one is taken when nobody says, and why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import onnx_ir as ir

from aerocam.errors import ModelError, UsageError
from aerocam.export.gradients.autodiff import nodes_between
from aerocam.export.gradients.rule_tables import is_guided
from aerocam.export.layers.automatic import DOT, LayerChoice, find_automatic
from aerocam.export.layers.candidates import Candidate, cuts
from aerocam.export.layers.candidates import candidates as find_candidates
from aerocam.export.layers.head_inputs import predictions
from aerocam.export.layers.naming import named_layer
from aerocam.export.layers.receptive_field import receptive_fields
from aerocam.export.scores import ScoreSite

logger = logging.getLogger("aerocam.export")

AUTO = "auto"

ASKED = "asked for"
"""Evidence for layers that are named."""


def choose_layers(
    model: ir.Model, site: ScoreSite, wanted: Sequence[str], candidates: Sequence[Candidate] | None = None
) -> LayerChoice:
    """Return the target layers for what the user asked, and what speaks for them.

    Args:
        model: In normal form.
        site: Where the score is.
        wanted: `auto`, `INPUT` (the picture), or names as `named_layer` knows them.
        candidates: The model's candidates, where they have been listed already.

    Raises:
        UsageError: Nothing has one of the names, or it is no spatial tensor before the score.
        ModelError: The model has no spatial tensor before its score.
    """
    candidates = candidates if candidates is not None else find_candidates(model, site)
    if all(candidate.depth < 0 for candidate in candidates):
        raise ModelError(
            "no tensor of channels and positions, as (N, C, H, W), lies between the input and the score;"
            " aerocam explains such layers"
        )
    choice = LayerChoice([], ASKED)
    for name in wanted:
        if name == AUTO:
            picked = find_automatic(model, site, candidates)
            choice = replace(picked, layers=[*choice.layers, *picked.layers])
        else:
            choice.layers.append(named_layer(model, site, candidates, name))
    layers = list(dict.fromkeys(choice.layers))
    if site.task == "detect" and not choice.conflict:
        inner = [layer for layer in layers if layer.depth >= 0]
        fields = receptive_fields(inner, predictions(site)) if inner else {}
        dots = [layer.name for layer in inner if fields[layer.value] == (1, 1)]
        choice = replace(choice, conflict=f"of {', '.join(dots)} {DOT}" if dots else "")
    return replace(choice, layers=layers)


def listed(model: ir.Model, site: ScoreSite) -> list[Candidate]:
    """Return the candidates with all that a list says of them, in graph order, rules tried out.

    Args:
        model: In normal form.
        site: Where the score is.
    """
    plain = find_candidates(model, site, try_out=True)
    fields = receptive_fields(plain, predictions(site)) if plain else {}
    known = [replace(candidate, field=fields[candidate.value]) for candidate in plain]
    passed = {candidate.value for candidate in cuts(model, site.logits, known)}
    stages = {candidate.value for candidate in _stages(known, passed)}
    return [replace(candidate, is_stage=candidate.value in stages) for candidate in known]


def _stages(known: Sequence[Candidate], passed: set[ir.Value]) -> list[Candidate]:
    """Return the last of each row of candidates on one grid: of those that everything passes, or else of all.

    Left out are those that no answer depends on, and where others are left those in which it sees one cell.
    """
    stages = []
    for _, row in groupby(known, lambda candidate: (candidate.depth < 0, candidate.shape[2:])):
        seen = [candidate for candidate in row if candidate.field is not None]
        wide = [candidate for candidate in seen if candidate.field != (1, 1)] or seen
        stages += [candidate for candidate in wide if candidate.value in passed][-1:] or wide[-1:]
    return stages


def automatic_layers(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that `auto` takes; none, with a warning, where it cannot choose among those that there are.

    Raises:
        ModelError: No candidate lies between the input and the score.
    """
    try:
        return choose_layers(model, site, [AUTO], candidates).layers
    except ModelError as error:
        if all(candidate.depth < 0 for candidate in candidates):
            raise
        logger.warning("%s", error)
        return []


def with_input(model: ir.Model, site: ScoreSite, chosen: Sequence[Candidate]) -> list[Candidate]:
    """Return the layers with the model's input in front if it is not among them: that is where gradients are guided.

    Raises:
        UsageError: The input has no channels and positions, or the score does not depend on it.
    """
    inputs = [candidate for candidate in chosen if candidate.depth < 0] or [
        candidate for candidate in find_candidates(model, site) if candidate.depth < 0
    ][:1]
    if not inputs:
        raise UsageError("`guided`: the score does not depend on an input of channels and positions; export without it")
    path = nodes_between(model.graph, [candidate.value for candidate in inputs], site.logits)
    count = sum(is_guided(node) for node in path)
    logger.info("guided gradients at the input %s, through %d ReLUs", inputs[0].name, count)
    if not count:
        logger.warning("no ReLU lies between input and score: the guided gradients are the gradients")
    return [*(candidate for candidate in inputs if candidate not in chosen), *chosen]
