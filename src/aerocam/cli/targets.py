"""What is explained, by the options of `explain` and `stream`: classes, anchors, or the objects of a detector."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aerocam.cli.arguments import argument, group
from aerocam.errors import UsageError

if TYPE_CHECKING:
    from aerocam.manifest import Manifest
    from aerocam.runtime.predictions.detections import Objects
    from aerocam.runtime.predictions.region import RegionLike
    from aerocam.runtime.predictions.targets import Class, TargetLike, Targets

TARGETS = (
    argument("--target", metavar="CLASS", action="append",
        help="class to explain, by index or name; -1: the model's best (the default), -2: its second best; several:"
        " repeat it, or separate them by commas"),
    argument("--top", metavar="N", type=int, help="explain the model's N best classes"),
    argument("--anchor", metavar="N", type=int,
        help="for a detector: the anchor to explain (default: the class's best)"),
    argument("--reference", metavar="PICTURE", help="of an embedding network: what pictures are compared with"),
    argument("--region", metavar="REGION",
        help="of a dense output: explain the mean over this part of the picture: x0,y0,x1,y1 or x,y in px, or a grey"
        " MASK.png of its size, black outside (default: over everything)"),
    argument("--counterfactual", action="store_true", help="show what speaks against the target"),
    group("of a detector",
        argument("--objects", metavar="N", type=int, help="explain the N best objects it finds"),
        argument("--box", metavar="N", type=int, help="explain object number N only; the best is 1"),
        argument("--class", dest="classes", metavar="LABEL", action="append",
            help="objects of this class; may be repeated"),
        argument("--conf", metavar="P", type=float, help="objects surer than this (default: 0.25)"),
        argument("--iou", metavar="P", type=float, help="overlap that suppresses (default: 0.7)"),
    ),
)  # fmt: skip
"""The options that say what is explained."""


def targets_of(args: argparse.Namespace, manifest: Manifest, most: int | None = None) -> Targets | Objects:
    """Return the targets that the shared options ask for: one, a list of several, or a detector's objects.

    Args:
        args: Arguments of the command line.
        manifest: The model's manifest; a label with a comma in it is one class.
        most: How many objects of a detector are meant when nothing is asked for; None: its best class and anchor are.

    Raises:
        UsageError: Options exclude each other, a class is empty, or a number is out of range.
    """
    of_classes = {"--target": args.target, "--top": args.top, "--anchor": args.anchor}
    of_objects = {"--objects": args.objects, "--box": args.box, "--class": args.classes}
    of_objects |= {"--conf": args.conf, "--iou": args.iou}
    by_class = [name for name, value in of_classes.items() if value is not None]
    by_object = [name for name, value in of_objects.items() if value is not None]
    if by_class and by_object:
        raise UsageError(
            f"{by_object[0]}: got {by_class[0]} as well, expected one of the two; --class chooses among objects"
        )
    if by_object or (not by_class and most is not None and manifest.boxes is not None):
        return _objects(args, most, manifest.labels)
    if args.top is not None and (args.target or args.top < 1):
        problem = f"{args.top}, expected 1 or more" if args.top < 1 else "--target as well, expected one of the two"
        raise UsageError(f"--top: got {problem}")
    classes: list[Class] = [None]
    if args.top is not None:
        classes = [-rank for rank in range(1, args.top + 1)]
    elif args.target:
        classes = [_class(text, manifest.labels) for item in args.target for text in _split(item, manifest.labels)]
    targets: list[TargetLike] = [class_ if args.anchor is None else (class_, args.anchor) for class_ in classes]
    return targets if len(targets) > 1 else targets[0]


def region_of(text: str, max_pixels: int) -> RegionLike:
    """Return the region that `--region` names: a box, a point, or a mask from a file.

    Raises:
        UsageError: It is none of these.
        MediaError: The file cannot be read.
    """
    from aerocam.runtime.frames.pictures import read_picture

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        picture = read_picture(text, max_pixels=max_pixels)
        if (picture != picture[..., :1]).any():
            raise UsageError(f"--region {text}: a picture in colour, expected a grey mask, black outside") from None
        return picture[..., 0]
    if len(numbers) not in (2, 4):
        raise UsageError(f"--region {text}: got {len(numbers)} numbers, expected x0,y0,x1,y1 or x,y, or a mask's file")
    return numbers


def _objects(args: argparse.Namespace, most: int | None, labels: Sequence[str]) -> Objects:
    from aerocam.runtime.predictions.detections import Objects

    options = {
        "most": args.objects if args.objects is not None else most,
        "number": args.box,
        "confidence": args.conf,
        "iou": args.iou,
        "classes": tuple(_class(text, labels) for text in args.classes) if args.classes else None,
    }
    return Objects(**{name: value for name, value in options.items() if value is not None})


def _split(text: str, labels: Sequence[str]) -> list[str]:
    """Return the classes in one --target."""
    parts = [text] if text in labels else [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"--target '{text}': found an empty class, expected names or indices, as in cat,dog or -1,-2")
    return parts


def _class(text: str, labels: Sequence[str]) -> Class:
    """Return the class that a text names, by its number or its label.

    Raises:
        UsageError: The text is the number of one class and the label of another.
    """
    if not text.removeprefix("-").isdecimal():
        return text
    number = int(text)
    if text in labels and labels.index(text) != number:
        other = f", {labels[number]!r}," if 0 <= number < len(labels) else ""
        raise UsageError(
            f"class '{text}': it is the number of a class{other} and the label of class {labels.index(text)}; say which"
            " by the other's number or label"
        )
    return number
