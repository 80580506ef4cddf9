"""The choice of CF-CAM's default: `python -m aerocam.benchmarks.studies.pages.cfcam_default` measures every candidate.

With names of `cases.SETS` behind it, these are measured anew and the figures of the others stay. It writes the
figures to `benchmarks/studies/results/cfcam-candidates.json` and their tables into `docs/cfcam-default.md`, below the
line `## Figures`; what is above that line is written by hand.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.benchmarks.latency.timing import machine
from aerocam.benchmarks.studies.cfcam.candidates import CHANGES, CONFIGS, FILTERED, REFERENCES
from aerocam.benchmarks.studies.cfcam.cases import MOSAICS, SEED, SETS
from aerocam.benchmarks.studies.cfcam.figures import DRAWS, SEEDS, difference, table
from aerocam.benchmarks.studies.pages.publishing import FOLDER
from aerocam.errors import AerocamError, UsageError, did_you_mean
from aerocam.files import make_folder, write_together

RECORD, PAGE, MARK = "cfcam-candidates.json", Path("docs/cfcam-default.md"), "## Figures\n"
COLUMNS = {
    "localisation": 3,
    "insertion": 4,
    "deletion": 4,
    "class sensitivity": 3,
    "SSIM, noise 0.1": 5,
    "SSIM, noise 0.3": 5,
    "SSIM, noise 1": 4,
    "correlation, noise 1": 4,
}
"""What is shown, with so many decimals and the difference to Grad-CAM."""


def measure(name: str) -> dict[str, Any]:
    """Measure all figures of one set."""
    with tempfile.TemporaryDirectory() as folder:
        cases = list(SETS[name](Path(folder)))
        values = table([*REFERENCES, FILTERED, *CONFIGS], cases, lambda one: print(f"{name}: {one}", file=sys.stderr))
    return {"cases": [case.picture for case in cases], "values": values}


def publish(sets: Mapping[str, Any]) -> None:
    """Write record and page."""
    record = {"machine": machine(), "settings": settings(), "sets": sets}
    above = PAGE.read_text(encoding="utf-8").partition(MARK)[0] if PAGE.exists() else "# CF-CAM's default\n\n"
    contents = {FOLDER / RECORD: json.dumps(record).encode(), PAGE: f"{above}{MARK}{tables(record)}".encode()}
    write_together(contents)


def settings() -> dict[str, Any]:
    """Return the settings that the figures depend on."""
    return {
        "mosaics": MOSAICS,
        "seed of the mosaics": SEED,
        "steps of insertion and deletion": "20; not measured on pages",
        "draws of noise": SEEDS,
        "draws of the bootstrap": DRAWS,
        "changes": CHANGES,
    }


def tables(record: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    host = record["machine"]
    parts = [
        f"\n`python -m aerocam.benchmarks.studies.pages.cfcam_default` wrote what follows and"
        f" `benchmarks/studies/results/{RECORD}`, on {host['processor']}, {host['cores']} cores.\nMean over the"
        " cases; in brackets the 95 % interval of the difference to gradcam (paired, bootstrap over the cases,"
        "\nas if these did not share photographs, or objects a"
        " page).\n"
    ]
    for name, one in record["sets"].items():
        parts += [f"\n### {name[0].upper()}{name[1:]} ({len(one['cases'])} cases)\n\n", _table(one["values"])]
    return "".join(parts)


def _table(values: Mapping[str, Mapping[str, Any]]) -> str:
    shown = [column for column in COLUMNS if column in values["gradcam"]]
    lines = [f"| candidate | {' | '.join(shown)} |", f"|---|{'---|' * len(shown)}"]
    for name, figures in values.items():
        cells = [_cell(column, figures[column], values["gradcam"][column], name) for column in shown]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(column: str, values: list[float], reference: list[float], name: str) -> str:
    digits = COLUMNS[column]
    text = f"{np.mean(values):.{digits}f}"
    if name == "gradcam":
        return text
    _, low, high = difference(values, reference)
    return f"{text} ({low:+.{digits}f} to {high:+.{digits}f})"


def main(names: Sequence[str]) -> int:
    """Measure set by set, writing record and page after each; the exit code."""
    logging.getLogger("aerocam.export").setLevel(logging.WARNING)
    try:
        make_folder(FOLDER)
        kept = FOLDER / RECORD
        measured = json.loads(kept.read_text(encoding="utf-8"))["sets"] if names and kept.exists() else {}
        for name in names or SETS:
            if name not in SETS:
                raise UsageError(f"{name}: there is no such set. {did_you_mean(name, SETS)}")
            measured[name] = measure(name)
            publish({done: measured[done] for done in SETS if done in measured})
    except AerocamError as error:
        print(f"studies.pages.cfcam_default: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
