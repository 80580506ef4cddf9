"""Dataclasses from decoded JSON, every field checked."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from aerocam.errors import ManifestError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Limits a number of an annotated field, `Annotated[int, Range(1, 9)]`, both ends included."""

    least: float
    most: float


NATURAL = Range(0, 2**31 - 1)
"""Of whole numbers without a range of their own."""

LIMITED = Range(-1e30, 1e30)
"""Of floats without one: in float32 they and their reciprocals are finite."""

Positive = Annotated[float, Range(1e-30, 1e30)]
Count = Annotated[int, Range(1, 2**31 - 1)]


def decode(kind: type[T], data: Any, path: str) -> T:
    """Make a dataclass from decoded JSON.

    Args:
        kind: The dataclass; its fields are dataclasses, Literals, tuples, optionals and scalars.
        data: What `foreign.parse_json` gave.
        path: Where `data` stands, for the error message.

    Raises:
        ManifestError: A field is missing, unknown, ill-typed or out of its range.
    """
    if not isinstance(data, Mapping):
        raise ManifestError(f"{path} is {reprlib.repr(data)}, an object was expected; export the model again")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    required = {name for name, field in fields.items() if field.default is MISSING and field.default_factory is MISSING}
    absent = sorted(required - set(data))
    if unknown or absent:
        problem = f"unknown {', '.join(map(_short, unknown))}" if unknown else f"no {', '.join(absent)}"
        raise ManifestError(f"{path} has {problem}; expected {', '.join(fields)}; export the model again")
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{name: _convert(hints[name], value, f"{path}.{name}") for name, value in data.items()})


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Convert `value` to the annotated type: dataclass, Literal, tuple, optional, or scalar within its range."""
    limits = None
    if get_origin(hint) is Annotated:
        hint, limits = get_args(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _convert(inner, value, path)
    if dataclasses.is_dataclass(hint):
        return decode(hint, value, path)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            raise ManifestError(f"{path} has {len(value)} values, expected {len(arguments)}; export the model again")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(_convert(kind, entry, f"{path}[{i}]") for i, (kind, entry) in pairs)
    if origin is Literal and value in arguments:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _within(limits or LIMITED, float(value), path)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return _within(limits or NATURAL, value, path)
    expected = " or ".join(map(repr, arguments)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise ManifestError(f"{path} is {reprlib.repr(value)}, expected {expected}; export the model again")


def _within(limits: Range, value: float, path: str) -> float:
    """Return a number, if it is in its range."""
    if not limits.least <= value <= limits.most:
        raise ManifestError(
            f"{path} is {reprlib.repr(value)}, expected {limits.least} to {limits.most}; export the model again"
        )
    return value


def _short(name: str) -> str:
    return name if len(name) < 40 else f"{name[:37]}..."
