"""Explain a video as it comes: overlay video and one JSON record per frame.

SOURCE is a video file, a folder of pictures, a pattern (frames/*.png) or sequence (frames/%04d.png) of them, a camera's
index, a URL, a GStreamer pipeline that ends in appsink, or standard input: - for Motion JPEG, raw:640x480 for
uncompressed BGR. What exists by that name comes first. SINK is a video file: .webm (VP8) and .mp4 (H.264, needs PyAV)
play in a browser, .mkv and .ts are H.264 too, .avi is Motion JPEG. Of a source without an end it is a file a minute:
fly.mp4, fly.0002.mp4, and in the next run fly.0003.mp4. Without SINK only records are made; they go to standard output,
or to the file that --records names, behind those of earlier runs. A video takes its name when it is finished; what a
killed run left is named by the next one (fly.recovered.mp4).

Of a live source the newest frame is explained each time; the records say its age and how many were passed over. One
that is lost or silent is connected again, and damaged frames are passed over and counted. If it does not come back, all
that was begun is finished, and the exit code is 3.

Ctrl-C (or SIGTERM, or a hang-up) ends after the frame in hand: video and records are finished and kept. The exit code
is then 0 for a source without an end, such as a camera, and 130 for a file that was cut short. A second Ctrl-C does not
wait. After an error what was written is kept as well, and the exit code is 1, as it is where a frame could not be
written because the disk is full: then video or records go on alone.

Examples:
  aerocam stream model.cam.onnx flight.mp4 overlay.webm
  aerocam stream model.cam.onnx 0 overlay.mp4 --records flight.jsonl --target person --keep 20G
  aerocam stream model.cam.onnx flight.mp4 overlay.webm --target person,boat --regions 0.2 --records flight.jsonl
  aerocam stream model.cam.onnx rtsp://192.168.1.10/live --method eigencam --max-frames 500
  aerocam stream model.cam.onnx rtsp://192.168.1.10/live overlay.webm --timeout 3 --reconnect 600
  rpicam-vid -t 0 --codec mjpeg -o - | aerocam stream model.cam.onnx - --records flight.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from aerocam.cli.arguments import argument, one_blas_thread, refuse_used
from aerocam.cli.explain import EXPLAINER, look_of, open_explainer
from aerocam.cli.stopping import INTERRUPTED, stop_on_signal
from aerocam.cli.targets import targets_of
from aerocam.errors import MediaError, SourceLostError, UsageError
from aerocam.options import parse_options

if TYPE_CHECKING:
    from aerocam.runtime.drawing.overlay import Look
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.predictions.detections import Objects
    from aerocam.runtime.predictions.targets import Targets
    from aerocam.runtime.video.events import Events
    from aerocam.runtime.video.source import VideoSource
    from aerocam.runtime.video.stream import Summary

logger = logging.getLogger(__name__)

SURE = 0.25
"""How sure a detector must be of its own choice that is explained."""

SEGMENT = 60.0
"""Length of a file of a source without an end, s."""


def size_of(text: str) -> int:
    """Return a size as bytes: 2G, 500M, 64k or a plain number."""
    units = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "t": 1_000_000_000_000}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected one such as 2G or 500M")
    return int(float(match[1]) * units[match[2]])


ARGUMENTS = (
    argument("model", metavar="MODEL", help="a model written by `aerocam export`"),
    argument("source", metavar="SOURCE", help="a video file, pictures, a camera's index, a URL, a pipeline or -"),
    argument("sink", metavar="SINK", nargs="?", help="overlay video to write: .webm, .mp4 or .avi"),
    argument("--records", metavar="FILE", help="JSON lines, one record per frame; - is standard output"),
    argument("--max-frames", metavar="N", type=int, help="stop after so many frames"),
    argument("--every", metavar="N", type=int, default=1,
        help="explain every N-th frame; on the others the last map stays"),
    argument("--frames", choices=("newest", "every"),
        help="pass over frames that came meanwhile (live: the default), or explain all in order, however late"),
    argument("--timeout", metavar="S", type=float,
        help="how long to wait for a frame before the source counts as lost (default: 5; of a file: for ever)"),
    argument("--reconnect", metavar="S", type=float,
        help="how long to try to get a lost live source back (default: 60; 0: not at all, inf: for ever)"),
    argument("--fps", metavar="N", type=float, help="frames per second of pictures, which do not say (default: 25)"),
    argument("--guess", action="store_true",
        help="of a detector: explain its best guess where it finds nothing (default: nothing is drawn)"),
    argument("--codec", metavar="FOURCC", help="OpenCV codec for SINK, instead of the suffix's own"),
    argument("--segment", metavar="S", type=float,
        help="a new file after so many seconds, 0: never (default: 60 of a source without an end and with --keep)"),
    argument("--keep", metavar="SIZE", type=size_of,
        help="what all segments take together, as in 2G or 500M: the oldest go"),
    argument("--floor", metavar="SIZE", type=size_of, default=50_000_000,
        help="what stays free on the disk: no video is written below (default: 50M)"),
    *EXPLAINER,
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Explain the video; return 130 if a source with an end was cut short, 3 if it was lost."""
    one_blas_thread()
    from aerocam.runtime.video.events import Events, counted
    from aerocam.runtime.video.source import VideoSource

    _check(args)
    look = look_of(args)
    with open_explainer(args) as explainer:
        targets = _found_only(targets_of(args, explainer.manifest), args.guess)
        explainer.check(targets)
        settings = {name: getattr(args, name) for name in ("frames", "timeout", "reconnect", "fps")}
        way = {name: value for name, value in settings.items() if value is not None}
        events = Events()
        with VideoSource(args.source, event=events, **way) as source, stop_on_signal() as stop:
            summary = _stream(args, explainer, source, targets, look, events, stop)
    where = f" -> {args.sink}" if args.sink else ""
    rate = summary.frames / max(summary.seconds, 1e-6)
    logger.info("%s%d frames%s, %.1f/s", "stopped after " if summary.stopped else "", summary.frames, where, rate)
    if summary.skipped:
        logger.info("%d frames were passed over, as newer ones were there", summary.skipped)
    if summary.damaged:
        logger.warning("%d frames could not be decoded", summary.damaged)
    if summary.warned:
        logger.warning("%d of %d frames have a warning in their record", summary.warned, summary.frames)
    if summary.events:
        logger.warning("events: %s", counted(summary.events))
    if summary.lost:
        raise SourceLostError(summary.lost)
    if summary.missed:
        raise MediaError(f"{summary.missed} of {summary.frames} frames could not be written")
    return INTERRUPTED if summary.stopped and not source.live else 0


def _found_only(targets: Targets | Objects, guess: bool) -> Targets | Objects:
    """Return targets of which a detector's objects are there only where it finds any, unless a guess is asked for."""
    from aerocam.runtime.predictions.detections import Objects

    return replace(targets, guess=guess) if isinstance(targets, Objects) else targets


def _check(args: argparse.Namespace) -> None:
    """Refuse, before anything is opened, what cannot be meant."""
    if args.max_frames is not None and args.max_frames < 1:
        raise UsageError(f"--max-frames: got {args.max_frames}, expected 1 or more")
    if args.every < 1:
        raise UsageError(f"--every: got {args.every}, expected 1 or more")
    for flag in ("codec", "segment", "keep"):
        if getattr(args, flag) is not None and not args.sink:
            raise UsageError(f"--{flag}: there is no SINK to use it for; name a video file")
    if args.segment and args.segment < 1:
        raise UsageError(f"--segment: got {args.segment:g}, expected 1 s or more, or 0 for one file")
    if args.keep is not None and args.segment == 0:
        raise UsageError("--keep: got --segment 0 as well, expected segments, of which the oldest can go")
    used = {"the source itself": args.source, "the model": args.model}
    refuse_used(args.sink, used)
    refuse_used(args.records, {**used, "SINK": args.sink})


def _stream(
    args: argparse.Namespace,
    explainer: Explainer,
    source: VideoSource,
    targets: Targets | Objects,
    look: Look,
    events: Events,
    stop: threading.Event,
) -> Summary:
    """Open the outputs, process the source, and return the summary."""
    from aerocam.progress import Progress
    from aerocam.runtime.video.recording.header import header
    from aerocam.runtime.video.recording.records import Records
    from aerocam.runtime.video.recording.sink import VideoSink
    from aerocam.runtime.video.recording.space import Space
    from aerocam.runtime.video.stream import process

    least = SURE if targets is None and explainer.manifest.boxes is not None and not args.guess else 0.0
    long = source.live or args.keep is not None
    segment = (SEGMENT if long else None) if args.segment is None else args.segment or None
    progress = Progress(0 if args.quiet else min(source.count, args.max_frames or source.count))
    with contextlib.ExitStack() as stack:
        record = sink = None
        if args.records or not args.sink:
            options = parse_options(args.option)
            first = header(explainer, source, targets, model=args.model, options=options, every=args.every, least=least)
            record = stack.enter_context(Records(args.records or "-", first))
        if args.sink:
            space = Space(args.floor, args.keep)
            sink = VideoSink(args.sink, source.size, source.fps, args.codec, segment=segment, space=space)
            stack.enter_context(sink)
        stack.callback(progress.close)
        return process(
            source,
            explainer,
            sink,
            record,
            target=targets,
            look=look,
            every=args.every,
            least=least,
            max_frames=args.max_frames,
            events=events,
            stop=stop,
            progress=None if args.quiet else progress,
        )
