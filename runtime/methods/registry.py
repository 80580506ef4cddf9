"""The tables of methods, and how a name finds its method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError, did_you_mean
from aerocam.manifest import Rule
from aerocam.runtime.methods.weighted import smoothed_sum, weighted_sum

if TYPE_CHECKING:
    from aerocam.runtime.methods.contrast import ContrastMethod
    from aerocam.runtime.methods.forward import ForwardMethod

Array = npt.NDArray[np.float32]
Normalisation = Literal["minmax", "max", "magnitude", "span"]

Method: TypeAlias = "CamMethod | InputMethod | ContrastMethod | ForwardMethod"

Gradient: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""The model at a picture (1, C, H, W), for N targets: d score / d picture (N, C, H, W) and score (N,), float32, new."""


OnStream: TypeAlias = Callable[..., Callable[[Array, Array, int], Array]]
"""From a method's options to a function that remembers: activations (1, C, H, W), gradients (T, C, H, W) and the number
of the frame, float32, to the raw maps (T, H, W)."""


@dataclass(frozen=True)
class CamMethod:
    """A CAM method: what to call, and what the runtime has to know to call it.

    Attributes:
        name: Its key in `CAM_METHODS`: pytorch-grad-cam's name, where that has the method.
        function: The arithmetic, on float32 arrays of equal shape (N, C, H, W): the raw map, (N, H, W), or the weights.
        needs_gradients: False where the activations alone are enough; then the file needs no gradients.
        normalisation: What follows the ReLU to bring the map to [0, 1]. `minmax`: the minimum is taken off, then
            the map divided by its maximum. `max`: divided by its maximum only, as CF-CAM publishes it. `magnitude`:
            see `InputMethod`, `span`: see `ForwardMethod`.
        weighs: Whether `function` gives weights w, (N, C) or (N, C, H, W), of which the map is Σ_c w_c A_c. Such a
            method takes one option more: `eigen_smooth`, see `weighted.smoothed_sum`.
        rule: What its gradients are, as `manifest.Layer.rule` has it.
        on_stream: For a method that keeps something from frame to frame: what makes it, anew for every layer.
    """

    name: str
    function: Callable[..., Array]
    needs_gradients: bool = True
    normalisation: Normalisation = "minmax"
    weighs: bool = False
    rule: Rule = "gradient"
    on_stream: OnStream | None = None

    def __call__(self, activations: npt.ArrayLike, gradients: npt.ArrayLike | None = None, **options: Any) -> Array:
        """The raw map: before ReLU, normalisation and resize.

        Args:
            activations: A, shape (N, C, H, W), any real dtype and memory order; never written to.
            gradients: G = d score / d A, same shape; may be None where `needs_gradients` is False.
            options: Keyword arguments of the method's function.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: Another shape, gradients missing, an unknown option, or one that the method refuses.
        """
        check_options(self, options)
        a = np.ascontiguousarray(activations, dtype=np.float32)
        if a.ndim != 4 or 0 in a.shape:
            raise UsageError(
                f"method {self.name}: got activations of shape {a.shape}, expected a non-empty (N, C, H, W);"
                " reshape them, one channel per feature"
            )
        if not self.needs_gradients:
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
        """The raw map of A, or of A and G."""
        found = self.function(*arrays, **options)
        if not self.weighs:
            return found
        return smoothed_sum(found, arrays[0]) if eigen_smooth else weighted_sum(found, arrays[0])

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the method takes beside the arrays."""
        return (*keywords(self.function), *(("eigen_smooth",) if self.weighs else ()))


@dataclass(frozen=True)
class InputMethod:
    """A method on the model's input picture, which may run the model on pictures of its own.

    Attributes:
        name: Its key in `INPUT_METHODS`.
        function: The arithmetic: the picture, float32 (1, C, H, W), and its `Gradient` to the raw map (N, H, W); where
            `over_layers` is set also Grad-CAM's map of a layer, its positive part, resized to the picture, (N, H, W).
        rule: Which gradient it takes, as `manifest.Layer.rule` has it.
        over_layers: Whether it takes Grad-CAM's map of a layer too.
        normalisation: As `CamMethod.normalisation`. `magnitude`: these maps have both signs, against the class as well
            as for it; what is shown is their absolute value, divided by its 99th percentile and cut off at 1.
    """

    name: str
    function: Callable[..., Array]
    rule: Rule = "gradient"
    over_layers: bool = False
    normalisation: Normalisation = "magnitude"

    def __call__(self, picture: Array, gradient: Gradient, *cam: Array, **options: Any) -> Array:
        """The raw map, with its sign; see `function`.

        Returns:
            float32, shape (N, H, W).

        Raises:
            UsageError: An unknown option, or one that the method refuses.
        """
        check_options(self, options)
        return np.asarray(self.function(picture, gradient, *cam, **options), np.float32)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the method takes."""
        return keywords(self.function)


def keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the options that a method's function takes."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


def check_options(method: Method, options: dict[str, Any]) -> None:
    """Make sure that a method has these options.

    Raises:
        UsageError: It has not.
    """
    for option in options:
        if option not in method.options:
            raise UsageError(
                f"method {method.name}: it has no option {option!r}. {did_you_mean(option, method.options)}"
            )


CAM_METHODS: dict[str, CamMethod] = {}
"""Every method on a layer's activations and gradients, by its one name."""

INPUT_METHODS: dict[str, InputMethod] = {}
"""Every method on the input picture, by its one name."""

TABLES: list[Mapping[str, Any]] = [CAM_METHODS, INPUT_METHODS]
"""All tables of methods, each of one kind; the modules of further kinds add theirs."""

_ALIASES: dict[str, str] = {}
"""Folded name or alias -> key of one of `TABLES`."""


def cam_method(
    name: str,
    *aliases: str,
    needs_gradients: bool = True,
    normalisation: Normalisation = "minmax",
    weighs: bool = False,
    rule: Rule = "gradient",
    on_stream: OnStream | None = None,
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Enter the decorated function into `CAM_METHODS`; the function itself stays as it is.

    Args:
        name: The key.
        aliases: Further names; case, spaces, `-` and `_` never matter.
        needs_gradients: See `CamMethod`.
        normalisation: See `CamMethod`.
        weighs: See `CamMethod`.
        rule: See `CamMethod`.
        on_stream: See `CamMethod`.
    """

    def register(function: Callable[..., Array]) -> Callable[..., Array]:
        claim(name, *aliases)
        CAM_METHODS[name] = CamMethod(name, function, needs_gradients, normalisation, weighs, rule, on_stream)
        return function

    return register


weighting = partial(cam_method, weighs=True)
"""Enter a function that gives the weights of Σ_c w_c A_c into `CAM_METHODS`; arguments as of `cam_method`."""


def input_method(
    name: str, *aliases: str, rule: Rule = "gradient", over_layers: bool = False
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Enter the decorated function into `INPUT_METHODS`; the function itself stays as it is.

    Args:
        name: The key.
        aliases: As for `cam_method`.
        rule: See `InputMethod`.
        over_layers: See `InputMethod`.
    """

    def register(function: Callable[..., Array]) -> Callable[..., Array]:
        claim(name, *aliases)
        INPUT_METHODS[name] = InputMethod(name, function, rule, over_layers)
        return function

    return register


def find(name: str) -> Method:
    """The method called `name`, in any of its spellings: `gradcam++`, `GradCAMPlusPlus`, `smooth-grad`, ...

    Raises:
        UsageError: No method has that name; the message has close ones.
    """
    key = _ALIASES.get(_fold(name), "")
    known: dict[str, Method] = {name: method for table in TABLES for name, method in table.items()}
    if key not in known:
        raise UsageError(f"there is no CAM method {name!r}. {did_you_mean(_fold(name), known)}")
    return known[key]


def get(name: str) -> CamMethod:
    """The method on activations and gradients called `name`; see `find`.

    Raises:
        UsageError: No such method has that name; the message has close ones.
    """
    method = find(name)
    if not isinstance(method, CamMethod):
        works = "works on the input picture" if isinstance(method, InputMethod) else "runs the model again"
        raise UsageError(
            f"method {method.name}: it {works}, a method on a layer's activations and gradients alone is expected;"
            " call it through Explainer"
        )
    return method


def without_gradients() -> tuple[str, ...]:
    """Names of the methods that need the activations only."""
    return tuple(method.name for method in CAM_METHODS.values() if not method.needs_gradients)


def claim(name: str, *aliases: str) -> None:
    """Make `name` and its aliases lead to `name`."""
    spellings = {_fold(each) for each in (name, *aliases)}
    if taken := spellings & _ALIASES.keys():
        raise ValueError(f"{', '.join(sorted(taken))}: another CAM method has that name already")
    _ALIASES.update(dict.fromkeys(spellings, name))


def _fold(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "-_ "))
