"""Measure what explaining costs: the plain and the explainable model, alternately in one process.

Examples:
  aerocam bench model.onnx                                        one thread, automatic layer, gradcam
  aerocam bench model.onnx --threads 2 --iterations 100 --json bench.json
  aerocam bench model.onnx --method eigencam --layer '*layer3*' --image frame.jpg
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from aerocam.cli.arguments import (
    FIX,
    MAX_PIXELS,
    PROVIDERS,
    argument,
    one_blas_thread,
    parse_arrays,
    parse_input_shapes,
    parse_providers,
)
from aerocam.cli.flags import with_flags
from aerocam.errors import UsageError
from aerocam.methods import METHODS

ARGUMENTS = (
    argument("model", metavar="MODEL", help="the plain ONNX file; its explainable forms are made on the way"),
    argument("--layer", action="append", metavar="NAME", help="as for export"),
    argument("--method", default="gradcam", help=f"CAM method (default: gradcam): {', '.join(METHODS)}"),
    argument("--image", metavar="FILE", help="picture to run on; default: noise"),
    MAX_PIXELS,
    argument("--threads", type=int, default=1, help="threads inside an operator (default: 1)"),
    argument("--iterations", type=int, default=50, metavar="N", help="timed rounds (default: 50)"),
    argument("--warmup", type=int, default=3, metavar="N", help="untimed rounds first (default: 3)"),
    argument("--pause", type=float, default=0.005, metavar="S", help="seconds before a turn (default: 0.005)"),
    *PROVIDERS,
    argument("--input-shape", action="append", default=[], metavar="NAME=N,C,H,W", help="as for export"),
    FIX,
    argument("--json", metavar="FILE", help="write the whole record here ('-': to standard output)"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    one_blas_thread()  # as `aerocam explain` and `aerocam stream` do
    from aerocam.benchmarks.latency.overhead import measure_overhead
    from aerocam.benchmarks.latency.timing import Protocol
    from aerocam.progress import Progress
    from aerocam.runtime import read_picture

    if args.threads < 1:
        raise UsageError(f"--threads {args.threads}: 1 or more is expected")
    protocol = Protocol(args.iterations, args.warmup, args.pause)
    with contextlib.closing(Progress(args.iterations)) as bar:
        record = measure_overhead(
            args.model,
            layers=args.layer or "auto",
            method=args.method,
            threads=args.threads,
            providers=parse_providers(args),
            protocol=protocol,
            picture=read_picture(args.image, max_pixels=args.max_pixels) if args.image else None,
            input_shapes=parse_input_shapes(args.input_shape, args.model),
            fix=parse_arrays(args.fix, "--fix"),
            progress=bar,
        )
    if args.json == "-":
        print(json.dumps(record, indent=2))
        return
    print(with_flags(as_text(record)))
    if args.json:
        write_json(Path(args.json), record)
        logging.getLogger("aerocam.cli").info("written: %s", args.json)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    from aerocam.files import write_together

    write_together({path: (json.dumps(record, indent=2) + "\n").encode()})


def as_text(record: dict[str, Any]) -> str:
    """Return the record as a table for people, with every setting in it."""
    settings, machine = record["settings"], record["machine"]
    protocol = settings["protocol"]
    lines = [
        f"model {settings['model']}, layer {', '.join(settings['layers'])}, method {settings['method']}",
        f"threads {settings['threads']}, {', '.join(settings['providers'])}, {protocol['iterations']} rounds after"
        f" {protocol['warmup']}, pause {1e3 * protocol['pause']:g} ms, one untimed call before each timed one",
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        "",
        f"{'form':<9}{'stage':<12}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}",
    ]
    for form, stages in record["milliseconds"].items():
        for stage, figures in stages.items():
            lines.append(f"{form:<9}{stage:<12}" + "".join(f"{figures[p]:>10.3f}" for p in ("p50", "p90", "p99")))
    lines.append("")
    for form, figures in record["ratio to plain"].items():
        lines.append(
            f"{form} / plain (infer + cam over infer): {figures['median']:.3f}"
            f"  (quartiles {figures['q1']:.3f} to {figures['q3']:.3f})"
        )
    lines += [f"{form} / plain: refused: {reason}" for form, reason in record.get("refused", {}).items()]
    lines.append(f"peak memory of this process: {record['peak memory MB']:.0f} MB")
    return "\n".join(lines)
