"""`python -m aerocam.benchmarks.studies.pages.overhead`: the figures that the README quotes, measured anew.

One process per row, one after the other, each an `aerocam bench` on weights of the zoo. Its record is kept as JSON, and
`README.md` beside the records has the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aerocam.benchmarks import zoo
from aerocam.benchmarks.studies.pages.publishing import FOLDER, YOLO_LAST
from aerocam.errors import AerocamError
from aerocam.files import make_folder, write_together


@dataclass(frozen=True)
class Row:
    """One call of `aerocam bench`.

    Attributes:
        name: Of the record.
        shows: What is measured.
        network: `lite0` or `yolov8n`.
        options: Of the command.
    """

    name: str
    shows: str
    network: str
    options: tuple[str, ...]


def _row(name: str, shows: str, network: str, threads: int, iterations: int, *options: str) -> Row:
    counts = ("--threads", str(threads), "--iterations", str(iterations))
    return Row(f"{name}-{threads}", shows, network, (*counts, *options))


ROWS = (
    *(_row("lite0", "EfficientNet-Lite0, last layer", "lite0", threads, 400) for threads in (1, 2)),
    *(_row("yolov8n", "YOLOv8n, last scale", "yolov8n", threads, 40, *YOLO_LAST) for threads in (1, 2)),
    _row("yolov8n-all", "YOLOv8n, all three scales", "yolov8n", 2, 20),
    _row("lite0-cfcam-published", "EfficientNet-Lite0, last layer", "lite0", 1, 100, "--method", "cfcam-published"),
    _row("lite0-cfcam", "EfficientNet-Lite0, last layer", "lite0", 1, 100, "--method", "cfcam"),
)


def main() -> int:
    """Measure every row and write records and table; the exit code."""
    try:
        make_folder(FOLDER)
        models = {"lite0": zoo.lite0.model(), "yolov8n": zoo.yolov8n_doclaynet()}
        picture = zoo.photograph_file("coffee")
        for row in ROWS:
            print(f"{row.name} ...", flush=True)
            command = [sys.executable, "-m", "aerocam", "bench", str(models[row.network]), "--image", str(picture)]
            command += [*row.options, "--json", str(FOLDER / f"{row.name}.json")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        text = table([(row, json.loads((FOLDER / f"{row.name}.json").read_text())) for row in ROWS])
        write_together({FOLDER / "README.md": text.encode()})
        print(text)
    except AerocamError as error:
        print(f"published: error: {error}", file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def table(records: Sequence[tuple[Row, Mapping[str, Any]]]) -> str:
    """Return the records as a Markdown page."""
    machine = records[0][1]["machine"]
    lines = [
        "# Measured costs",
        "",
        "`make bench` wrote this page and the JSON records beside it, on this machine:"
        f" {machine['processor']}, {machine['cores']} cores,",
        f"ONNX Runtime {machine['onnxruntime']} on the CPU, NumPy {machine['numpy']}, Python {machine['python']}.",
        "Ratios are medians of paired ratios to the plain model's inference, with their quartiles: fused with the map",
        "computed in the graph, runtime with the map computed in NumPy. `map` is that computation alone.",
        "",
        "| network and layer | method | threads | plain, ms | fused | runtime | map, ms |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row, record in records:
        times, settings = record["milliseconds"], record["settings"]
        ratios = (_ratio(record["ratio to plain"].get(form)) for form in ("fused", "runtime"))
        plain, cam = times["plain"]["infer"]["p50"], times["runtime"]["cam"]["p50"]
        cells = [row.shows, settings["method"], str(settings["threads"]), f"{plain:.1f}", *ratios, f"{cam:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(quartiles: Mapping[str, float] | None) -> str:
    if quartiles is None:
        return ""
    return f"{quartiles['median']:.3f} ({quartiles['q1']:.3f} to {quartiles['q3']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
