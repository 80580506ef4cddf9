"""A saliency map laid over a frame: everything in uint8, the map coloured only at the end."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.runtime.opencv import COLORMAPS, cv2
from aerocam.runtime.placement import Box

Region = tuple[int, int, int, int]
"""(top, left, bottom, right) in frame px."""

STRIP = 0.3
"""Brightness left under a caption, so that white text is legible on it."""


def overlay_map(
    frame: NDArray[np.uint8],
    saliency: NDArray[np.float32],
    *,
    alpha: float = 0.5,
    colormap: str = "jet",
    region: Region | None = None,
) -> NDArray[np.uint8]:
    """Blend a coloured map over a frame: alpha * colour + (1 - alpha) * frame.

    The same map value gives the same colour in every frame: nothing is scaled by the brightness of the frame.

    Args:
        frame: uint8 (H, W, 3), BGR. It is not changed.
        saliency: float32 (h, w) in [0, 1], of any size; it is resized to the region.
        alpha: Weight of the colour, 0 to 1.
        colormap: Name of one of OpenCV's colour maps, such as `jet`, `turbo` or `viridis`.
        region: The part of the frame that the map covers, the whole frame by default. The rest stays as it is.

    Returns:
        uint8 (H, W, 3), BGR, a new array.

    Raises:
        UsageError: An unknown colour map, or a weight outside 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha: got {alpha}, expected a weight from 0 (only the frame) to 1 (only the map)")
    top, left, bottom, right = region or (0, 0, *frame.shape[:2])
    levels = cv2.convertScaleAbs(saliency, alpha=255.0)
    levels = cv2.resize(levels, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(levels, _table(colormap))
    under = frame[top:bottom, left:right]
    if under.shape == frame.shape:
        return cv2.addWeighted(colours, alpha, frame, 1 - alpha, 0, colours)
    blended = frame.copy()
    blended[top:bottom, left:right] = cv2.addWeighted(colours, alpha, under, 1 - alpha, 0, colours)
    return blended


@functools.lru_cache(maxsize=8)
def _table(colormap: str) -> NDArray[np.uint8]:
    """The colour of each of the 256 levels, (256, 1, 3) BGR."""
    if colormap.lower() not in COLORMAPS:
        raise UsageError(f"colour map '{colormap}': OpenCV has none of this name. {did_you_mean(colormap, COLORMAPS)}")
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(256, 1), COLORMAPS[colormap.lower()])


def draw_caption(picture: NDArray[np.uint8], text: str) -> None:
    """Write a line of text in white on a darkened strip at the bottom of the picture, in place.

    Args:
        picture: uint8 (H, W, 3), BGR.
        text: What to write; OpenCV's font has ASCII only, accents are dropped and other letters shown as `?`.
    """
    height, width = picture.shape[:2]
    text = ascii_text(text)
    scale = max(min(height, width) / 720, 0.4)
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, 0.96 * width / max(text_width, 1))
    thickness = max(round(2 * scale), 1)
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    margin = max(text_height // 2, 2)
    strip = picture[max(height - text_height - baseline - 2 * margin, 0) :]
    cv2.convertScaleAbs(strip, strip, alpha=STRIP)
    origin = (margin, height - baseline - margin)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def draw_box(picture: NDArray[np.uint8], box: Box) -> None:
    """Draw a white box with a dark rim, in place.

    Args:
        picture: uint8 (H, W, 3), BGR.
        box: (x0, y0, x1, y1) in px.
    """
    x0, y0, x1, y1 = (round(value) for value in box)
    line = max(min(picture.shape[:2]) // 360, 1)
    cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), line + 2)
    cv2.rectangle(picture, (x0, y0), (x1, y1), (255, 255, 255), line)


def draw_tag(picture: NDArray[np.uint8], text: str, corner: tuple[float, float]) -> None:
    """Write a short text in white on black above a corner of a box, in place; inside the picture all the same.

    Args:
        picture: uint8 (H, W, 3), BGR.
        text: See `draw_caption`.
        corner: (x, y) of the box's upper left, in px.
    """
    height, width = picture.shape[:2]
    text, scale = ascii_text(text), max(min(height, width) / 1100, 0.35)
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = int(np.clip(round(corner[0]), 0, max(width - text_width, 0)))
    bottom = int(np.clip(round(corner[1]), text_height + baseline, height))
    cv2.rectangle(picture, (left, bottom - text_height - baseline), (left + text_width, bottom), (0, 0, 0), cv2.FILLED)
    origin = (left, bottom - baseline)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def draw_targets(picture: NDArray[np.uint8], targets: Sequence[tuple[str, Box | None]]) -> None:
    """Draw what was explained, in place: every box, with its text on it where there are several; else a caption.

    Args:
        picture: uint8 (H, W, 3), BGR.
        targets: Text and box, (x0, y0, x1, y1) in px, of each.
    """
    for _, box in targets:
        if box is not None:
            draw_box(picture, box)
    tagged = [(text, box) for text, box in targets if box is not None] if len(targets) > 1 else []
    for text, box in tagged:
        draw_tag(picture, text, box[:2])
    if len(tagged) < len(targets):
        draw_caption(picture, ", ".join(text for text, box in targets if box is None or not tagged))


def ascii_text(text: str) -> str:
    """`text` with accents dropped and every other letter that is not ASCII as `?`."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode()


def check_style(alpha: float, colormap: str) -> None:
    """Make sure, before any work is done, that `overlay_map` will take these.

    Raises:
        UsageError: An unknown colour map, or a weight outside 0 to 1.
    """
    overlay_map(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32), alpha=alpha, colormap=colormap)
