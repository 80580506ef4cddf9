"""The device side of aerocam: frames in, explanations out.

Importing it loads none of its parts; each public name brings what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aerocam.runtime.drawing.overlay import overlay_map as overlay_map
    from aerocam.runtime.drawing.regions import Region as Region
    from aerocam.runtime.drawing.regions import find_regions as find_regions
    from aerocam.runtime.explainer import Explainer as Explainer
    from aerocam.runtime.explanation import Explanation as Explanation
    from aerocam.runtime.frames.pictures import read_picture as read_picture
    from aerocam.runtime.maps.noise import GradientNoise as GradientNoise
    from aerocam.runtime.maps.smoothing import MapSmoothing as MapSmoothing
    from aerocam.runtime.methods import CAM_METHODS as CAM_METHODS
    from aerocam.runtime.methods import FORWARD_METHODS as FORWARD_METHODS
    from aerocam.runtime.methods import INPUT_METHODS as INPUT_METHODS
    from aerocam.runtime.predictions.detections import Detection as Detection
    from aerocam.runtime.predictions.detections import Objects as Objects
    from aerocam.runtime.predictions.targets import Target as Target
    from aerocam.runtime.sessions.opening import open_session as open_session
    from aerocam.runtime.sessions.session import Session as Session
    from aerocam.runtime.video.recording.sink import VideoSink as VideoSink
    from aerocam.runtime.video.source import VideoSource as VideoSource
    from aerocam.runtime.video.stream import process as process

_HOMES = {
    "CAM_METHODS": "methods",
    "Detection": "predictions.detections",
    "Explainer": "explainer",
    "Explanation": "explanation",
    "FORWARD_METHODS": "methods",
    "GradientNoise": "maps.noise",
    "INPUT_METHODS": "methods",
    "MapSmoothing": "maps.smoothing",
    "Objects": "predictions.detections",
    "Region": "drawing.regions",
    "Session": "sessions.session",
    "Target": "predictions.targets",
    "VideoSink": "video.recording.sink",
    "VideoSource": "video.source",
    "find_regions": "drawing.regions",
    "open_session": "sessions.opening",
    "overlay_map": "drawing.overlay",
    "process": "video.stream",
    "read_picture": "frames.pictures",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'aerocam.runtime' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"aerocam.runtime.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, fetched or not."""
    return __all__
