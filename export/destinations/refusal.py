"""Refusing by name, before anything is written, what a destination does not take of a finished graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Set
from dataclasses import dataclass

import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export.destinations import Destination
from aerocam.export.destinations.node_forms import Form
from aerocam.export.destinations.tensorrt import FORMS
from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.layers.tensor_names import tensor_names
from aerocam.export.nodes.operator_tables import operator_name
from aerocam.manifest import Manifest

logger = logging.getLogger("aerocam.export")

SHOWN = 3
"""How many refusals a message has; the others are counted."""


@dataclass(frozen=True)
class Origin:
    """Where the nodes of a rewritten graph come from, by the names of their outputs.

    Attributes:
        own: Outputs of the model's own nodes.
        score: Outputs of the nodes that compute the choice of a target and its score.
        gradients: Outputs of the nodes that compute gradients, and not the score.
        head: The fused head, if any.
    """

    own: Set[str]
    score: Set[str] = frozenset()
    gradients: Set[str] = frozenset()
    head: str | None = None

    def said(self, node: ir.Node, form: Form) -> str:
        """Return what a refused node was added for, if it was, and what to do about it."""
        names = {str(y.name) for y in node.outputs}
        if names & self.own:
            return f"it is the model's own: {form.instead}"
        if names & self.gradients:
            return (
                "it is added for the gradients: choose a target layer behind it, or a head that reads none (eigencam)"
            )
        if names & self.score:
            return "it is added for the score: ask for one target and no `contrast`, or report the model"
        if self.head is not None:
            return f"it is added for `head={self.head!r}`: choose another head"
        return "it is added for a tail or a frame: export it without, please report the model"


def origin_of(model: ir.Model, written: Manifest, own: Set[str]) -> Origin:
    """Return where the nodes of a graph come from, once everything is appended.

    Args:
        model: The rewritten model, its gradients still among its outputs.
        written: Its manifest.
        own: Names of all tensors of the model itself.
    """
    head = written.head

    def behind(wanted: Set[str]) -> set[str]:
        outputs = (value for value in model.graph.outputs if value.name in wanted)
        return {str(value.name) for value in ancestors(*outputs)}

    score = behind({manifest.SCORE, manifest.CHOSEN})
    gradients = behind({name for i in range(len(written.layers)) for name in tensor_names(i)}) - score
    return Origin(own, score, gradients, head.method if head is not None else None)


def refusals(model: ir.Model) -> list[tuple[ir.Node, Form]]:
    """Return each node, in branches and loops too, with each row of TensorRT's table, `only` or not, that covers it."""
    return [(node, form) for node in model.graph.all_nodes() for form in FORMS if form.covers(node)]


def require_taken(models: Iterable[ir.Model], destination: Destination, origin: Origin) -> None:
    """Make sure that the destination takes every file.

    Args:
        models: What is to be written, finished.
        destination: What it is for; ONNX Runtime takes what it has checked.
        origin: Where their nodes come from.

    Raises:
        ModelError: TensorRT does not take a node.
    """
    if destination == "onnxruntime":
        return
    found = [item for model in models for item in refusals(model)]
    refused = list(dict.fromkeys(_sentence(node, form, origin) for node, form in found if not form.only))
    if refused:
        more = f"; and {len(refused) - SHOWN} more like these" if len(refused) > SHOWN else ""
        raise ModelError(
            f"`destination='tensorrt'`: {'; '.join(refused[:SHOWN])}{more}; or export it with"
            " `destination='onnxruntime'`"
        )


def warn_of_others(models: Iterable[ir.Model], destination: Destination) -> None:
    """Warn of the nodes that only some versions of the destination take."""
    if destination == "tensorrt":
        found = [item for model in models for item in refusals(model)]
        for text in dict.fromkeys(f"{form.only} takes no {_named(node, form)}" for node, form in found if form.only):
            logger.warning("%s", text)


def _sentence(node: ir.Node, form: Form, origin: Origin) -> str:
    return f"NVIDIA's {form.stage} takes no {_named(node, form)}; {origin.said(node, form)}"


def _named(node: ir.Node, form: Form) -> str:
    return f"{operator_name(node)} of this form (node {node.name!r}, output {node.outputs[0].name!r}): {form.form}"
