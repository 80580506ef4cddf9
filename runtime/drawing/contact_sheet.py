"""Many pictures on one sheet, in rows and columns with titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.runtime.drawing.overlay import draw_caption
from aerocam.runtime.frames.opencv import cv2

PAPER, INK = 255, 30
TITLE = 26
"""Height of a line of titles, px."""


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    columns: Sequence[str] = (),
    *,
    captions: Sequence[Sequence[str]] = (),
    tile: tuple[int, int] = (240, 240),
    gap: int = 6,
) -> NDArray[np.uint8]:
    """Lay out pictures on white.

    Args:
        rows: uint8 (H, W, 3) BGR pictures of any size, row by row; each is fitted into a tile, its proportions kept.
        columns: A title above each column; none: no line of titles.
        captions: A text at the bottom of each picture, row by row; none: no texts.
        tile: (H, W) of a tile in px.
        gap: Between tiles and around the sheet, in px.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    height, width = tile
    top = gap + (TITLE if columns else 0)
    count = max((len(row) for row in rows), default=0)
    sheet = np.full((top + len(rows) * (height + gap), gap + count * (width + gap), 3), PAPER, np.uint8)
    for place, title in enumerate(columns):
        corner = (gap + place * (width + gap), gap + TITLE - 10)
        cv2.putText(sheet, title, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (INK,) * 3, 1, cv2.LINE_AA)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            small = fitted(picture, tile)
            if captions:
                draw_caption(small, captions[i][j])
            y = top + i * (height + gap) + (height - small.shape[0]) // 2
            x = gap + j * (width + gap) + (width - small.shape[1]) // 2
            sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
    return sheet


def fitted(picture: NDArray[np.uint8], tile: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture in the largest size that fits into (H, W) px, its proportions kept; a new array."""
    scale = min(tile[0] / picture.shape[0], tile[1] / picture.shape[1])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
