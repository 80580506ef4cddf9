"""Explain pictures: overlay, raw map and record for each.

For each picture these files are written into the folder DIR: NAME.cam.png, the map laid over the picture; NAME.cam.npy,
the raw map before normalisation (float32; one per layer, NAME.cam.1.npy and so on, where the model has several);
NAME.cam.json, what was explained, the model's top classes, timings and warnings. A picture that cannot be read or
does not fit the model is reported and leaves no file, the others are still done; the exit code is then 1.

Examples:
  aerocam explain model.cam.onnx photo.jpg
  aerocam explain model.cam.onnx photos/*.jpg -o out --method layercam --colormap turbo
  aerocam explain model.cam.onnx photo.jpg --target "football helmet"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aerocam.cli.arguments import add_providers, one_blas_thread, parse_options, parse_providers

if TYPE_CHECKING:
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.targets import TargetLike


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `aerocam explain` takes."""
    parser.add_argument("model", metavar="MODEL", help="a model written by `aerocam export`")
    parser.add_argument("images", metavar="IMAGES", nargs="+", help="pictures")
    parser.add_argument("-o", "--out", metavar="DIR", default=".", help="folder to write to (default: this one)")
    add_explainer_arguments(parser)


def add_explainer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `explain` and `stream` share."""
    parser.add_argument(
        "--method", metavar="NAME", help="CAM method (default: that of the model's fused head, else gradcam)"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, such as steps=100 for integrated_gradients; may be repeated",
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="class to explain, by index or name (default: the model's own top class)"
    )
    parser.add_argument(
        "--anchor", metavar="N", type=int, help="for a detector: the anchor to explain (default: the class's best)"
    )
    parser.add_argument(
        "--fusion", metavar="RULE", default="mean", help="how several layers become one map: mean, max or product"
    )
    add_providers(parser)
    parser.add_argument("--threads", metavar="N", type=int, help="threads inside an operator (default: one per core)")
    parser.add_argument(
        "--alpha", metavar="W", type=float, default=0.5, help="weight of the map, 0 to 1 (default: 0.5)"
    )
    parser.add_argument("--colormap", metavar="NAME", default="jet", help="jet, turbo, viridis, ... (default: jet)")
    parser.add_argument("--no-caption", action="store_true", help="do not write class and score on the overlay")


def run(args: argparse.Namespace) -> int:
    """Explain the pictures; 1 if one of them could not be read or explained."""
    one_blas_thread()
    from aerocam.errors import MediaError, UsageError
    from aerocam.runtime.overlay import check_style
    from aerocam.runtime.pictures import read_picture

    check_style(args.alpha, args.colormap)
    failed = 0
    with open_explainer(args) as explainer:
        explainer.resolve(target_of(args))
        for path, stem in zip(args.images, distinct_stems(args.images), strict=True):
            try:
                explanation = explainer(read_picture(path), target_of(args))
            except (MediaError, UsageError) as error:  # of this picture; the target was checked before
                subject = "" if isinstance(error, MediaError) else f"{path}: "
                print(f"aerocam explain: error: {subject}{error}", file=sys.stderr)
                failed += 1
                continue
            explanation.save(args.out, stem, alpha=args.alpha, colormap=args.colormap, caption=not args.no_caption)
            if not args.quiet:
                spent = sum(explanation.timings.values())
                said = ", ".join(f"{target.label} {target.score:.3f}" for target in explanation.targets)
                warned = "".join(f"  warning: {text}" for text in explanation.warnings)
                print(f"{path}: {said}, {spent:.1f} ms{warned}")
    return 1 if failed else 0


def open_explainer(args: argparse.Namespace) -> Explainer:
    """The explainer that the shared options ask for."""
    from aerocam.runtime.explainer import Explainer

    return Explainer(
        args.model,
        method=args.method,
        options=parse_options(args.option),
        providers=parse_providers(args.providers),
        threads=args.threads,
        fusion=args.fusion,
    )


def target_of(args: argparse.Namespace) -> TargetLike:
    """The target that the shared options ask for."""
    wanted: int | str | None = args.target
    if args.target is not None and args.target.lstrip("-").isdecimal():
        wanted = int(args.target)
    return wanted if args.anchor is None else (wanted, args.anchor)


def distinct_stems(paths: Sequence[str]) -> list[str]:
    """A stem for each path's output files; equal ones (`a/x.png`, `b/x.jpg`) are numbered: `x`, `x-2`."""
    stems: list[str] = []
    taken = {Path(path).stem for path in paths}
    for path in paths:
        stem, number = Path(path).stem, 2
        if stem in stems:
            while f"{stem}-{number}" in taken:
                number += 1
            stem = f"{stem}-{number}"
            taken.add(stem)
        stems.append(stem)
    return stems
