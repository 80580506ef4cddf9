"""Class names: from a file, or from the model's metadata, held against the number of classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aerocam.decisions import Decision
from aerocam.errors import UsageError
from aerocam.manifest import Score

logger = logging.getLogger("aerocam.export")


def decide_labels(names: Sequence[str], score: Score, given: bool) -> tuple[tuple[str, ...], Decision]:
    """Decide on one name per class, or none; the name of the background is put in where it alone is missing.

    Args:
        names: Names of the classes.
        score: The score, with the number of classes.
        given: Whether the user gave them, and must correct them; the model's own are left out where they do not fit.

    Raises:
        UsageError: The names that the user gave are not as many as the classes.
    """
    classes, background = score.classes, score.background
    if background is not None and background < classes == len(names) + 1:
        names = [*names[:background], "background", *names[background:]]
    if names and len(names) != classes:
        if given:
            raise UsageError(f"`labels`: {len(names)} names for {classes} classes; give one name per class")
        against = f"the model's metadata names {len(names)} classes, the output has {classes}"
        return (), Decision("labels", "classes go by number", "no names fit", "labels", "graph", against)
    if not names:
        return (), Decision("labels", "classes go by number", "nothing names them", "labels")
    listed = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    evidence, source = ("asked for", "asked") if given else ("the model's metadata", "metadata")
    return tuple(names), Decision("labels", listed, evidence, "labels", source)  # type: ignore[arg-type]
