"""What the parameters of the library are called on the command line.

A message of the library names a parameter in backticks, as one would type it in Python: `frame`, `tensors=True`,
`head='gradcam'`. The command line prints its flag instead: --frame, --tensors, --head gradcam.
"""

from __future__ import annotations

import ast
import logging
import re
import shlex
from collections.abc import Container, Mapping

ALIKE = (
    "activation", "alpha", "batch", "codec", "color", "colormap", "compute_capability", "contrast", "counterfactual",
    "eigen_smooth", "every", "fix", "floor", "fps", "frame", "frames", "fusion", "gaussian", "guess", "guided",
    "hardware", "head", "interpolation", "iou", "keep", "labels", "layout", "max_frames", "max_pixels", "mean",
    "method", "optimization_level", "overlay", "packaging", "precision", "preprocess", "providers", "reconnect",
    "recursive", "reference", "region", "regions", "relevance", "resize", "segment", "short_side", "shown", "std",
    "target", "targets", "task", "tensors", "tf32", "threads", "timeout", "top", "units", "version_compatible",
    "workspace",
)  # fmt: skip
"""Parameters whose flag has their name."""

OTHERS = {
    "augmented": "--aug-smooth", "caption": "--no-caption", "check": "--no-check", "classes": "--class",
    "confidence": "--conf", "destination": "--for", "eigen": "--eigen-smooth", "feeds": "--feed",
    "input_shapes": "--input-shape", "layers": "--layer", "map_form": "--map", "most": "--objects", "number": "--box",
    "options": "--option", "output": "-o", "preset": "--preprocess", "score_output": "--output-name",
}  # fmt: skip
"""Flags of other names."""

FLAGS = {name: f"--{name.replace('_', '-')}" for name in ALIKE} | OTHERS
"""Flag per parameter; those that begin with --no- are given where the parameter is False."""

PARAMETER = re.compile(r"`(\w+)(?:=([^`]*))?`")


class FlagFormatter(logging.Formatter):
    """Formats records as a command prints them, whose flags are given; of others it says that they are export's.

    >>> FlagFormatter("%(message)s").format(logging.makeLogRecord({"msg": "`task` says otherwise"}))
    '--task says otherwise'
    """

    def __init__(self, fmt: str, own: Container[str] | None = None) -> None:
        """Take the format, and the flags of the command that prints; None: all are its own."""
        super().__init__(fmt)
        self._own = own

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, with flags for parameters."""
        return with_flags(super().format(record), self._own)


def with_flags(text: str, own: Container[str] | None = None) -> str:
    """Return a message with flags in place of the parameters in backticks; other words in backticks stay as they are.

    Flags that are not among a command's `own` are told to be those of `aerocam export`.

    >>> with_flags("add `head='gradcam'` or `tensors=True`, as `aerocam export` takes them")
    'add --head gradcam or --tensors, as `aerocam export` takes them'
    >>> with_flags("`task` settles it", own={"--target"})
    '--task of `aerocam export` settles it'
    """

    def flag(found: re.Match[str]) -> str:
        name = FLAGS.get(found[1])
        typed = found[0] if name is None else _flag(found)
        return typed if name is None or own is None or name in own else f"{typed} of `aerocam export`"

    return PARAMETER.sub(flag, text)


def _flag(found: re.Match[str]) -> str:
    """Return the flag for a known parameter, with its value where one is given that can be typed."""
    name, text = found.groups()
    flag = FLAGS[name]
    try:
        value = ast.literal_eval(text or "True")
    except (SyntaxError, ValueError):  # a stand-in, as in `frame=(H, W)`
        return flag
    if isinstance(value, bool):
        return flag
    if isinstance(value, Mapping):  # the flag is repeated, once per item
        return " ".join(f"{flag} {shlex.quote(f'{key}={_typed(name, item)}')}" for key, item in value.items())
    return f"{flag} {_typed(name, value)}"


def _typed(name: str, value: object) -> str:
    """Return a parameter's value as it is typed behind its flag."""
    if isinstance(value, (list, tuple)):
        return ("x" if name == "frame" else ",").join(map(str, value))
    return shlex.quote(str(value))
