"""One HTML page of many explanations, which opens from the disk, without network and without a server.

The page carries small pictures (JPEG, as data URIs) and links to the full ones by relative paths: it can be read alone,
takes some 10 kB per small picture, and is complete beside the folder that the explanations were saved to.
"""

from __future__ import annotations

import base64
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from html import escape
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

import aerocam
from aerocam.errors import WriteError
from aerocam.files import make_folder, write_together
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.frames import picture_files
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.results.page_parts import CONTROLS, SCRIPT, STYLE, policy
from aerocam.runtime.results.sheet import fitted

logger = logging.getLogger(__name__)

SIDE = 224
"""Of a small picture, at most, in px."""

QUALITY = 70
"""Of a small picture, JPEG, 0 to 100."""


class ResultsPage(AbstractContextManager["ResultsPage"]):
    """Writes the page. What was added waits in a temporary file on the disk, not in memory."""

    def __init__(self, path: str | Path, facts: Mapping[str, str], look: Look | None = None) -> None:
        """Begin.

        Args:
            path: Of the page; its folder is made if it is absent.
            facts: What to say of the run: model, method, settings; the date, counts and times are added.
            look: How the overlays look; captions are text on this page.

        Raises:
            WriteError: The folder cannot be written to.
        """
        self._path, self._facts, self._look = Path(path), facts, look or Look()
        self._started, self._date = perf_counter(), datetime.now().astimezone()
        self._spent: list[float] = []
        self._warned = 0
        make_folder(self._path.parent)
        try:
            self._cards = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115 (`__exit__` closes it)
        except OSError as error:
            raise WriteError(f"{self._path}: cannot write it: {error.strerror}; name another file") from error
        self._failures: list[str] = []

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Write the page, unless there was an error: then there is none.

        Raises:
            WriteError: It cannot be written; then it is not there.
        """
        try:
            if kind is None:
                write_together({self._path: self._parts()})
                logger.info("page: %s (%.1f MB)", self._path, self._path.stat().st_size / 1e6)
        finally:
            self._cards.close()

    def add(self, name: str, explanation: Explanation, files: Mapping[str, Path]) -> None:
        """Add a picture.

        Args:
            name: Of the picture's file, which is linked to if it is there; `-` for standard input.
            explanation: Of it.
            files: What `Explanation.save` wrote.

        Raises:
            WriteError: The disk is full.
        """
        self._put(_Card(self._path.parent, self._look).html(len(self._spent), name, explanation, files))
        self._spent.append(sum(explanation.timings.values()))
        self._warned += bool(explanation.warnings)

    def fail(self, name: str, reason: str) -> None:
        """Add a picture that could not be explained, and why."""
        self._failures.append(f"<li>{escape(picture_files.shown(name))}: {escape(reason)}</li>\n")

    def _put(self, text: str) -> None:
        try:
            self._cards.write(_utf8(text))
        except OSError as error:
            raise WriteError(f"{self._path}: cannot write it: {error.strerror or error}") from error

    def _parts(self) -> Iterator[bytes]:
        """Yield the page, piece by piece."""
        title = f"aerocam: {self._facts.get('Model', 'results')}"
        yield _utf8(
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<header>\n<h1>{escape(title)}</h1>\n{_pairs({**self._facts, **self._summary()})}</header>\n"
        )
        if self._failures:
            failures = "".join(self._failures)
            yield _utf8(f'<section class="warning">\n<h2>Not explained</h2>\n<ul>\n{failures}</ul>\n</section>\n')
        yield _utf8(f'<main>\n{CONTROLS}<div id="results">\n')
        self._cards.seek(0)
        while chunk := self._cards.read(1 << 20):
            yield chunk
        yield _utf8(f"</div>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")

    def _summary(self) -> dict[str, str]:
        """Return what is known at the end."""
        counts = f"{len(self._spent)} explained, {len(self._failures)} not, {self._warned} with a warning"
        seconds = perf_counter() - self._started
        spent = f"; model and map: median {median(self._spent):.1f} ms" if self._spent else ""
        run = f"{self._date.isoformat(' ', 'seconds')}, aerocam {aerocam.__version__}"
        return {"Pictures": counts, "Time": f"{seconds:.1f} s in all{spent}", "Run": run}


class _Card:
    """Makes the part of the page that shows one picture."""

    def __init__(self, folder: Path, look: Look) -> None:
        self._folder, self._look = folder, look

    def html(self, number: int, name: str, explanation: Explanation, files: Mapping[str, Path]) -> str:
        """Return the whole card as HTML."""
        labels = [target.label for target in explanation.targets] + [class_.label for class_ in explanation.classes[:1]]
        words = " ".join([name, *labels]).lower()
        score = explanation.target.score if math.isfinite(explanation.target.score) else -1
        shown = picture_files.shown(name)
        warnings = "".join(f'<p class="warning">Warning: {escape(text)}</p>\n' for text in explanation.warnings)
        return (
            f'<article data-number="{number}" data-score="{score:.6g}" data-warnings="{len(explanation.warnings)}"'
            f' data-text="{escape(words)}">\n<h2>{escape(shown)}</h2>\n<div class="pictures">\n'
            f"{self._figures(shown, name, explanation, files)}</div>\n{warnings}{_classes(explanation)}"
            f"{self._details(explanation, files)}</article>\n"
        )

    def _figures(self, shown: str, name: str, explanation: Explanation, files: Mapping[str, Path]) -> str:
        """Return the picture, and the overlay of each target, as HTML."""
        frame = (
            explanation.frame if explanation.frame.ndim == 3 else cv2.cvtColor(explanation.frame, cv2.COLOR_GRAY2BGR)
        )
        source = Path(name) if os.path.isfile(name) else None
        figures = [self._figure(frame, f"Picture {shown}", source, '<span class="faint">picture</span>')]
        several = len(explanation.targets) > 1
        for i, target in enumerate(explanation.targets):
            look = self._look
            picture = explanation.overlay(look.alpha, look.colormap, False, i, boxes=True, regions=look.regions)
            alt = f"{explanation.method} map for {target.label} over {shown}"
            caption = f"<b>{escape(target.label)}</b> {_probability(target.score)}{self._places(explanation, i)}"
            figures.append(self._figure(picture, alt, files.get(f"overlay.{i + 1}" if several else "overlay"), caption))
        return "".join(figures)

    def _figure(self, picture: NDArray[np.uint8], alt: str, link: Path | None, caption: str) -> str:
        small = fitted(picture, (SIDE, SIDE)) if max(picture.shape[:2]) > SIDE else picture
        coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        size = f'width="{small.shape[1]}" height="{small.shape[0]}"'
        data = base64.b64encode(coded).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" {size} decoding="async">'
        shown = image if link is None else f'<a href="{self._link(link)}">{image}</a>'
        return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n"

    def _places(self, explanation: Explanation, target: int) -> str:
        """Return where a target's box and region lie, as HTML."""
        said = []
        box = explanation.targets[target].box
        if box is not None:
            said.append("box " + ", ".join(f"{value:.0f}" for value in box))
        if self._look.regions is not None:
            regions = explanation.regions(self._look.regions)[target]
            pixels = explanation.frame.shape[0] * explanation.frame.shape[1]
            said += [f"region {', '.join(map(str, region.box))} ({region.area / pixels:.1%})" for region in regions]
            said += [] if regions else ["no region"]
        return "".join(f'<br><span class="faint">{text}</span>' for text in said)

    def _details(self, explanation: Explanation, files: Mapping[str, Path]) -> str:
        """Return times and files as HTML."""
        times = {stage: f"{spent:.1f} ms" for stage, spent in explanation.timings.items()}
        links = ", ".join(f'<a href="{self._link(path)}">{escape(path.name)}</a>' for path in files.values())
        return (
            f"<details><summary>{sum(explanation.timings.values()):.1f} ms, files</summary>\n{_pairs(times)}"
            f"<p>{links}</p>\n</details>\n"
        )

    def _link(self, path: Path) -> str:
        """Return a link that holds as long as page and file keep their places to each other."""
        relative = os.path.relpath(path, self._folder)
        return escape(quote(os.fsencode(relative.replace(os.sep, "/")), safe="/"))


def _classes(explanation: Explanation) -> str:
    """Return the model's top classes, with bars, as HTML."""
    rows = ""
    for class_ in explanation.classes:
        label, value = escape(class_.label), max(class_.score, 0) if math.isfinite(class_.score) else 0
        bar = f'<meter min="0" max="1" value="{value:.4f}" aria-label="{label}">{value:.1%}</meter>'
        rows += f'<tr><th scope="row">{label}</th><td>{bar}</td><td>{_probability(class_.score)}</td></tr>\n'
    return f'<table aria-label="Top classes">\n{rows}</table>\n'


def _probability(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not finite"


def _pairs(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>\n" for name, text in facts.items())
    return f"<dl>\n{rows}</dl>\n"


def _utf8(text: str) -> bytes:
    """Return `text` as bytes; what stands for the odd byte in a file's name is shown as `?`."""
    return text.encode("utf-8", "replace")
