"""The kinds of methods: what each is called with, and what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError, did_you_mean
from aerocam.methods import METHODS, MethodFacts
from aerocam.runtime.methods.principal import smoothed_sum, weighted_sum

Array = npt.NDArray[np.float32]

Gradient: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""The model at a picture (1, C, H, W), for N targets: d score / d picture (N, C, H, W) and score (N,), float32, new."""

OnStream: TypeAlias = Callable[..., Callable[[Array, Array, int], Array]]
"""From a method's options to a function that remembers: activations (1, C, H, W), gradients (T, C, H, W) and the number
of the frame, float32, to the raw maps (T, H, W)."""


@dataclass(frozen=True)
class Method:
    """Join a method's arithmetic with its facts; each kind is called in its own way.

    Attributes:
        facts: Its row in `aerocam.methods.METHODS`.
        function: The arithmetic; see the kinds.
    """

    facts: MethodFacts
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """Return the one name of the method."""
        return self.facts.name

    @property
    def options(self) -> tuple[str, ...]:
        """Return the names of the keyword arguments that the method takes."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)

    def check_options(self, options: dict[str, Any]) -> None:
        """Make sure that the method has these options.

        Raises:
            UsageError: It has no option of one of these names.
        """
        for option in options:
            if option not in self.options:
                raise UsageError(
                    f"method {self.name}: it has no option {option!r}. {did_you_mean(option, self.options)}"
                )


@dataclass(frozen=True)
class CamMethod(Method):
    """A method on the activations and gradients of a layer.

    Attributes:
        facts: See `Method`.
        function: The arithmetic, on float32 arrays of equal shape (N, C, H, W), A and G or A alone: the raw map,
            (N, H, W), or, of a method that weighs, the weights, (N, C) or (N, C, H, W).
        on_stream: For a method that keeps something from frame to frame: what makes it, anew for every layer.
    """

    on_stream: OnStream | None = None

    def __call__(self, activations: npt.ArrayLike, gradients: npt.ArrayLike | None = None, **options: Any) -> Array:
        """Compute the raw map: before ReLU, normalisation and resize.

        Args:
            activations: A, shape (N, C, H, W), any real dtype and memory order; never written to.
            gradients: G = d score / d A, same shape; may be None where the method reads none.
            options: Keyword arguments of the method's function.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: Another shape, gradients missing, an unknown option, or one that the method refuses.
        """
        self.check_options(options)
        a = np.ascontiguousarray(activations, dtype=np.float32)
        if a.ndim != 4 or 0 in a.shape:
            raise UsageError(
                f"method {self.name}: got activations of shape {a.shape}, expected a non-empty (N, C, H, W);"
                " reshape them, one channel per feature"
            )
        if self.facts.gradients is None:
            return self._map(a, **options)
        if gradients is None:
            raise UsageError(
                f"method {self.name}: got no gradients, and it needs them;"
                f" export with gradients, or take one of: {', '.join(without_gradients())}"
            )
        g = np.ascontiguousarray(gradients, dtype=np.float32)
        if g.shape != a.shape:
            raise UsageError(
                f"method {self.name}: got gradients of shape {g.shape}, expected that of the activations, {a.shape};"
                " take both from the same layer and run"
            )
        return self._map(a, g, **options)

    def _map(self, *arrays: Array, eigen_smooth: bool = False, **options: Any) -> Array:
        """Return the raw map of A, or of A and G."""
        result: Array = self.function(*arrays, **options)
        if not self.facts.weighs:
            return result
        return smoothed_sum(result, arrays[0]) if eigen_smooth else weighted_sum(result, arrays[0])

    @property
    def options(self) -> tuple[str, ...]:
        """Return the names of the keyword arguments that the method takes beside the arrays."""
        return (*super().options, *(("eigen_smooth",) if self.facts.weighs else ()))


@dataclass(frozen=True)
class InputMethod(Method):
    """A method on the model's input picture, which may run the model on pictures of its own.

    Attributes:
        facts: See `Method`.
        function: The arithmetic: the picture, float32 (1, C, H, W), and its `Gradient` to the raw map (N, H, W); of a
            method that takes activations also Grad-CAM's map of a layer, its positive part, resized to the picture,
            (N, H, W).
    """

    def __call__(self, picture: Array, gradient: Gradient, *cam: Array, **options: Any) -> Array:
        """Compute the raw map, with its sign; see `function`.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: An unknown option, or one that the method refuses.
        """
        self.check_options(options)
        return np.asarray(self.function(picture, gradient, *cam, **options), np.float32)


@dataclass(frozen=True)
class ContrastMethod(Method):
    """A method whose score is made of several classes' logits; the map is that of a CAM method at its gradients.

    Attributes:
        facts: See `Method`.
        function: The logits, float64 (classes,), and the target, to the classes that matter, int64 (k,), and the
            score's derivative by the logit of each, float64 (k,).
    """

    def __call__(
        self, logits: npt.NDArray[np.float64], target: int, **options: Any
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Compute the classes and the derivatives; see `function`.

        Raises:
            UsageError: An unknown option, or one that the method refuses.
        """
        self.check_options(options)
        classes, slopes = self.function(logits, target, **options)
        return classes, slopes


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
        """Return the scores; see `run`."""
        return self.run(arrays)

    def each(self, count: int, make: Callable[[npt.NDArray[np.intp]], Array]) -> Array:
        """Return the scores of `count` arrays, float32 (count, N), of which no more are held than run at once.

        Args:
            count: How many.
            make: From their numbers (n,) to n of them.
        """
        numbers = np.arange(count)
        return np.concatenate([self(make(numbers[i : i + self.batch])) for i in range(0, count, self.batch)])


@dataclass(frozen=True)
class ForwardMethod(Method):
    """A method that takes no gradients but runs the model forward, whole or from a layer on, again and again.

    Attributes:
        facts: See `Method`; its kind, `model` or `tail`, says what is run.
        function: The arithmetic: a `Scorer` and float32 arrays (1, C, H, W) to the raw map (N, H, W). Where the whole
            model is run the `Scorer` takes pictures, and the array is the picture, followed by the layer's activations
            if the method takes them. Else it takes activations, and the array is the layer's.
    """

    def __call__(self, score: Scorer, *arrays: Array, **options: Any) -> Array:
        """Compute the raw map; see `function`.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: An unknown option, or one that the method refuses; the model has not been run then.
        """
        self.check_options(options)
        return np.asarray(self.function(score, *arrays, **options), np.float32)


def without_gradients() -> tuple[str, ...]:
    """Return the names of the methods that need a layer's activations only."""
    return tuple(name for name, facts in METHODS.items() if facts.kind == "layer" and facts.gradients is None)


def planes_of(array: Array, planes: int) -> Array:
    """Return the planes of volumes apart: (..., D H, W) as (n, H, W), D of them one behind the other for each volume.

    Raises:
        UsageError: The rows are not so many planes.
    """
    height, width = array.shape[-2:]
    if not isinstance(planes, int) or planes < 1 or height % planes:
        raise UsageError(f"planes: got {planes!r}, expected a whole number that divides {height} rows")
    return array.reshape(-1, height // planes, width)
