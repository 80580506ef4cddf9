"""Contact sheets: many pictures in rows and columns, and those of many explanations, each beside its overlays."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.files import make_folder, write_together
from aerocam.runtime.drawing.overlay import Look, ascii_text, draw_caption
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.frames.opencv import cv2

logger = logging.getLogger(__name__)

PAPER, INK = 255, 30
TITLE = 26
"""Height of a line of titles, px."""

TILE = (180, 240)
"""(H, W) of a tile in px."""

PICTURES = 48
"""On one sheet at most: it stays of a size that any viewer opens, and only its tiles are held in memory."""

WIDTH = 8
"""Tiles side by side, if a picture with its targets takes no more."""


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    columns: Sequence[str] = (),
    *,
    captions: Sequence[Sequence[str]] = (),
    tile: tuple[int, int] = (240, 240),
    gap: int = 6,
) -> NDArray[np.uint8]:
    """Lay out pictures on white, in rows and columns with titles.

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
    """Return the picture in the largest size that fits into (H, W) px, its proportions kept; a new array."""
    scale = min(tile[0] / picture.shape[0], tile[1] / picture.shape[1])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class ResultsSheet(AbstractContextManager["ResultsSheet"]):
    """Writes sheets: `sheet.png`, and where there are more than 48 pictures `sheet-2.png` and so on."""

    def __init__(self, path: str | Path, columns: Sequence[str], look: Look | None = None) -> None:
        """Begin.

        Args:
            path: Of the first sheet; its folder is made if it is absent. The suffix says the format.
            columns: A title for each target.
            look: How the overlays look; their captions are written at the size of the tile.

        Raises:
            UsageError: OpenCV writes no such format.
            WriteError: The folder cannot be made.
        """
        self._path, self._columns, self._look = Path(path), ("picture", *map(ascii_text, columns)), look or Look()
        if not cv2.haveImageWriter(f"sheet{self._path.suffix}"):
            raise UsageError(f"{path}: OpenCV writes no '{self._path.suffix}', expected a picture such as sheet.png")
        make_folder(self._path.parent)
        self._tiles: list[list[NDArray[np.uint8]]] = []
        self._texts: list[list[str]] = []
        self.written: list[Path] = []

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Write the last sheet, unless there was an error.

        Raises:
            WriteError: The sheet cannot be written.
        """
        if kind is None and self._tiles:
            self._write()
        if kind is None and self.written:
            last = f" to {self.written[-1]}" if len(self.written) > 1 else ""
            logger.info("contact sheet: %s%s", self.written[0], last)

    def add(self, name: str, explanation: Explanation, files: Mapping[str, Path]) -> None:
        """Add a picture; a sheet that is full is written.

        Args:
            name: Of the picture's file.
            explanation: Of it; targets beyond the columns are left out.
            files: What `Explanation.save` wrote; not needed.

        Raises:
            WriteError: A sheet cannot be written.
        """
        if len(self._tiles) == PICTURES:
            self._write()
        look, frame = self._look, explanation.frame
        colour = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        overlays = [
            explanation.overlay(look.alpha, look.colormap, False, i, boxes=True, regions=look.regions)
            for i in range(min(len(explanation.targets), len(self._columns) - 1))
        ]
        said = [f"{target.label} {target.score:.2f}" for target in explanation.targets[: len(overlays)]]
        missing = len(self._columns) - 1 - len(overlays)
        blank = [np.full((*TILE, 3), 255, np.uint8)] * missing
        self._tiles.append([*(fitted(picture, TILE) for picture in (colour, *overlays)), *blank])
        self._texts.append([Path(name).name, *said, *[""] * missing])

    def fail(self, name: str, reason: str) -> None:
        """Leave out a picture that could not be explained."""

    def _write(self) -> None:
        """Write what waits, and begin a new sheet."""
        path = sheet_paths(self._path, PICTURES * (len(self.written) + 1))[-1]
        across = min(max(WIDTH // len(self._columns), 1), math.ceil(len(self._tiles) ** 0.5))
        starts = range(0, len(self._tiles), across)
        rows = [list(chain.from_iterable(self._tiles[at : at + across])) for at in starts]
        texts = [list(chain.from_iterable(self._texts[at : at + across])) for at in starts]
        sheet = contact_sheet(rows, self._columns * across, captions=texts, tile=TILE)
        write_together({path: cv2.imencode(path.suffix, sheet)[1].tobytes()})
        self.written.append(path)
        self._tiles, self._texts = [], []


def sheet_paths(path: Path, pictures: int) -> list[Path]:
    """Return where the sheets of so many pictures are written, the first at `path`."""
    count = max(math.ceil(pictures / PICTURES), 1)
    return [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, count + 1))]
