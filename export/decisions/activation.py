"""How an output's numbers become probabilities: by the graph, by what they are where the model is run, or as asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aerocam.decisions import Decision, Source
from aerocam.errors import UsageError
from aerocam.export.decisions.numbers import Numbers, measured
from aerocam.export.decisions.probing import Probe
from aerocam.export.decisions.task import USUAL
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores import ScoreSite
from aerocam.manifest import Activation, Link, Score

WITHOUT = frozenset({"embed", "regress", "scalar"})
"""Tasks whose numbers are no scores of classes."""

FAR_BELOW = -1.5
"""Mean of logits, in standard deviations, below which they look like those of sigmoids: most classes are absent.

A softmax is the same wherever the mean lies, so that nothing in training moves it away from 0.
"""


def decide_activation(
    site: ScoreSite, asked: Activation | None, probe: Probe, is_guess: bool = False
) -> tuple[ScoreSite, Decision]:
    """Decide how the numbers of a site's output become probabilities.

    Args:
        site: Where the score is, as the graph shows it.
        asked: `softmax` or `sigmoid`: of logits; `none`: they are to be shown as they are; `probabilities`: they are
            ready; None: what evidence says.
        probe: Runs the model.
        is_guess: Whether the task is a guess, so that the numbers may be no scores of classes.

    Returns:
        The site, its score complete, and the decision.

    Raises:
        UsageError: The graph shows another activation than the one that is asked for.
    """
    score = site.score
    if asked is None and site.is_direct:
        return site, _decision(f"the model's own {score.activation}", "the graph", "graph")
    numbers = _numbers(site, probe)
    graph = score.activation if score.activation != "none" else None
    seen = str(numbers) if numbers is not None else f"not measured: {probe.fault}"
    if asked is not None:
        return _asked(site, asked, numbers, seen)
    is_ready = numbers is not None and numbers.kind in ("shares", "probabilities")
    if graph is not None and numbers is not None and numbers.kind == "logits":
        if site.is_share:  # the layout was forced: the graph shows no activation, its numbers are no probabilities
            return _logits(site, numbers, seen)
        conflict = f"{seen} are no probabilities"
        return site, _decision(f"the model's own {graph}", "the graph", "graph", conflict)
    if graph is not None:
        ready = replace(site, score=replace(score, unit=numbers.unit if numbers is not None else 1.0))
        return ready, _decision(f"the model's own {graph}", f"the graph; {seen}", "graph")
    if is_ready:
        assert numbers is not None
        return _ready(site, numbers.unit), _decision("probabilities as they are", seen, "measured")
    linked, decision = _logits(site, numbers, seen)
    if is_guess and not decision.conflict:
        decision = replace(decision, conflict="nothing says that they are scores of classes that exclude each other")
    return linked, decision


def _numbers(site: ScoreSite, probe: Probe) -> Numbers | None:
    """Return what the scores of the classes were measured to be, None where the model cannot be run."""
    assert site.output is not None
    arrays, score = probe.values(site.output), site.score
    if arrays is None:
        return None
    columns = 1 if score.label_at is not None else score.classes
    rows = range(score.class_offset, score.class_offset + columns)
    axis = score.class_axis if len(static_shape(site.output)) > score.class_axis else 0
    return measured(site.output, [np.take(array, rows[: array.shape[axis]], axis) for array in arrays], axis)


def _asked(site: ScoreSite, asked: Activation, numbers: Numbers | None, seen: str) -> tuple[ScoreSite, Decision]:
    graph, evidence = site.score.activation, "asked for"
    if asked == "none":
        return site, _decision("numbers as they are, no probabilities", evidence, "asked")
    if graph not in ("none", asked) and not (site.is_share or asked == "probabilities"):
        raise UsageError(f"`activation={asked!r}`: the graph applies a {graph} itself; leave it out")
    is_applied = graph == asked and not site.is_share
    if asked == "probabilities" or is_applied:
        if numbers is not None and numbers.kind == "logits":
            raise UsageError(f"`activation={asked!r}`: {seen} are no probabilities; give softmax, sigmoid or none")
        ready = site if graph != "none" else _ready(site, numbers.unit if numbers is not None else 1.0)
        return ready, _decision("probabilities as they are", evidence, "asked")
    against = f"{seen} look like probabilities" if numbers is not None and numbers.kind == "shares" else ""
    return _linked(site, "softmax" if asked == "softmax" else "sigmoid"), _decision(
        f"{asked} of logits", evidence, "asked", against
    )


def _logits(site: ScoreSite, numbers: Numbers | None, seen: str) -> tuple[ScoreSite, Decision]:
    """Return the site of logits, with the link that its task speaks for."""
    score = site.score
    count = int(np.prod(static_shape(site.logits)))
    is_single = score.classes == 1 if score.anchors else count == 1
    if site.task == "detect":
        link: Link = "sigmoid" if score.background is None else "softmax"
        reason = "no class is a background" if score.background is None else "one class is the background"
    else:
        link = "sigmoid" if is_single else "softmax"
        reason = "there is one logit" if is_single else "one class of several is meant"
    against, source = "", "measured" if numbers is not None else "graph"
    if link == "softmax" and numbers is not None and numbers.level < FAR_BELOW and site.task == "classify":
        below = "most lie far below 0, as where each class has a sigmoid of its own"
        if score.classes in USUAL:  # trained with sigmoids, too, but meant as one class of many
            against = below
        else:
            link, reason, against = "sigmoid", below, "nothing says that the classes do not exclude each other"
    if numbers is not None and numbers.kind == "constant":
        against = "the output does not depend on the picture"
    return _linked(site, link), _decision(f"{link} of logits", f"{seen}; {reason}", source, against)  # type: ignore[arg-type]


def _linked(site: ScoreSite, link: Link) -> ScoreSite:
    return replace(site, score=replace(site.score, activation="none", link=link), is_share=False)


def _ready(site: ScoreSite, unit: float) -> ScoreSite:
    """Return the site of probabilities whose logits are no tensor of the graph."""
    score: Score = replace(site.score, activation="probabilities", unit=unit)
    return replace(site, score=score, is_share=site.task != "segment")


def _decision(decided: str, evidence: str, source: Source, conflict: str = "") -> Decision:
    return Decision("activation", decided, evidence, "activation", source, conflict)
