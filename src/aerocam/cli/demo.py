"""Show it working: real weights, photographs and video, from nothing to an overlay that plays.

Examples:
  aerocam demo                              fetches about 40 MB once, writes demo-out/
  aerocam demo --out /tmp/demo              somewhere else
  aerocam demo --max-frames 40 --rounds 10  a shorter one
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from time import perf_counter

from aerocam.cli.arguments import argument, one_blas_thread

logger = logging.getLogger("aerocam.cli")

ARGUMENTS = (
    argument("--out", metavar="DIR", default="demo-out", help="where the results go (default: demo-out)"),
    argument("--threads", type=int, default=2, help="threads inside an operator (default: 2)"),
    argument("--max-frames", type=int, metavar="N", help="cut the video short"),
    argument("--rounds", type=int, default=50, metavar="N", help="timed rounds of the bench (default: 50)"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the demo and list what it wrote."""
    one_blas_thread()
    from aerocam.benchmarks.demo import run_demo

    started = perf_counter()
    done = run_demo(Path(args.out), args.threads, args.max_frames, args.rounds)
    for what, (x, y) in done["peaks"].items():
        logger.info("Grad-CAM peaks at (%d, %d) px on %s", x, y, what)
    print(f"done in {perf_counter() - started:.0f} s; everything lies in {Path(args.out).resolve()}")
