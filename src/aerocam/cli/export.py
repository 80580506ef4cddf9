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
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, get_args

from aerocam.cli.arguments import MODEL, PROVIDERS, argument, parse_input_shapes, parse_providers
from aerocam.errors import UsageError
from aerocam.manifest import ColorOrder, Contrast, Interpolation, MapForm, Packaging, Preprocess, ResizeRule
from aerocam.methods import HEADS, OF_TAIL

if TYPE_CHECKING:
    import onnx_ir as ir

logger = logging.getLogger("aerocam.cli")

PREPROCESSING = ("preprocess", "mean", "std", "color", "resize", "short_side", "interpolation")
"""Arguments that say how a frame becomes the input."""

ARGUMENTS = (
    *MODEL,
    argument("-o", "--output", metavar="FILE", help="where to write; default: MODEL with .cam.onnx"),
    argument("--layer", dest="layers", action="append", metavar="NAME",
        help="target layer: auto (default), a tensor or node name, or a pattern (its last match); may be repeated"),
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
    argument("--labels", metavar="FILE", help="class names, one per line or a JSON list"),
    argument("--preprocess", metavar="PRESET", help="imagenet, tf, caffe, unit or yolo"),
    argument("--mean", metavar="R,G,B", help="per channel, in pixel units (0 to 255)"),
    argument("--std", metavar="R,G,B", help="per channel, in pixel units"),
    argument("--color", choices=get_args(ColorOrder), help="channel order the model expects"),
    argument("--resize", choices=get_args(ResizeRule), help="how a frame is brought to the input's size"),
    argument("--short-side", type=int, metavar="PX", help="for --resize crop"),
    argument("--interpolation", choices=get_args(Interpolation)),
    *PROVIDERS,
    argument("--no-check", dest="check", action="store_false", help="skip the self-check"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    from aerocam.export.pipeline import export
    from aerocam.export.preprocessing import read_labels
    from aerocam.export.request import ExportRequest

    is_told = any(getattr(args, name) is not None for name in PREPROCESSING)
    read = {
        "input_shapes": parse_input_shapes(args.input_shapes, args.model),
        "frame": frame_size(args.frame),
        "labels": read_labels(args.labels) if args.labels else None,
        "preprocess": partial(chosen_preprocess, args=args) if is_told else None,
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


def chosen_preprocess(model: ir.Model, args: argparse.Namespace) -> Preprocess | None:
    """Return the preset with the settings that were given one by one; None for an input that is no picture."""
    from aerocam.export.preprocessing import default_preprocess

    preprocess = default_preprocess(model, args.preprocess)
    if preprocess is None:
        return None
    channels = len(preprocess.mean)
    changes = {name: getattr(args, name) for name in PREPROCESSING if name != "preprocess"}
    changes |= {name: _numbers(changes[name], f"--{name}", channels) for name in ("mean", "std")}
    preprocess = replace(preprocess, **{name: value for name, value in changes.items() if value is not None})
    if preprocess.resize == "crop" and preprocess.short_side < max(preprocess.size):
        raise UsageError(
            f"--short-side {preprocess.short_side}: less than the input's {max(preprocess.size)} px; give at least that"
        )
    return preprocess


def frame_size(text: str | None) -> tuple[int, int] | None:
    """Return (H, W) of `--frame HxW`."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--frame {text}: height and width in px are expected, as in 720x1280")
    return int(parts[0]), int(parts[1])


def _numbers(text: str | None, flag: str, count: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"{flag} {text}: numbers are expected, as in 123.7,116.3,103.5") from error
    if len(values) != count or (flag == "--std" and 0 in values):
        raise UsageError(f"{flag} {text}: {count} numbers, none of them 0 for --std, are expected")
    return values
