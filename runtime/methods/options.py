"""The values of methods' options, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np

from aerocam.errors import UsageError, did_you_mean


def whole(method: str, option: str, value: Any, least: int) -> int:
    """The value of an option that is a whole number from `least` on.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise UsageError(
            f"method {method}: option {option} is {value!r}, expected a whole number from {least} on; correct it"
        )
    return int(value)


def number(method: str, option: str, value: Any) -> float:
    """The value of an option that is a number of 0 or more.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise UsageError(f"method {method}: option {option} is {value!r}, expected a number of 0 or more; correct it")
    return float(value)


def share(method: str, option: str, value: Any) -> float:
    """The value of an option that is a number above 0 and at most 1.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 < value <= 1:
        raise UsageError(
            f"method {method}: option {option} is {value!r}, expected a number above 0 and up to 1; correct it"
        )
    return float(value)


def choice(method: str, option: str, value: Any, known: Collection[str]) -> str:
    """The value of an option that is one of several words.

    Raises:
        UsageError: It is none of them.
    """
    if value not in known:
        raise UsageError(f"method {method}: option {option} is {value!r}. {did_you_mean(str(value), known)}")
    return str(value)


def flag(method: str, option: str, value: Any) -> bool:
    """The value of an option that is on or off.

    Raises:
        UsageError: It is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise UsageError(f"method {method}: option {option} is {value!r}, expected True or False; correct it")
    return bool(value)
