"""Layer-wise relevance propagation: the rules are in the exported graph, what is left is a product."""

from __future__ import annotations

from aerocam.runtime.methods.registry import Array, weighting


@weighting("relevance", "lrp", "lrpepsilon", rule="relevance")
def relevance(activations: Array, multipliers: Array) -> Array:
    """LRP-epsilon (Bach et al., PLoS ONE 2015, eq. 58): w = M, so that L is the relevance of each position.

    Positive: it speaks for the target, negative: against it. Over all positions it adds up to the score, but for what
    biases and other constants behind the layer take.

    Args:
        activations: A.
        multipliers: M, as `aerocam export --relevance` has them in place of gradients.
    """
    return multipliers
