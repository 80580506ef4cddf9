"""Every error aerocam raises on purpose; the command line prints the message and exits, without a traceback.

A message has a subject, what was found, what was expected and what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class AerocamError(Exception):
    """Base of all errors below. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(AerocamError):
    """The caller asked for something that does not exist or does not fit: correct the call."""

    exit_code = 2


class ModelError(AerocamError):
    """The model file cannot be read, or is not of a form aerocam takes."""


class UnsupportedOperatorError(ModelError):
    """An operator between the target layer and the score has no adjoint rule."""


class ManifestError(ModelError):
    """The model carries no manifest, or one this version cannot read: export it (again) with `aerocam export`."""


class EngineError(ModelError):
    """A TensorRT engine cannot be built, or does not run here: build it on this machine with `aerocam build`."""


class CheckError(ModelError):
    """The exported model disagrees with the original, or its gradients with finite differences."""


class MediaError(AerocamError):
    """A picture or a video cannot be read, or a video cannot be encoded."""


class SourceLostError(MediaError):
    """A source that gave frames is lost, and did not come back in time: a supervisor may start again."""

    exit_code = 3


class WriteError(AerocamError):
    """A file or a folder cannot be written."""


class MissingDependencyError(AerocamError):
    """An optional package is needed for what was asked; the message has the command that installs it."""


class PipError(AerocamError):
    """pip finds or fetches no packages for a bundle."""


def missing(package: str, extra: str, purpose: str) -> MissingDependencyError:
    """Return the error for an optional dependency that is not installed.

    Args:
        package: Name as `pip install` takes it.
        extra: aerocam's extra that brings it.
        purpose: What it is needed for, as the end of "needed ...".
    """
    return MissingDependencyError(
        f"{package} is not installed; it is needed {purpose}. Install it with: pip install 'aerocam[{extra}]'"
        ' (on a Jetson take NVIDIA\'s build instead: README, "Install")'
    )


def close_to(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return at most `count` names that contain `name` as a word, or else are spelt alike, whatever their case."""
    choices = list(dict.fromkeys(known))
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    if close := [choice for choice in choices if word.search(choice)]:
        return close[:count]
    alike = difflib.get_close_matches(name.lower(), dict.fromkeys(map(str.lower, choices)), n=count, cutoff=0.5)
    return [choice for lower in alike for choice in choices if choice.lower() == lower][:count]


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a sentence with the names in `known` that are close to `name`, or else with the first few of them."""
    choices = list(dict.fromkeys(known))
    if close := close_to(name, choices, count):
        return f"Did you mean {' or '.join(repr(choice) for choice in close)}?"
    shown = ", ".join(repr(choice) for choice in choices[:8])
    return f"Known: {shown}{', ...' if len(choices) > 8 else ''}." if choices else "There are none."
