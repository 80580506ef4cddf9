"""`python -m aerocam.benchmarks.studies.pages.grid`: localisation on mosaics, and AggAtt's picture of the maps.

The record is kept as JSON, the tables as a page beside it, AggAtt as a picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.benchmarks.latency.timing import machine
from aerocam.benchmarks.studies import grid
from aerocam.benchmarks.studies.pages.publishing import FOLDER, publish
from aerocam.files import write_together
from aerocam.runtime.frames.opencv import cv2

RECORD, PAGE, PICTURE = "grid.json", "grid.md", "aggatt.jpg"

NOTES = {
    "GridPG": "Every cell of every mosaic is asked about. Chance is 0.25; a map that is the same for every class has"
    " that exactly.",
    "DiFull": "Each cell goes through the network alone, so mass in another cell is provably wrong. The first and the"
    " last cell\nare asked about; both show the same class: a map that knows the class, but not whose head speaks, has"
    " about 0.5.",
    "DiPart": "The mosaic goes through the network whole, each cell's head pools its part of the last layer alone. The"
    " first and the\nlast cell are asked about.",
}


def measure_all(count: int, slow: int) -> dict[str, Any]:
    """Measure everything, write AggAtt's picture, and return the record."""
    with tempfile.TemporaryDirectory() as folder:
        record, picture = grid.measure(Path(folder), count, slow)
    if picture is not None:
        write_together({FOLDER / PICTURE: cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()})
    return {"machine": machine(), **record}


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    used, host = record["settings"], record["machine"]
    slow = used["mosaics for the slow"]
    command = f"python -m aerocam.benchmarks.studies.pages.grid --mosaics {used['mosaics']} --slow {slow}"
    lines = [
        "# Localisation on mosaics",
        "",
        f"`{command}` wrote this page and `{RECORD}`,",
        f"on this machine: {host['processor']}, {host['cores']} cores, ONNX Runtime {host['onnxruntime']} on the CPU.",
        "",
        f"EfficientNet-Lite0, last layer; {used['mosaics']} mosaics of {used['cells']} x {used['cells']} distinct"
        " classes at 448 px,",
        f"drawn with seed {used['seed']} from {len(used['tiles'])} of 20 labelled photographs: those whose label is the"
        " model's top class,",
        f"with a probability above {used['threshold']}. A photograph is in many mosaics: this is no benchmark on"
        " ImageNet.",
        "",
        "- **share**: of the positive mass of the raw map, resized linearly, what lies inside the cell; mean over n"
        " maps.",
        "  It cannot quite reach 1: along a border the resize draws half a position into the next cell.",
        "- **±**: standard error over mosaics, as if their photographs were not the same few.",
        f"- **first {slow}**: the mean on the first {slow} mosaics alone, all that scorecam is shown: it runs the model"
        " 1280 times for each.",
        "- **s a mosaic**: all maps of one mosaic, on a machine that had other work too.",
    ]
    for name, rows in record["rows"].items():
        lines += ["", f"## {name}", "", NOTES[name], "", f"| method | share | n | first {slow} mosaics | s a mosaic |"]
        lines += ["|---|--:|--:|--:|--:|"]
        lines += [_line(method, one, slow) for method, one in rows.items()]
    lines += ["", "## AggAtt", "", f"![mean maps by bin]({PICTURE})", ""]
    lines += [
        "GridPG's maps from the best share to the worst, averaged in bins that end at 2, 5, 50, 95, 98 and 100 %;"
    ]
    lines += ["the target's cell is moved to the top left. A row has one scale, full at the 99.5th percentile."]
    return "\n".join(lines) + "\n"


def _line(method: str, one: Mapping[str, Any], slow: int) -> str:
    """Return a method's row."""
    means = np.array(one["shares"]).reshape(one["mosaics"], -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    return (
        f"| {method} | {means.mean():.3f} ± {error:.3f} | {len(one['shares'])} | {means[:slow].mean():.3f} |"
        f" {one['seconds per mosaic']:.2f} |"
    )


def main() -> int:
    """Measure, and write record, page and picture; the exit code."""
    parser = argparse.ArgumentParser(prog="studies.pages.grid", description=__doc__)
    parser.add_argument("--mosaics", type=int, default=40, help="how many mosaics; 40")
    parser.add_argument("--slow", type=int, default=4, help="how many of them scorecam is shown; 4")
    arguments = parser.parse_args()
    if not 1 <= arguments.slow <= arguments.mosaics:
        parser.error(f"--slow {arguments.slow} of --mosaics {arguments.mosaics}: 1 to all of them are expected")
    measured = partial(measure_all, arguments.mosaics, arguments.slow)
    return publish("studies.pages.grid", measured, page, RECORD, PAGE)


if __name__ == "__main__":
    sys.exit(main())
