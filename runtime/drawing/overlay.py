"""A saliency map laid over a frame: everything in uint8, the map coloured only at the end."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError, did_you_mean
from aerocam.geometry import Box, Point
from aerocam.runtime.drawing.regions import Region, RegionRule
from aerocam.runtime.frames.opencv import COLORMAPS, cv2

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""

WHITE: Colour = (255, 255, 255)

PALETTE: tuple[Colour, ...] = (
    WHITE,
    (235, 110, 255),  # pink
    (130, 235, 255),  # cream
    (215, 255, 170),  # mint
    (255, 150, 170),  # lilac
    (130, 170, 255),  # peach
)
"""One colour per target, in turn. Light tints: jet and its like are saturated, so none of these is on their scale."""

SURE = 0.5
"""How sure a model must be of a keypoint that is drawn, as Ultralytics has it."""

STRIP = 0.3
"""Brightness left under a caption, so that white text is legible on it."""


@dataclass(frozen=True)
class Look:
    """Says how an overlay looks; see `Explanation.overlay`. Regions are in the records too."""

    alpha: float = 0.5
    colormap: str = "jet"
    caption: bool = True
    regions: RegionRule | None = None


def overlay_map(
    frame: NDArray[np.uint8],
    saliency: NDArray[np.float32],
    *,
    alpha: float = 0.5,
    colormap: str = "jet",
    region: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Blend a coloured map over a frame: alpha * colour + (1 - alpha) * frame.

    The same map value gives the same colour in every frame: nothing is scaled by the brightness of the frame.

    Args:
        frame: uint8 (H, W, 3), BGR. It is not changed.
        saliency: float32 (h, w) in [0, 1], of any size; it is resized to the region.
        alpha: Weight of the colour, 0 to 1.
        colormap: Name of one of OpenCV's colour maps, such as `jet`, `turbo` or `viridis`.
        region: (top, left, bottom, right) in px, the part of the frame that the map covers, by default all of it. The
            rest stays as it is.

    Returns:
        uint8 (H, W, 3), BGR, a new array.

    Raises:
        UsageError: An unknown colour map, or a weight outside 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"`alpha={alpha}`: expected a weight from 0 (only the frame) to 1 (only the map)")
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
    """Return the colour of each of the 256 levels, (256, 1, 3) BGR."""
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


def draw_box(picture: NDArray[np.uint8], box: Box, colour: Colour = WHITE) -> None:
    """Draw a box with a dark rim, in place.

    Args:
        picture: uint8 (H, W, 3), BGR.
        box: (x0, y0, x1, y1) in px.
        colour: Of the line.
    """
    x0, y0, x1, y1 = (round(value) for value in box)
    line = _line(picture)
    cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), line + 2)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, line)


def draw_polygon(picture: NDArray[np.uint8], polygon: Sequence[Point], colour: Colour = WHITE) -> None:
    """Draw a rotated box, or another closed polygon, with a dark rim, in place.

    Args:
        picture: uint8 (H, W, 3), BGR.
        polygon: Its corners (x, y) in px, also outside of the picture.
        colour: Of the line.
    """
    line, points = _line(picture), np.rint(np.asarray(polygon)).astype(np.int32)
    cv2.polylines(picture, [points], True, (0, 0, 0), line + 2)
    cv2.polylines(picture, [points], True, colour, line)


def draw_keypoints(picture: NDArray[np.uint8], keypoints: Sequence[Sequence[float]], colour: Colour = WHITE) -> None:
    """Draw keypoints as dots with a dark rim, in place; those that are rather not there (below `SURE`) are left out.

    Args:
        picture: uint8 (H, W, 3), BGR.
        keypoints: (x, y) in px each, or (x, y, how sure, 0 to 1).
        colour: Of the dots.
    """
    radius = 2 * _line(picture)
    for x, y, *sure in keypoints:
        if not sure or sure[0] >= SURE:
            cv2.circle(picture, (round(x), round(y)), radius + 1, (0, 0, 0), cv2.FILLED)
            cv2.circle(picture, (round(x), round(y)), radius, colour, cv2.FILLED)


def draw_outline(picture: NDArray[np.uint8], region: Region, colour: Colour = WHITE) -> None:
    """Draw the outline of a region and of its holes, with a dark rim, in place.

    Args:
        picture: uint8 (H, W, 3), BGR, of the size of the region's map.
        region: A region of the map over the picture.
        colour: Of the line.
    """
    line = _line(picture)
    cv2.drawContours(picture, region.contours, -1, (0, 0, 0), line + 2)
    cv2.drawContours(picture, region.contours, -1, colour, line)


def _line(picture: NDArray[np.uint8]) -> int:
    """Return the width of a line that is still seen when the picture is shown small, px."""
    return -(-min(picture.shape[:2]) // 256)


def draw_tag(
    picture: NDArray[np.uint8],
    text: str,
    corner: tuple[float, float],
    colour: Colour = WHITE,
    taken: Sequence[Box] = (),
) -> Box:
    """Write a short text on black above a corner of a box, in place; inside the picture all the same.

    Args:
        picture: uint8 (H, W, 3), BGR.
        text: See `draw_caption`.
        corner: (x, y) of the box's upper left, in px.
        colour: Of the text.
        taken: Where other tags are: the text moves down, below those that it would cover.

    Returns:
        Where it is, (x0, y0, x1, y1) in px.
    """
    height, width = picture.shape[:2]
    text, scale = ascii_text(text), max(min(height, width) / 1100, 0.35)
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    tall = text_height + baseline
    left = int(np.clip(round(corner[0]), 0, max(width - text_width, 0)))
    bottom = int(np.clip(round(corner[1]), tall, height))
    for x0, y0, x1, y1 in sorted(taken, key=lambda box: box[1]):
        if left <= x1 and x0 <= left + text_width and y0 < bottom and bottom - tall < y1:
            bottom = min(int(y1) + tall + 1, height)
    cv2.rectangle(picture, (left, bottom - tall), (left + text_width, bottom), (0, 0, 0), cv2.FILLED)
    origin = left, bottom - baseline
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return left, bottom - tall, left + text_width, bottom


class Annotation(NamedTuple):
    """Holds what is drawn of one target: text, colour, what a detector says of the object, its regions, its mask."""

    text: str
    colour: Colour = WHITE
    box: Box | None = None
    regions: Sequence[Region] = ()
    mask: Sequence[Region] = ()
    polygon: Sequence[Point] | None = None
    keypoints: Sequence[Sequence[float]] = ()

    @property
    def frame(self) -> Box | None:
        """Return the detector's box, or that of the largest region, its edge on the region's own px; None: neither."""
        if self.box is not None or not self.regions:
            return self.box
        x0, y0, x1, y1 = self.regions[0].box
        return x0, y0, x1 - 1, y1 - 1


def draw_targets(picture: NDArray[np.uint8], targets: Sequence[Annotation], text: bool = True) -> None:
    """Draw what was explained, in place: regions, boxes, and each text on its box where there are several, else below.

    A region's own box is drawn for its target only where no detector gave one, and only that of the largest region.

    Args:
        picture: uint8 (H, W, 3), BGR.
        targets: What to draw.
        text: Whether to write the texts.
    """
    for target in targets:
        for region in (*target.mask, *target.regions):
            draw_outline(picture, region, target.colour)
    for target in targets:
        if target.polygon is not None:
            draw_polygon(picture, target.polygon, target.colour)
        elif target.frame is not None:
            draw_box(picture, target.frame, target.colour)
        draw_keypoints(picture, target.keypoints, target.colour)
    if not text:
        return
    tagged = [target for target in targets if target.frame is not None] if len(targets) > 1 else []
    taken: list[Box] = []
    for target in tagged:
        assert target.frame is not None
        taken.append(draw_tag(picture, target.text, target.frame[:2], target.colour, taken))
    rest = [target.text for target in targets if target.frame is None or not tagged]
    if rest:
        draw_caption(picture, ", ".join(rest))


def ascii_text(text: str) -> str:
    """Return `text` with accents dropped and every other letter that is not ASCII as `?`."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode()


def check_style(alpha: float, colormap: str) -> None:
    """Make sure, before any work is done, that `overlay_map` will take these.

    Raises:
        UsageError: An unknown colour map, or a weight outside 0 to 1.
    """
    overlay_map(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32), alpha=alpha, colormap=colormap)
