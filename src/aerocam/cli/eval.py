"""Measure how good maps are, on the exported model itself: a table of methods and metrics, and a report.

DIR has the pictures, and what is in them: labels.json, a list such as [{"file": "a.jpg", "label": 3, "boxes": [[x0, y0,
x1, y1]], "mask": "masks/a.png"}], or labels.csv with the columns file, label, x0, y0, x1, y1, mask; or file names that
all end in the class, a_003.jpg. A label is an index or a name. Without labels the model's own top class is explained.
Every figure depends on how pictures become inputs: look at what `aerocam export` says of the preprocessing.

Methods are those of `aerocam explain --method`. Metrics are names, groups of them, or all. The groups: curves
(deletion_auc, insertion_auc), faithfulness, grid, infidelity, localisation, road, robustness, sensitivity; names and
definitions of all that were measured are in the result. Metrics that need boxes, masks or mosaics leave out pictures
that have none.

Into OUT are written table.md, table.json, table.csv, report.html (opens in any browser) and records.jsonl, one line per
picture and target. A run that was ended goes on where it stopped when the same command is given again. With other
methods, models or pictures what is known of them is kept, and the tables show what the last command named; other
metrics and settings need another OUT. What cannot be measured is said, counted in the result, and does not end the run;
the exit code is then 1, but for what a file or a metric refuses.

Examples:
  aerocam eval model.cam.onnx --data photos --methods gradcam,layercam,cfcam -o out
  aerocam eval float.cam.onnx int8.cam.onnx --data photos --methods gradcam --metrics faithfulness -o out
  aerocam eval model.cam.onnx --data photos --methods gradcam,rise:masks=500 -o out --backend loky --jobs 2
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from aerocam.cli.arguments import MAX_PIXELS, PROVIDERS, argument, one_blas_thread, parse_providers
from aerocam.cli.flags import with_flags
from aerocam.cli.plain import CACHE, explainable
from aerocam.cli.stopping import interrupt_on_signal
from aerocam.errors import UsageError
from aerocam.options import parse_options

if TYPE_CHECKING:
    from aerocam.benchmarks.evaluation.settings import Settings

COMPARED = "frames.jsonl"
"""A file that `aerocam compare` writes, and this command does not."""

FILES = ("table.md", "table.json", "table.csv", "report.html")

logger = logging.getLogger(__name__)

ARGUMENTS = (
    argument("models", metavar="MODEL", nargs="+", help="models written by `aerocam export` or `build`, or plain"),
    argument("--data", metavar="DIR", required=True, help="folder of the pictures and their labels"),
    argument("--methods", metavar="NAMES", required=True, help="comma-separated; options after colons: rise:masks=500"),
    argument("--metrics", metavar="NAMES", default="all", help="metrics or groups, comma-separated (default: all)"),
    argument("--parameter", action="append", default=[], metavar="METRIC.NAME=VALUE",
        help="a parameter of a metric; may be repeated"),
    argument("-o", "--out", metavar="OUT", required=True, help="folder of the result"),
    argument("--seed", metavar="N", type=int, default=0, help="of all random numbers (default: 0)"),
    argument("--examples", metavar="N", type=int, default=3,
        help="overlays of the first N pictures in the report (default: 3)"),
    argument("--backend", metavar="NAME",
        help="sequential, loky, threading, dask or ray (default: loky with --jobs over 1)"),
    argument("--jobs", metavar="N", type=int, default=1, help="how many processes (default: 1)"),
    argument("--cluster", metavar="ADDRESS",
        help="of a running dask scheduler or ray head (default: one is started here)"),
    argument("--threads", metavar="N", type=int, default=1,
        help="threads inside an operator, per process (default: 1)"),
    CACHE,
    MAX_PIXELS,
    *PROVIDERS,
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure, write and print the table; return 1 if something could not be measured."""
    one_blas_thread()
    from aerocam.benchmarks.evaluation.backends import check
    from aerocam.benchmarks.evaluation.pictures import find_data
    from aerocam.benchmarks.evaluation.report import write_results
    from aerocam.benchmarks.evaluation.run import run as run_all
    from aerocam.benchmarks.evaluation.table import as_markdown, failures, fault_lines, without_value
    from aerocam.progress import Progress

    backend = args.backend or ("loky" if args.jobs > 1 else "sequential")
    if args.cluster and backend not in ("dask", "ray"):
        raise UsageError(f"--cluster {args.cluster}: backend {backend} has none; say --backend dask or ray")
    check(backend, args.jobs)
    settings, data, out = _settings(args), find_data(args.data), Path(args.out)
    if (out / COMPARED).exists():
        raise UsageError(f"{out}: it holds what `aerocam compare` found; give another --out")
    logger.info("%d targets, truth: %s", len(data.samples), data.truth)
    bar = None if args.quiet else Progress
    where = {"backend": backend, "jobs": args.jobs, "cluster": args.cluster, "progress": bar}
    with interrupt_on_signal(), ExitStack() as stack:  # SIGTERM, too: processes that were started end with this one
        models = [explainable(path, stack, args.cache) for path in args.models]
        results = run_all(models, data, settings, out, **where)
    record = write_results(results, out)
    for line in [*fault_lines(record), *without_value(record)]:
        logger.warning("%s", line)
    if not args.quiet:
        _say(as_markdown(record).partition("## Models")[0].strip())
    logger.info("written: %s", ", ".join(str(out / name) for name in FILES))
    return 1 if failures(record) else 0


def _say(text: str) -> None:
    """Print a text, also where standard output has no arrows or a model's name cannot be encoded."""
    encoding = sys.stdout.encoding or "utf-8"
    print(with_flags(text).encode(encoding, "replace").decode(encoding))


def _settings(args: argparse.Namespace) -> Settings:
    """Read the settings from the command line."""
    from aerocam.benchmarks.evaluation.settings import Settings, methods_of, metrics_of

    providers = parse_providers(args)
    return Settings(
        methods_of(_words(args.methods)),
        metrics_of(_words(args.metrics), parse_options(args.parameter, "--parameter ")),
        args.seed,
        args.threads,
        None if providers is None else tuple(providers),
        args.examples,
        args.max_pixels,
    )


def _words(text: str) -> Sequence[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
