"""Explain pictures: overlay, raw map and record for each, and all of them on one page.

IMAGES are files, folders (all pictures in them, by name), quoted patterns such as "flights/**/*.jpg", and - for a
picture on standard input. For each picture these files are written into the folder DIR: NAME.cam.png, the map laid over
the picture; NAME.cam.npy, the raw map before normalisation (float32; one per layer, NAME.cam.1.npy and so on, where the
model has several; the finished map where the model normalises it itself); NAME.cam.json, what was explained, the
model's top classes, timings and warnings. With several targets each also has an overlay of its own, NAME.cam.1.png and
so on. A picture that cannot be read or does not fit the model is reported and leaves no file, the others are still
done; the exit code is then 1. Ctrl-C ends after the picture in hand, with page and sheet of those done; the exit code
is then 130.

Examples:
  aerocam explain model.cam.onnx photo.jpg
  aerocam explain model.cam.onnx "photos/*.jpg" -o out --method layercam --colormap turbo
  aerocam explain model.cam.onnx photo.jpg --target "football helmet" --target "space shuttle" --regions otsu
  aerocam explain model.cam.onnx photos -o out --recursive --top 3 --html out/index.html --sheet out/sheet.png
  curl -s https://example.org/photo.jpg | aerocam explain model.cam.onnx - --regions 0.2
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aerocam.cli.arguments import MAX_PIXELS, PROVIDERS, argument, one_blas_thread, parse_arrays, parse_providers
from aerocam.cli.flags import with_flags
from aerocam.cli.plain import CACHE, explainable
from aerocam.cli.results import Result, open_results, refuse_overwriting
from aerocam.cli.stopping import INTERRUPTED, stop_on_signal
from aerocam.cli.targets import TARGETS, region_of, targets_of
from aerocam.errors import MediaError, UsageError
from aerocam.methods import METHODS
from aerocam.options import parse_options
from aerocam.runtime.frames.picture_files import distinct_stems, find_pictures, read, shown

if TYPE_CHECKING:
    from aerocam.runtime.drawing.overlay import Look
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.predictions.detections import Objects
    from aerocam.runtime.predictions.targets import Targets


MOST = 5
"""Objects of a detector that are explained when nobody says what."""

logger = logging.getLogger(__name__)

EXPLAINER = (
    argument("--method", metavar="NAME",
        help=f"CAM method (default: that of the model's fused head, else gradcam): {', '.join(METHODS)}"),
    argument("--option", action="append", default=[], metavar="NAME=VALUE",
        help="an option of the method, such as steps=100 for integrated_gradients; may be repeated"),
    *TARGETS,
    argument("--feed", action="append", default=[], metavar="NAME=VALUE",
        help="what an input beside the picture gets: a number, or an array in an .npy file; may be repeated"),
    argument("--fusion", metavar="RULE", default="mean",
        help="how several layers become one map: mean, max or product"),
    argument("--eigen-smooth", action="store_true",
        help="show the weighted activations on their first principal component"),
    argument("--aug-smooth", action="store_true",
        help="the mean of six maps: of the input times 0.9, 1 and 1.1, and mirrored; the model runs six times"),
    argument("--gaussian", metavar="SIGMA", type=float, default=0.0, help="blur the map, in positions of the layer"),
    CACHE,
    MAX_PIXELS,
    *PROVIDERS,
    argument("--threads", metavar="N", type=int, help="threads inside an operator (default: one per core)"),
    argument("--alpha", metavar="W", type=float, default=0.5, help="weight of the map, 0 to 1 (default: 0.5)"),
    argument("--colormap", metavar="NAME", default="jet", help="jet, turbo, viridis, ... (default: jet)"),
    argument("--no-caption", action="store_true", help="do not write class and score on the overlay"),
    argument("--regions", metavar="RULE",
        help="draw and record where the map is strong, as box and outline: otsu, or a share of its maximum such as"
        " 0.2"),
)  # fmt: skip
"""The options that `explain` and `stream` share."""

ARGUMENTS = (
    argument("model", metavar="MODEL", help="a model written by `aerocam export`, or a plain one"),
    argument("images", metavar="IMAGES", nargs="+", help="pictures, folders, quoted patterns, -"),
    argument("-o", "--out", metavar="DIR", default=".", help="folder to write to (default: this one)"),
    argument("-r", "--recursive", action="store_true", help="search folders to their depth"),
    argument("--html", metavar="FILE", help="also write a page of all results, which opens in any browser"),
    argument("--sheet", metavar="FILE", help="also write a contact sheet: pictures and targets (over 48: FILE-2, ...)"),
    *EXPLAINER,
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Explain the pictures; return 1 if one could not be read or explained, 130 if it was cut short."""
    one_blas_thread()
    images, look = find_pictures(args.images, args.recursive), look_of(args)
    refuse_overwriting(args, images)
    with open_explainer(args) as explainer:
        targets = targets_of(args, explainer.manifest, MOST)
        explainer.check(targets)
        with contextlib.ExitStack() as stack:
            results = [stack.enter_context(result) for result in open_results(args, explainer, targets, look)]
            # A single picture, which may come from a terminal, ends at once.
            stop = stack.enter_context(stop_on_signal()) if len(images) > 1 else threading.Event()
            failed = _Run(args, explainer, targets, look, results).all(images, stop)
    return INTERRUPTED if stop.is_set() else 1 if failed else 0


@dataclass(frozen=True)
class _Run:
    """Explains pictures one after the other; what was written of one is let go before the next."""

    args: argparse.Namespace
    explainer: Explainer
    targets: Targets | Objects
    look: Look
    results: Sequence[Result]

    def all(self, images: Sequence[str], stop: threading.Event) -> int:
        """Explain every picture until it is time to stop; return how many failed."""
        from aerocam.progress import Progress

        progress = Progress(len(images))
        failed = 0
        for done, (path, stem) in enumerate(zip(images, distinct_stems(images), strict=True)):
            if stop.is_set():
                logger.info("stopped after %d of %d pictures", done, len(images))
                break
            good, line = self._one(path, stem)
            failed += not good
            progress.close()
            if not (good and self.args.quiet):
                print(with_flags(line), file=sys.stdout if good else sys.stderr, flush=True)
            if len(images) > 1 and not self.args.quiet:
                progress(done + 1, failed)
        progress.close()
        return failed

    def _one(self, path: str, stem: str) -> tuple[bool, str]:
        """Explain a picture; return whether that went well, and the line to print."""
        try:
            explanation = self.explainer(read(path, self.explainer.takes_bands, self.args.max_pixels), self.targets)
        except (MediaError, UsageError) as error:  # of this picture; the targets were checked before
            reason = with_flags(str(error).removeprefix(f"{shown(path)}: "))
            for result in self.results:
                result.fail(path, reason)
            return False, f"aerocam explain: error: {shown(path)}: {reason}"
        saved = explanation.save(self.args.out, stem, **vars(self.look))
        for result in self.results:
            result.add(path, explanation, saved)
        spent = sum(explanation.timings.values())
        said = ", ".join(f"{target.label} {target.score:.3f}" for target in explanation.targets)
        warned = "".join(f"  warning: {text}" for text in explanation.warnings)
        return True, f"{shown(path)}: {said}, {spent:.1f} ms{warned}"


@contextlib.contextmanager
def open_explainer(args: argparse.Namespace) -> Iterator[Explainer]:
    """Open the explainer that the shared options ask for; a plain model is exported first."""
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.frames.pictures import read_picture
    from aerocam.runtime.maps.smoothing import MapSmoothing

    with contextlib.ExitStack() as stack:
        explainer = Explainer(
            explainable(args.model, stack, args.cache),
            method=args.method,
            options=parse_options(args.option),
            providers=parse_providers(args),
            threads=args.threads,
            fusion=args.fusion,
            top=max(5, args.top or 0),
            counterfactual=args.counterfactual,
            smoothing=MapSmoothing(args.eigen_smooth, args.aug_smooth, args.gaussian),
            feeds=parse_arrays(args.feed, "--feed"),
        )
        stack.enter_context(explainer)
        if args.reference is not None:
            explainer.compare_with(read_picture(args.reference, explainer.takes_bands, args.max_pixels))
        if args.region is not None:
            explainer.look_at(region_of(args.region, args.max_pixels))
        yield explainer


def look_of(args: argparse.Namespace) -> Look:
    """Return how overlays look by the shared options.

    Raises:
        UsageError: The colour map, the weight or the rule for regions does not exist.
    """
    from aerocam.runtime.drawing.overlay import Look, check_style
    from aerocam.runtime.drawing.regions import RegionRule, check_rule

    check_style(args.alpha, args.colormap)
    regions: RegionRule | None = args.regions
    with contextlib.suppress(TypeError, ValueError):
        regions = float(args.regions)
    if regions is not None:
        check_rule(regions)
    return Look(args.alpha, args.colormap, not args.no_caption, regions)
