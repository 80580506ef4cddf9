"""What a run leaves behind: table.md, table.json, table.csv and report.html beside its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aerocam.benchmarks.evaluation import report, table
from aerocam.benchmarks.evaluation.run import Results
from aerocam.files import write_together


def write_results(results: Results, out: Path) -> dict[str, Any]:
    """Write the four files, all or none.

    Returns:
        The record, as table.json has it.

    Raises:
        WriteError: One cannot be written.
    """
    record = table.as_record(results)
    contents = {
        "table.json": json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "table.md": table.as_markdown(record),
        "table.csv": table.as_csv(record),
        "report.html": report.as_html(results, record),
    }
    write_together({out / name: text.encode("utf-8", "replace") for name, text in contents.items()})
    return record
