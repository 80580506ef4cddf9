"""Explain a video as it comes: overlay video and one JSON record per frame.

SOURCE is a video file, a folder of pictures, a pattern (frames/*.png) or sequence (frames/%04d.png) of them, a camera's
index, a URL, a GStreamer pipeline that ends in appsink, or standard input: - for Motion JPEG, raw:640x480 for
uncompressed BGR. What exists by that name comes first. SINK is a video file:
.webm (VP8) and .mp4 (H.264, needs PyAV) play in a browser, .avi is Motion JPEG. Without SINK only records are made;
they go to standard output, or to the file that --records names. The video takes its name when it is whole.

Of a live source the newest frame is explained each time; the records say its age and how many were passed over. One
that is lost or silent is connected again, and damaged frames are passed over and counted. If it does not come back, all
that was begun is finished, and the exit code is 3.

Ctrl-C (or SIGTERM) ends after the frame in hand: video and records are finished and kept. The exit code is then 0 for a
source without an end, such as a camera, and 130 for a file that was cut short. A second Ctrl-C does not wait.

Examples:
  aerocam stream model.cam.onnx flight.mp4 overlay.webm
  aerocam stream model.cam.onnx 0 overlay.mp4 --records flight.jsonl --target person
  aerocam stream model.cam.onnx flight.mp4 overlay.webm --target person,boat --regions 0.2 --records flight.jsonl
  aerocam stream model.cam.onnx rtsp://192.168.1.10/live --method eigencam --max-frames 500
  aerocam stream model.cam.onnx rtsp://192.168.1.10/live overlay.webm --timeout 3 --reconnect 600
  rpicam-vid -t 0 --codec mjpeg -o - | aerocam stream model.cam.onnx - --records flight.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from aerocam.cli.arguments import argument, one_blas_thread
from aerocam.cli.explain import EXPLAINER, look_of, open_explainer
from aerocam.cli.stopping import INTERRUPTED, stop_on_signal
from aerocam.cli.targets import targets_of
from aerocam.errors import MediaError, SourceLostError, UsageError

if TYPE_CHECKING:
    from aerocam.runtime.drawing.overlay import Look
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.predictions.detections import Objects
    from aerocam.runtime.predictions.targets import Targets
    from aerocam.runtime.video.source import VideoSource
    from aerocam.runtime.video.stream import Summary

logger = logging.getLogger(__name__)

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
    argument("--codec", metavar="FOURCC", help="OpenCV codec for SINK, instead of the suffix's own"),
    *EXPLAINER,
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Explain the video; return 130 if a source with an end was cut short, 3 if it was lost."""
    one_blas_thread()
    from aerocam.runtime.video.source import VideoSource

    _check(args)
    look = look_of(args)
    with open_explainer(args) as explainer:
        targets = targets_of(args, explainer.manifest)
        explainer.check(targets)
        settings = {name: getattr(args, name) for name in ("frames", "timeout", "reconnect", "fps")}
        way = {name: value for name, value in settings.items() if value is not None}
        with VideoSource(args.source, **way) as source, stop_on_signal() as stop:
            summary = _stream(args, explainer, source, targets, look, stop)
    where = f" -> {args.sink}" if args.sink else ""
    rate = summary.frames / max(summary.seconds, 1e-6)
    logger.info("%s%d frames%s, %.1f/s", "stopped after " if summary.stopped else "", summary.frames, where, rate)
    if summary.skipped:
        logger.info("%d frames were passed over, as newer ones were there", summary.skipped)
    if summary.damaged:
        logger.warning("%d frames could not be decoded", summary.damaged)
    if summary.warned:
        logger.warning("%d of %d frames have a warning in their record", summary.warned, summary.frames)
    if summary.lost:
        raise SourceLostError(summary.lost)
    return INTERRUPTED if summary.stopped and not source.live else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse, before anything is opened, what cannot be meant."""
    if args.max_frames is not None and args.max_frames < 1:
        raise UsageError(f"--max-frames: got {args.max_frames}, expected 1 or more")
    if args.every < 1:
        raise UsageError(f"--every: got {args.every}, expected 1 or more")
    if args.codec and not args.sink:
        raise UsageError("--codec: there is no SINK to use it for; name a video file")
    for name in (args.sink, args.records):
        if name and os.path.exists(args.source) and os.path.exists(name) and os.path.samefile(args.source, name):
            raise UsageError(f"{name}: this is the source itself; write to another file")


def _stream(
    args: argparse.Namespace,
    explainer: Explainer,
    source: VideoSource,
    targets: Targets | Objects,
    look: Look,
    stop: threading.Event,
) -> Summary:
    """Open the outputs, process the source, and return the summary."""
    from aerocam.progress import Progress
    from aerocam.runtime.video.sink import VideoSink
    from aerocam.runtime.video.stream import process

    progress = Progress(0 if args.quiet else min(source.count, args.max_frames or source.count))
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(VideoSink(args.sink, source.size, source.fps, args.codec)) if args.sink else None
        to = args.records or ("-" if sink is None else None)
        record = stack.enter_context(json_lines(to)) if to else None
        stack.callback(progress.close)
        return process(
            source,
            explainer,
            sink,
            record,
            target=targets,
            look=look,
            every=args.every,
            max_frames=args.max_frames,
            stop=stop,
            progress=None if args.quiet else progress,
        )


@contextlib.contextmanager
def json_lines(path: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that writes a record as one line at once: a reader can follow, nothing written is lost.

    After an error the lines written so far stay; a file without any is removed.

    Raises:
        MediaError: The file cannot be written.
    """
    lines = 0

    def write(record: dict[str, Any]) -> None:
        nonlocal lines
        stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        stream.flush()
        lines += 1

    stream: TextIO
    if path == "-":
        stream = sys.stdout
        yield write
        return
    try:
        with open(path, "w", encoding="utf-8") as stream:
            yield write
    except OSError as error:
        raise MediaError(f"{path}: cannot write the records: {error.strerror or error}") from error
    finally:
        if not lines:
            with contextlib.suppress(OSError):
                os.remove(path)
