"""CAM methods that read the activations alone, one weight per channel."""

from __future__ import annotations

import numpy as np

from aerocam.errors import UsageError
from aerocam.runtime.methods.registry import Array, weighting


@weighting("fem", needs_gradients=False)
def feature_explanation(activations: Array, *, k: float = 2.0) -> Array:
    """FEM (Fuad et al., IPTA 2020): w_c is the share of positions where A_c exceeds its mean by k deviations.

    Mean and standard deviation are those of the channel's own positions.
    """
    mean = activations.mean(axis=(2, 3), keepdims=True)
    deviation = activations.std(axis=(2, 3), keepdims=True)
    return (activations > mean + np.float32(k) * deviation).mean(axis=(2, 3), dtype=np.float32)


@weighting("randomcam", needs_gradients=False)
def random_cam(activations: Array, *, seed: int = 0) -> Array:
    """RandomCAM (as pytorch-grad-cam has it): w_c uniform in [-1, 1], what any method has to be better than.

    The weights are drawn from `seed`, the same for every image and target.

    Raises:
        UsageError: A seed that is none.
    """
    return np.broadcast_to(random_weights(activations.shape[1], seed), activations.shape[:2])


def random_weights(channels: int, seed: int = 0) -> Array:
    """The weights of `randomcam`, float32 (channels,).

    Raises:
        UsageError: A seed that is none.
    """
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"method randomcam: option seed is {seed!r}, expected a whole number of 0 or more; correct it"
        ) from error
    return generator.uniform(-1, 1, channels).astype(np.float32)
