"""Build TensorRT engines of an exported model, for the GPU of this machine.

Examples:
  aerocam build model.cam.onnx                                       on the device; writes model.cam.engine
  aerocam build model.cam.onnx -o model.engine --workspace 1G        where memory is short, as on an Orin Nano
  aerocam build model.cam.onnx --precision float16                   TensorRT 10: the builder may choose float16
  aerocam build model.cam.onnx --compute-capability 8.6              TensorRT for RTX: without a GPU
"""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from aerocam.cli.arguments import argument, one_of
from aerocam.cli.stopping import stop_on_signal
from aerocam.errors import UsageError

if TYPE_CHECKING:
    from aerocam.runtime.trt.building import Built

PRECISIONS = ("typed", "float16")
HARDWARE = ("none", "ampere_plus", "same_compute_capability")
"""The choices of `runtime.trt.engine_file`, which loads NumPy: too early for commands that set its threads first."""

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

ARGUMENTS = (
    argument("model", metavar="MODEL",
        help="a file written by `aerocam export`; of a split model the one that runs on every frame: all are built"),
    argument("-o", "--output", metavar="FILE", help="where to write; default: MODEL with .engine for .onnx"),
    argument("--precision", choices=PRECISIONS, default="typed",
        help="typed (default): every tensor has the type that the file gives it, so int8 and float16 are the exporter's"
        " to write; float16: the builder may choose it, where it has that flag"),
    argument("--tf32", action="store_true",
        help="let products in float32 be rounded to TF32: faster, but CF-CAM, masks of pools and frames that are"
        " resized lose what they need exact"),
    argument("--workspace", metavar="SIZE", help="most scratch memory, as in 512M or 1G; default: all"),
    argument("--optimization-level", type=int, default=-1, metavar="N",
        help="0 (builds fast) to 5 (searches long); default: TensorRT's own, 3"),
    argument("--version-compatible", action="store_true", help="an engine that later versions of TensorRT run as well"),
    argument("--hardware", choices=HARDWARE, default="none",
        help="other GPUs that are to run it; not on a Jetson (default: none)"),
    argument("--compute-capability", metavar="N.N",
        help="build for such a GPU without one, as in 8.6; TensorRT for RTX only"),
    one_of(
        argument("--timing-cache", metavar="DIR",
            help="where measurements of kernels are kept; default: in ~/.cache/aerocam"),
        argument("--no-timing-cache", action="store_true", help="measure anew, and keep nothing"),
    ),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Build the engines, and print what was built."""
    from aerocam.runtime.trt import timing_cache
    from aerocam.runtime.trt.building import build_engines
    from aerocam.runtime.trt.engine_file import BuildSettings

    args.workspace = size_in_bytes(args.workspace) if args.workspace is not None else 0
    settings = BuildSettings(**{field.name: getattr(args, field.name) for field in fields(BuildSettings)})
    folder = Path(args.timing_cache) if args.timing_cache else timing_cache.default_folder()
    with stop_on_signal() as stop:
        done = build_engines(
            args.model,
            args.output,
            settings=settings,
            compute_capability=args.compute_capability,
            cache_folder=None if args.no_timing_cache else folder,
            stopped=stop.is_set,
        )
    for built in done:
        print("\n".join(described(built)))


def described(built: Built) -> list[str]:
    """Return what is printed about an engine."""
    record = built.record
    flags = " chosen among by the builder" if record.settings.precision == "float16" else ""
    lines = [
        f"{built.path}: {built.layers} layers, parsed in {built.parse_seconds:.1f} s, built in"
        f" {built.build_seconds:.1f} s, {record.plan_bytes / 1e6:.1f} MB",
        f"  {record.bindings} {record.tensorrt}, compute capability {record.compute_capability}"
        + (f" ({record.device})" if record.device else "")
        + f"; products in {', '.join(built.computed_in) or 'none'}{flags}, TF32"
        f" {'allowed' if record.settings.tf32 else 'off'}",
    ]
    lines += [f"  TensorRT says: {text}" for text in built.warnings]
    inspection = built.inspection
    if inspection is None:
        why = "TensorRT does not say" if record.device else "that is seen once the engine is loaded, on its GPU"
        return [*lines, f"  fell back: not known; {why}"]
    counts = ", ".join(f"{count} in {name}" for name, count in inspection.types.items())
    lines.append(f"  {inspection.layers} layers in the engine" + (f": {counts}" if counts else ""))
    return [*lines, f"  fell back: {', '.join(inspection.fell_back) or 'none'}"]


def size_in_bytes(text: str) -> int:
    """Return the bytes of `512M`, `1.5G` or a plain number.

    Raises:
        UsageError: The text is not of that form, or is empty.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise UsageError(f"--workspace {text}: a size is expected, as in 512M or 1G")
    return size
