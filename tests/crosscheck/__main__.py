"""Compare aerocam's gradients and maps with PyTorch's autograd and pytorch-grad-cam, network by network.

make crosscheck                                       # all networks; writes docs/crosscheck.md
.venv-crosscheck/bin/python tests/crosscheck --only resnet18
.venv-crosscheck/bin/python tests/crosscheck --list
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))  # the tests' own evaluation in float64

import table
from compare import Row, compare
from networks import NETWORKS


def main() -> int:
    """Compare, print, write; 1 where something fails that is expected to pass."""
    options = arguments()
    if options.list:
        print("\n".join(NETWORKS))
        return 0
    if options.worker:
        work(options.worker)
        return 0
    rows: list[Row] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for new in pool.map(lambda name: in_process(name, options.timeout), options.only or NETWORKS):
            for row in new:
                print(table.line(row), flush=True)
            rows += new
    if options.out:
        options.out.write_text(table.document(rows), encoding="utf-8")
    failures = [row for row in rows if table.is_failure(row)]
    for row in failures:
        print(f"not as expected: {row.network} {row.exporter} {row.place}: {row.verdict} {row.note}", file=sys.stderr)
    for name in table.outdated(rows):
        print(f"{name}: every layer agrees; take its `refused` out of NETWORKS", file=sys.stderr)
    return 1 if failures else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=NETWORKS, metavar="NAME", help="this network; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="print the networks' names")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here, as Markdown")
    parser.add_argument("--timeout", type=float, default=400, metavar="SECONDS", help="per network (default: 400)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="networks at a time (default: 1)")
    parser.add_argument("--worker", choices=NETWORKS, help=argparse.SUPPRESS)
    return parser.parse_args()


def work(name: str) -> None:
    """One row per line, as JSON, as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        for row in compare(name, Path(folder)):
            print(json.dumps(dataclasses.asdict(row)), flush=True)


def in_process(name: str, timeout: float) -> list[Row]:
    """The rows of a network, compared in a process of its own; a row more where that ends early."""
    call = [sys.executable, str(Path(__file__).parent), "--worker", name]
    rest: list[Row] = []
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.run(call, stdout=out, stderr=err, timeout=timeout, env=os.environ).returncode
            if code:
                err.seek(0)
                rest = [Row(name, "", "", "crash", note=f"exit code {code}: {' '.join(err.read()[-300:].split())}")]
        except subprocess.TimeoutExpired:
            rest = [Row(name, "", "", "timeout", note=f"more than {timeout:g} s")]
        out.seek(0)
        return [Row(**json.loads(text)) for text in out if text.startswith("{")] + rest


if __name__ == "__main__":
    sys.exit(main())
