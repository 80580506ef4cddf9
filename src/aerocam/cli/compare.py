"""Show where the attention of a network moved between two versions of it.

SOURCE is a video file, a camera's index or a URL, or a folder of pictures. Every frame is explained by both models for
one target: --target, or else A's own top class (of a detector: its surest object); then their maps, over the frame, are
compared. Both have to have the same task and classes. These files are written into the folder OUT: report.html, with
the summary, curves over the frames and the frames whose map moved furthest, both overlays side by side; summary.json;
and frames.jsonl, one record per frame. Ctrl-C ends after the frame in hand; what was compared is written, the exit code
is then 130.

Examples:
  aerocam compare first.cam.onnx second.cam.onnx --source flight.mp4 -o shift
  aerocam compare float32.cam.onnx int8.cam.onnx --source photos --method layercam -o shift
  aerocam compare old.cam.onnx new.cam.onnx --source flight.mp4 --target person --box 400,200,700,500 -o shift
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aerocam.cli.arguments import MAX_PIXELS, PROVIDERS, argument, one_blas_thread, parse_providers
from aerocam.cli.stopping import INTERRUPTED, stop_on_signal
from aerocam.cli.targets import targets_of
from aerocam.errors import MediaError, UsageError
from aerocam.files import make_folder, write_together
from aerocam.options import parse_options
from aerocam.runtime.frames.picture_files import find_pictures

if TYPE_CHECKING:
    from aerocam.benchmarks.comparison.moved import MovedMost
    from aerocam.benchmarks.comparison.pair import Frame, Pair
    from aerocam.geometry import Box
    from aerocam.runtime.explainer import Explainer

REPORT, SUMMARY, RECORDS = "report.html", "summary.json", "frames.jsonl"
EVALUATED = "records.jsonl"
"""A file that `aerocam eval` writes, and this command does not."""

logger = logging.getLogger(__name__)

ARGUMENTS = (
    argument("first", metavar="A", help="a model written by `aerocam export`"),
    argument("second", metavar="B", help="another version of it"),
    argument("--source", required=True, help="a video, a camera's index, a URL, or a folder of pictures"),
    argument("-o", "--out", metavar="OUT", required=True, help="folder to write to"),
    argument("--target", metavar="CLASS", help="class to explain, by index or name (default: A's top class)"),
    argument("--anchor", metavar="N", type=int, help="for a detector: the anchor to explain"),
    argument("--box", metavar="X0,Y0,X1,Y1", help="also compare the mass inside this box, px of the frame"),
    argument("--method", metavar="NAME", help="CAM method of both (default: that of their fused heads)"),
    argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method"),
    argument("--every", metavar="N", type=int, default=1, help="compare every N-th frame only"),
    argument("--max-frames", metavar="N", type=int, help="stop after so many compared frames"),
    MAX_PIXELS,
    argument("--show", metavar="N", type=int, default=6,
        help="frames on the report, of each second of a video one at most (default: 6)"),
    argument("--threads", metavar="N", type=int, help="threads inside an operator (default: one per core)"),
    *PROVIDERS,
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Compare the models; return 130 if it was cut short, else 0."""
    one_blas_thread()
    from aerocam.benchmarks.comparison.pair import Pair

    box = _box(args.box)
    for name in ("every", "max_frames", "show"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')}: got {getattr(args, name)}, expected 1 or more")
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(_open(args, model)) for model in (args.first, args.second))
        pair = Pair(first, second, _target(args, first), box)
        frames, total, stretch = _frames(args, stack)
        if Path(args.out, EVALUATED).exists():
            raise UsageError(f"{args.out}: it holds what `aerocam eval` found; give another --out")
        make_folder(Path(args.out))
        stop = stack.enter_context(stop_on_signal())
        records = _compare(args, pair, frames, total, stretch, stop, first.method)
    correlation, shift = (_said(records, figure) for figure in ("correlation", "shift"))
    report = Path(args.out, REPORT)
    logger.info("%d frames -> %s: correlation %s, shift %s px", records["frames"], report, correlation, shift)
    return INTERRUPTED if stop.is_set() else 0


def _open(args: argparse.Namespace, model: str) -> Explainer:
    from aerocam.runtime.explainer import Explainer

    return Explainer(
        model,
        method=args.method,
        options=parse_options(args.option),
        providers=parse_providers(args),
        threads=args.threads,
    )


def _target(args: argparse.Namespace, first: Explainer) -> Any:
    """Return the one target that is meant.

    Raises:
        UsageError: Several targets are named.
    """
    asked = {"target": [args.target] if args.target else None, "anchor": args.anchor}
    none = dict.fromkeys(("top", "objects", "box", "classes", "conf", "iou"))
    target = targets_of(argparse.Namespace(**asked, **none), first.manifest)
    if isinstance(target, list):
        raise UsageError(f"--target {args.target}: found {len(target)} classes, one is expected; compare them in turn")
    return target


def _box(text: str | None) -> Box | None:
    """Return the box of `--box`.

    Raises:
        UsageError: The text is not four numbers of a box.
    """
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        if all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    raise UsageError(f"--box {text}: four numbers are expected, left, top, right, bottom in px, as in 400,200,700,500")


def _frames(args: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[Iterable[Frame], int, float]:
    """Return the frames, how many there are (0: unknown), and of how many in a row the report may show one.

    Raises:
        MediaError: The source cannot be read.
        UsageError: The folder has no pictures.
    """
    from aerocam.benchmarks.comparison.pair import of_pictures, of_video
    from aerocam.runtime.video.source import VideoSource

    if os.path.isdir(args.source):
        paths = find_pictures([args.source])
        total = -(-len(paths) // args.every)
        return of_pictures(paths, args.every, args.max_frames, args.max_pixels), min(total, args.max_frames or total), 1
    source = stack.enter_context(VideoSource(args.source, frames="every"))
    total = -(-source.count // args.every)
    return of_video(source, args.every, args.max_frames), min(total, args.max_frames or total), source.fps


def _compare(
    args: argparse.Namespace,
    pair: Pair,
    frames: Iterable[Frame],
    total: int,
    stretch: float,
    stop: threading.Event,
    method: str,
) -> dict[str, Any]:
    """Compare frame by frame, write the files, and return the summary."""
    from aerocam.benchmarks.comparison.moved import MovedMost
    from aerocam.benchmarks.comparison.page import report
    from aerocam.benchmarks.comparison.pair import summary
    from aerocam.runtime.results.record import json_text

    moved = MovedMost(args.show, stretch)
    seen = takewhile(lambda frame: not stop.is_set(), frames)
    records = list(_records(pair, seen, moved, 0 if args.quiet else total, args.quiet))
    if not records:
        raise MediaError(f"{args.source}: no frame was compared; give another source")
    figures = summary(records)
    facts = {
        "A": Path(args.first).name,
        "B": Path(args.second).name,
        "Source": args.source,
        "Method": method,
        "Target": args.target or "A's top class, frame by frame",
        "Box": args.box or ("A's own, frame by frame" if records[0]["box"] else "none"),
    }
    settings = {**facts, "every": args.every, "interrupted": stop.is_set()}
    lines = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    folder = Path(args.out)
    write_together(
        {
            folder / RECORDS: lines.encode("utf-8", "replace"),
            folder / SUMMARY: json_text({"settings": settings, **figures}).encode("utf-8", "replace"),
            folder / REPORT: report(facts, figures, records, moved.frames),
        }
    )
    return figures


def _records(
    pair: Pair, frames: Iterable[Frame], moved: MovedMost, total: int, quiet: bool
) -> Iterator[dict[str, Any]]:
    """Yield the record of each frame, and keep the frames whose map moved most in `moved`."""
    from aerocam.progress import Progress

    progress = Progress(total)
    for done, frame in enumerate(frames):
        compared = pair(frame)
        record = compared.record()
        moved.add(compared, record)
        yield record
        if not quiet:
            progress(done + 1)
    progress.close()


def _said(summary: dict[str, Any], figure: str) -> str:
    values = summary.get(figure)
    return f"{values['mean']:.3f} (worst {values['worst']:.3f})" if values else "none"
