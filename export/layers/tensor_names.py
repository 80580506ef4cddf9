"""What the tensors of a target layer are called in a rewritten graph."""

from __future__ import annotations

from aerocam.export.layers.candidates import Candidate

ACTIVATIONS = "aerocam_activations_{}"
"""Output with the activations of a layer that is folded or an input; others leave under their own name, uncopied."""

GRADIENTS = "aerocam_gradients_{}"
"""Output with the gradients of a layer, in the shape of its activations."""

OWN_GRADIENTS = "aerocam_own_gradients_{}"
"""Tensor with the gradients of a folded layer in its own shape."""


def activations_name(i: int, layer: Candidate) -> str:
    """Return the name of the output with the activations of layer number `i`."""
    return ACTIVATIONS.format(i) if layer.is_folded or layer.depth < 0 else layer.name


def tensor_names(i: int) -> tuple[str, ...]:
    """Return the names that the tensors of layer number `i` have, if they are added to the graph."""
    return ACTIVATIONS.format(i), GRADIENTS.format(i), OWN_GRADIENTS.format(i)
