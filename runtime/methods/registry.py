"""The tables of methods, and how a name finds its method."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import TypeVar

from aerocam import methods
from aerocam.errors import UsageError
from aerocam.runtime.methods.kinds import CamMethod, ContrastMethod, ForwardMethod, InputMethod, Method, OnStream

CAM_METHODS: dict[str, CamMethod] = {}
"""Every method on a layer's activations and gradients, by its one name."""

INPUT_METHODS: dict[str, InputMethod] = {}
"""Every method on the input picture, by its one name."""

CONTRAST_METHODS: dict[str, ContrastMethod] = {}
"""Every method that contrasts classes, by its one name."""

FORWARD_METHODS: dict[str, ForwardMethod] = {}
"""Every method that only runs the model forward, by its one name."""

COMPUTED: Mapping[str, Method] = ChainMap(CAM_METHODS, INPUT_METHODS, CONTRAST_METHODS, FORWARD_METHODS)  # type: ignore[arg-type]
"""Every method that has its arithmetic, of whatever kind."""

Function = TypeVar("Function", bound=Callable[..., object])


def computes(name: str, on_stream: OnStream | None = None) -> Callable[[Function], Function]:
    """Enter the decorated function as the arithmetic of a method; the function itself stays as it is.

    Args:
        name: The method's, as its row in `aerocam.methods.METHODS` has it.
        on_stream: See `CamMethod`.

    Raises:
        ValueError: No method has that name, or its row says something else of streams.
    """
    facts = methods.row_of(name)
    if facts.on_stream != (on_stream is not None):
        raise ValueError(
            f"method {name!r}: on_stream is {facts.on_stream} in its row, and not in @computes; correct one"
        )

    def register(function: Function) -> Function:
        if facts.kind == "layer":
            CAM_METHODS[name] = CamMethod(facts, function, on_stream)
        elif facts.kind == "input":
            INPUT_METHODS[name] = InputMethod(facts, function)
        elif facts.kind == "contrast":
            CONTRAST_METHODS[name] = ContrastMethod(facts, function)
        else:
            FORWARD_METHODS[name] = ForwardMethod(facts, function)
        return function

    return register


def find(name: str) -> Method:
    """Return the method called `name`, in any of its spellings: `gradcam++`, `GradCAMPlusPlus`, `smooth-grad`, ...

    Raises:
        UsageError: No method has that name; the message has close ones.
    """
    return COMPUTED[methods.find(name).name]


def get(name: str) -> CamMethod:
    """Return the method on activations and gradients called `name`; see `find`.

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
