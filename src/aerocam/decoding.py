"""Dataclasses from decoded JSON, every field checked."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from aerocam.errors import ManifestError

T = TypeVar("T")


def decode(kind: type[T], data: Any, path: str) -> T:
    """Make a dataclass from decoded JSON.

    Args:
        kind: The dataclass; its fields are dataclasses, Literals, tuples, optionals and scalars.
        data: What `json.loads` gave.
        path: Where `data` stands, for the error message.

    Raises:
        ManifestError: A field is missing, unknown or ill-typed.
    """
    if not isinstance(data, Mapping):
        raise ManifestError(f"{path} is {data!r}, an object was expected; export the model again")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    required = {name for name, field in fields.items() if field.default is MISSING and field.default_factory is MISSING}
    absent = sorted(required - set(data))
    if unknown or absent:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(absent)}"
        raise ManifestError(f"{path} has {problem}; expected {', '.join(fields)}; export the model again")
    hints = get_type_hints(kind)
    return kind(**{name: _convert(hints[name], value, f"{path}.{name}") for name, value in data.items()})


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Convert `value` to the annotated type: dataclass, Literal, tuple, optional or scalar."""
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
        return float(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    expected = " or ".join(map(repr, arguments)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise ManifestError(f"{path} is {value!r}, expected {expected}; export the model again")
