"""The header of a run's records: what made them, of what."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from time import time as clock
from typing import Any

from aerocam import __version__
from aerocam.files import sha256
from aerocam.runtime.explainer import Explainer
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.predictions.targets import Targets, as_list
from aerocam.runtime.results.record import jsonable
from aerocam.runtime.video.source import VideoSource

SCHEMA_VERSION = 1
"""Of the lines; it changes where a field changes its meaning or goes."""


def header(
    explainer: Explainer,
    source: VideoSource,
    target: Targets | Objects,
    *,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    every: int = 1,
    least: float = 0.0,
) -> dict[str, Any]:
    """Return the first line of records, ready for JSON; see `records.schema.json`.

    Args:
        explainer: What explains.
        source: Where the frames come from.
        target: What is explained.
        model: The model's name as the user says it; None: that of the explainer's file.
        options: The method's.
        every: See `process`.
        least: See `process`.
    """
    recipe, path = explainer.recipe, explainer.session.path
    height, width = source.size
    return jsonable(
        {
            "type": "header",
            "schema": SCHEMA_VERSION,
            "aerocam": __version__,
            "started": clock(),
            "host": {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()},
            "model": {"path": model or path, "sha256": sha256(path) if os.path.isfile(path) else None},
            "method": recipe.method,
            "layers": list(recipe.layers),
            "options": {**(options or {}), "fusion": recipe.fusion, "gaussian": recipe.gaussian},
            "target": asdict(target) if isinstance(target, Objects) else [_plain(one) for one in as_list(target)],
            "thresholds": {"least": least},
            "every": every,
            "source": {"name": source.name, "live": source.live, "fps": source.fps, "frames": source.count},
            "size": {"width": width, "height": height},
        }
    )


def _plain(target: Any) -> Any:
    """Return a target as JSON has it."""
    return list(target) if isinstance(target, tuple) else target
