"""Methods that read no gradients but run the model forward, and their table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from aerocam.runtime.methods.registry import TABLES, Array, Normalisation, check_options, claim, keywords


@dataclass(frozen=True)
class Scorer:
    """The scores of N targets as a function of several pictures, or of several activations of a layer.

    Attributes:
        run: (n, C, H, W) float32 to the scores, before softmax or sigmoid, float32 (n, N), new.
        batch: How many are best given at once.
    """

    run: Callable[[Array], Array]
    batch: int = 1

    def __call__(self, arrays: Array) -> Array:
        """See `run`."""
        return self.run(arrays)

    def each(self, count: int, make: Callable[[npt.NDArray[np.intp]], Array]) -> Array:
        """The scores of `count` arrays, float32 (count, N), of which no more are held than run at once.

        Args:
            count: How many.
            make: From their numbers (n,) to n of them.
        """
        numbers = np.arange(count)
        return np.concatenate([self(make(numbers[i : i + self.batch])) for i in range(0, count, self.batch)])


@dataclass(frozen=True)
class ForwardMethod:
    """A method that reads no gradients but runs the model forward, whole or from a layer on, again and again.

    Attributes:
        name: Its key in `FORWARD_METHODS`.
        function: The arithmetic: a `Scorer` and float32 arrays (1, C, H, W) to the raw map (N, H, W). With
            `runs="model"` the `Scorer` takes pictures, the array is the picture, and the layer's activations too where
            `over_layers` is set. With `runs="tail"` it takes activations, and the array is the layer's.
        runs: What is run.
        over_layers: Whether it takes activations.
        follows_sign: Whether the negative score has another map.
        normalisation: As `CamMethod.normalisation`. `span`: the map is brought to [0, 1] from its minimum to its
            maximum with no ReLU before, for maps whose zero has no meaning.
    """

    name: str
    function: Callable[..., Array]
    runs: Literal["model", "tail"]
    over_layers: bool = False
    follows_sign: bool = True
    normalisation: Normalisation = "minmax"

    def __call__(self, score: Scorer, *arrays: Array, **options: Any) -> Array:
        """The raw map; see `function`.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: An unknown option, or one that the method refuses; the model has not been run then.
        """
        check_options(self, options)
        return np.asarray(self.function(score, *arrays, **options), np.float32)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the method takes."""
        return keywords(self.function)


FORWARD_METHODS: dict[str, ForwardMethod] = {}
"""Every method that only runs the model forward, by its one name."""

TABLES.append(FORWARD_METHODS)


def forward_method(
    name: str,
    *aliases: str,
    runs: Literal["model", "tail"],
    over_layers: bool = False,
    follows_sign: bool = True,
    normalisation: Normalisation = "minmax",
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Enter the decorated function into `FORWARD_METHODS`; the function itself stays as it is.

    Args:
        name: The key.
        aliases: As for `cam_method`.
        runs: See `ForwardMethod`, as for the others.
        over_layers: For `runs="tail"` it goes without saying.
        follows_sign: See there.
        normalisation: See there.
    """

    def register(function: Callable[..., Array]) -> Callable[..., Array]:
        claim(name, *aliases)
        layers = over_layers or runs == "tail"
        FORWARD_METHODS[name] = ForwardMethod(name, function, runs, layers, follows_sign, normalisation)
        return function

    return register
