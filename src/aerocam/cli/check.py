"""Compare an exported model with its original again, or on a device an engine with ONNX Runtime.

Without --device: outputs with the original's, and gradients with finite differences; needs onnx. With it: outputs,
gradients and maps of the engine with those of ONNX Runtime on the CPU, what both cost, and what the machine is, in a
report aerocam-device-BOARD-DATE-TIME.json (UTC) to send back; Ctrl-C ends it, with a report of what was done. The exit
code is 1 unless everything was done and agrees, 130 if it was interrupted.

Examples:
  aerocam check model.onnx model.cam.onnx                                         on the CPU
  aerocam check model.onnx model.cam.onnx --providers CUDAExecutionProvider       on the provider that will be used
  aerocam check model.onnx model.cam.onnx --input-shape 1,3,320,320               as given at export
  aerocam check --device model.cam.onnx             on a Jetson, with the engine that was built of it beside it
"""

from __future__ import annotations

import argparse

from aerocam.cli import check_device
from aerocam.cli.arguments import PROVIDERS, argument, parse_input_shapes, parse_providers
from aerocam.errors import UsageError

ARGUMENTS = (
    argument("model", metavar="MODEL", help="the original ONNX file"),
    argument("exported", metavar="EXPORTED", nargs="?", help="what `aerocam export` made of it"),
    argument("--input-shape", action="append", default=[], metavar="NAME=N,C,H,W", help="as given at export"),
    *PROVIDERS,
    check_device.DEVICE,
)  # fmt: skip


def run(args: argparse.Namespace) -> int | None:
    """Print the figures, and raise CheckError if one is over its tolerance; with --device, return an exit code."""
    providers = parse_providers(args)
    if args.device:
        return check_device.run(args, providers)
    check_device.refuse_device_arguments(args)
    if args.exported is None:
        raise UsageError("EXPORTED is missing: what `aerocam export` made of MODEL; or add --device")
    from aerocam.export import check_export

    shapes = parse_input_shapes(args.input_shape, args.model)
    report = check_export(args.model, args.exported, input_shapes=shapes, providers=providers)
    print(f"{report.provider}: original outputs differ by at most {report.outputs:.2g} (relative)")
    if report.precision is not None:
        print(f"compared with the original in float16, whose outputs differ from its own by {report.precision:.2g}")
    for layer, difference in report.gradients.items():
        print(f"{layer}: gradients differ from finite differences by at most {difference:.2g} (relative)")
    if not report.gradients:
        print(
            "gradients do not leave this file (--head without --tensors), or are no derivatives (guided, relevance);"
            " what can be compared with differences was compared when it was exported"
        )
    if (ends := report.ends) is not None:
        print(
            f"ends, against the same steps one by one: a frame's tensor differs by at most {ends.tensor[0]:.2g} grey"
            f" levels, the map by {ends.map:.2g}, the overlay by {ends.overlay[0]:.2g} grey levels"
        )
    if report.tail is not None:
        print(
            f"tail: the scores of several activations at once differ from those of one by {report.tail:.2g} (relative)"
        )
    report.require()
    return None
