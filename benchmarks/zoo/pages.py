"""Pages of a document to explain a layout detector on: set here, with photographs of the zoo as figures."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.zoo.pictures import photograph

PAGES = ("article", "report")
"""Names of the pages."""

SIZE = (1100, 850)
"""Height and width of a page in px: that of a letter at 100 px per inch."""

MARGIN = 80
WORDS = """the map shows where a network looks when it decides and a gradient says how much each part of the input moves
the score of a class so that an engineer can see before a flight what the model has learned to read and what not"""
"""What running text says, again and again."""


class Sheet:
    """A page that is being set from top to bottom, in one column or in two.

    Attributes:
        pixels: uint8 (H, W, 3), BGR, white at first.
        left: Of the column, in px.
        width: Of the column, in px.
        y: Where the next line goes, in px from the top.
    """

    def __init__(self) -> None:
        """Start an empty page."""
        from aerocam.runtime.frames.opencv import cv2  # here, because the zoo's files alone can be had without OpenCV

        self.cv2: Any = cv2
        self.pixels = np.full((*SIZE, 3), 255, np.uint8)
        self.left, self.width, self.y = MARGIN, SIZE[1] - 2 * MARGIN, MARGIN
        self._words = itertools.cycle(WORDS.split())
        self._next = next(self._words)

    def line(
        self, text: str, scale: float = 0.42, weight: int = 1, centred: bool = False, indent: int = 0, space: int = 0
    ) -> None:
        """Set one line of text, with some more space below it, in px."""
        font = self.cv2.FONT_HERSHEY_COMPLEX
        (width, height), below = self.cv2.getTextSize(text, font, scale, weight)
        x = self.left + indent + ((self.width - width) // 2 if centred else 0)
        self.y += height
        self.cv2.putText(self.pixels, text, (x, self.y), font, scale, (20, 20, 20), weight, self.cv2.LINE_AA)
        self.y += below + round(6 * scale) + 2 + space

    def words(self, indent: int = 0, share: float = 1.0) -> str:
        """Return as many words as fit into a line of the column, or into a share of it."""
        room, text = (self.width - indent) * share, ""
        while True:
            longer = f"{text} {self._next}".strip()
            if self.cv2.getTextSize(longer, self.cv2.FONT_HERSHEY_COMPLEX, 0.42, 1)[0][0] > room:
                return text
            text, self._next = longer, next(self._words)

    def paragraph(self, lines: int) -> None:
        """Set lines of running text, the last one half filled."""
        for i in range(lines):
            self.line(self.words(share=0.5 if i == lines - 1 else 1.0))
        self.y += 12

    def items(self, count: int) -> None:
        """Set a list with bullets, of one line each."""
        for _ in range(count):
            self.cv2.circle(self.pixels, (self.left + 22, self.y + 6), 3, (20, 20, 20), -1, self.cv2.LINE_AA)
            self.line(self.words(indent=40, share=0.8), indent=40, space=6)
        self.y += 8

    def figure(self, name: str, caption: str) -> None:
        """Set a photograph across the column, with its caption."""
        picture = photograph(name)
        height = round(picture.shape[0] * self.width / picture.shape[1])
        fitted = self.cv2.resize(picture, (self.width, height), interpolation=self.cv2.INTER_AREA)
        self.pixels[self.y : self.y + height, self.left : self.left + self.width] = fitted
        self.y += height + 8
        self.line(caption, 0.38, centred=True, space=14)

    def table(self, rows: int, columns: int, caption: str) -> None:
        """Set ruled cells of numbers under a heading."""
        self.line(caption, 0.38, centred=True, space=4)
        top, row = self.y, 24
        for i in range(rows):
            for j in range(columns):
                text = (
                    f"col {j}" if i == 0 else f"row {i}" if j == 0 else f"{(37 * i + 11 * j) % 97}.{(7 * i + j) % 10}"
                )
                at = (self.left + 10 + j * self.width // columns, top + 17 + i * row)
                self.cv2.putText(
                    self.pixels, text, at, self.cv2.FONT_HERSHEY_COMPLEX, 0.4, (20, 20, 20), 1, self.cv2.LINE_AA
                )
        for i in range(rows + 1):
            y = top + i * row
            self.cv2.line(self.pixels, (self.left, y), (self.left + self.width, y), (60, 60, 60), 1)
        for j in range(columns + 1):
            x = self.left + j * self.width // columns
            self.cv2.line(self.pixels, (x, top), (x, top + rows * row), (60, 60, 60), 1)
        self.y = top + rows * row + 20


def page(name: str) -> NDArray[np.uint8]:
    """Return a page as a frame, uint8 (1100, 850, 3), BGR; OpenCV's versions draw letters slightly differently.

    Args:
        name: Of `PAGES`.

    Raises:
        AerocamError: The photographs cannot be fetched.
        MissingDependencyError: OpenCV is not installed.
    """
    return {"article": _article, "report": _report}[name]()


def _article() -> NDArray[np.uint8]:
    """Set a title over two columns with a figure, a table and headings."""
    sheet = Sheet()
    sheet.line("Where a Network Looks in Flight", 1.0, 2, centred=True, space=8)
    sheet.line("A. Author, B. Author and C. Author", 0.45, centred=True, space=20)
    top, gap = sheet.y, 30
    sheet.width = (sheet.width - gap) // 2
    sheet.line("1. Introduction", 0.6, 2, space=6)
    sheet.paragraph(9)
    sheet.paragraph(7)
    sheet.figure("coffee", "Figure 1: a cup on a table.")
    sheet.line("2. Method", 0.6, 2, space=6)
    sheet.paragraph(10)
    sheet.left, sheet.y = sheet.left + sheet.width + gap, top
    sheet.paragraph(8)
    sheet.table(7, 4, "Table 1: what was measured.")
    sheet.line("3. Results", 0.6, 2, space=6)
    sheet.paragraph(8)
    sheet.items(4)
    sheet.paragraph(9)
    return sheet.pixels


def _report() -> NDArray[np.uint8]:
    """Set one column: headings, text, a wide photograph, a list and a table, with a head line and a page number."""
    sheet = Sheet()
    sheet.y = 36
    sheet.line("Quarterly report of the flight test", 0.38)
    sheet.y = 90
    sheet.line("Summary", 0.8, 2, space=10)
    sheet.paragraph(5)
    sheet.left, sheet.width = MARGIN + 130, SIZE[1] - 2 * MARGIN - 260
    sheet.figure("rocket", "Figure 2: the launch in the morning.")
    sheet.left, sheet.width = MARGIN, SIZE[1] - 2 * MARGIN
    sheet.line("What is left to do", 0.6, 2, space=8)
    sheet.items(5)
    sheet.paragraph(4)
    sheet.table(6, 6, "Table 3: hours and distances.")
    sheet.paragraph(3)
    sheet.y = SIZE[0] - 40
    sheet.line("17", 0.42, centred=True)
    return sheet.pixels
