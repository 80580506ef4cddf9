"""Make a model explainable: the same graph, with activations and gradients, or a finished map, as new outputs.

Examples:
  aerocam export model.onnx                                              automatic layer, writes model.cam.onnx
  aerocam export model.onnx --head gradcam -o fast.onnx                  Grad-CAM inside the graph: only the map leaves
  aerocam export model.onnx --head gradcam --frame 720x1280 --overlay    a frame in, the overlay out, in one graph
  aerocam export model.onnx --packaging split --targets 5                plain frames at full speed, five boxes at once
  aerocam export model.onnx --for tensorrt --precision float16           only what NVIDIA's parser takes, in float16
  aerocam export model.onnx --layer '*layer3*' --labels names.txt --preprocess imagenet
"""

from __future__ import annotations

import argparse
import logging
import shlex
from typing import Any, get_args

from aerocam.cli.arguments import MODEL, PROVIDERS, argument, parse_arrays, parse_input_shapes, parse_providers
from aerocam.errors import UsageError
from aerocam.manifest import ColorOrder, Contrast, Interpolation, MapForm, Packaging, ResizeRule
from aerocam.methods import HEADS, OF_TAIL

logger = logging.getLogger("aerocam.cli")

PREPROCESSING = ("mean", "std", "color", "resize", "short_side", "interpolation", "units", "shown")
"""Arguments that change a setting of the preset."""

ARGUMENTS = (
    *MODEL,
    argument("-o", "--output", metavar="FILE", help="where to write; default: MODEL with .cam.onnx"),
    argument("--layer", dest="layers", action="append", metavar="NAME",
        help="target layer: auto (default), INPUT (the picture), the name of a tensor, a node or a module, or a pattern"
        " (its last match); may be repeated"),
    argument("--head", metavar="METHOD", help=f"fuse this CAM method into the graph: {', '.join(HEADS)}"),
    argument("--eigen-smooth", action="store_true",
        help="with --head: its weighted activations on their first component"),
    argument("--tensors", action="store_const", const=True,
        help="with --head: let activations and gradients leave the graph all the same"),
    argument("--frame", metavar="HxW",
        help="let the graph take the camera's frames, uint8 in BGR of this height and width, as in 720x1280"),
    argument("--map", dest="map_form", choices=get_args(MapForm), default="raw",
        help="with --head: its map raw (default), or in 0 to 1 at the layer's size, or in 0 to 1 over the frame"),
    argument("--overlay", action="store_true",
        help="with --head and --frame: the graph draws the overlay too, in uint8"),
    argument("--targets", type=int, default=1, metavar="N", help="targets explained in one pass (default: 1)"),
    argument("--contrast", choices=get_args(Contrast),
        help="finer: explain what a class has that its nearest ones lack (Finer-CAM), instead of its logit"),
    argument("--packaging", choices=get_args(Packaging), default="fused",
        help="fused: every run explains; split: a second file, FILE with .explain.onnx, explains what it is asked to"),
    argument("--batch", type=int, metavar="N",
        help=f"with --packaging split: a third file, FILE with .tail.onnx, for {' and '.join(OF_TAIL)}: the part"
        " behind the layer, N at once"),
    argument("--for", dest="destination", choices=("onnxruntime", "tensorrt"), default="onnxruntime",
        help="what will run the file; tensorrt: what NVIDIA's parser and builder do not take is refused by name"),
    argument("--precision", metavar="TYPE", default="source",
        help="float16: convert the model first, and explain what is converted; default: source, the model's own types"),
    argument("--guided", action="store_true",
        help="gradients of the input by guided backpropagation; the input becomes a layer if it is none"),
    argument("--relevance", action="store_true",
        help="relevance (LRP-epsilon) in place of gradients, at every layer; for the method relevance"),
    argument("--labels", metavar="FILE", help="class names, one per line, or in JSON or YAML"),
    argument("--preprocess", metavar="PRESET",
        help="imagenet, tf, clip, caffe, paddleocr, paddleocr-det, unit, raw, yolo or yolox"),
    argument("--mean", metavar="R,G,B", help="per channel, or one number for all, in --units (0 to 255)"),
    argument("--std", metavar="R,G,B", help="per channel, in pixel units"),
    argument("--color", choices=get_args(ColorOrder), help="channel order the model expects"),
    argument("--resize", choices=get_args(ResizeRule), help="how a frame is brought to the input's size"),
    argument("--short-side", type=int, metavar="PX", help="for --resize crop"),
    argument("--interpolation", choices=get_args(Interpolation)),
    argument("--units", metavar="NAME",
        help="what pixel values, --mean and --std count in: levels, 0 to 255, onto which 16 bits are scaled (default);"
        " own: those of the picture, for floats"),
    argument("--shown", metavar="R,G,B", help="which channels of many are shown, counted from 0"),
    *PROVIDERS,
    argument("--no-check", dest="check", action="store_false", help="skip the self-check"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    from aerocam.export.pipeline import export
    from aerocam.export.reading.labels import read_labels
    from aerocam.export.request import ExportRequest

    read = {
        "input_shapes": parse_input_shapes(args.input_shapes, args.model),
        "fix": parse_arrays(args.fix, "--fix"),
        "frame": frame_size(args.frame),
        "labels": read_labels(args.labels) if args.labels else None,
        "preprocess": preprocess_settings(args) or None,
        "providers": parse_providers(args),
    }
    arguments = {name: value for name, value in (vars(args) | read).items() if value is not None}
    done = export(ExportRequest.of(args.model, **arguments))
    if (report := done.report) is not None:
        figures = (
            f", gradients from finite differences by {max(report.gradients.values()):.1g}" if report.gradients else ""
        )
        if report.precision is not None:
            figures += f"; outputs in float16 differ from the original's by {report.precision:.1g}"
        logger.info("check on %s: outputs differ by %.1g%s", report.provider, report.outputs, figures)
    print(f"{done.path}: {done.nodes_after - done.nodes_before} nodes added to {done.nodes_before}")
    if (given := done.manifest.preprocess) is not None:
        reference = " --reference OTHER.jpg" if done.manifest.task == "embed" else ""
        source = "stream {} CAMERA" if given.frame is not None else "explain {} PICTURE.jpg" + reference
        logger.info("next: aerocam %s", source.format(shlex.quote(str(done.path))))


def preprocess_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say of preprocessing, by the library's names."""
    told = {name: getattr(args, name) for name in PREPROCESSING if getattr(args, name) is not None}
    preset = {} if args.preprocess is None else {"preset": args.preprocess}
    if args.shown is not None:
        told["shown"] = _channels(args.shown)
    return preset | told | {name: _numbers(told[name], f"--{name}") for name in ("mean", "std") if name in told}


def _channels(text: str) -> tuple[int, ...]:
    """Return the three channels of `--shown R,G,B`."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--shown {text}: three channels, counted from 0, are expected, as in 2,1,0")
    return tuple(map(int, parts))


def frame_size(text: str | None) -> tuple[int, int] | None:
    """Return (H, W) of `--frame HxW`."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--frame {text}: height and width in px are expected, as in 720x1280")
    return int(parts[0]), int(parts[1])


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"{flag} {text}: numbers are expected, as in 123.7,116.3,103.5") from error
