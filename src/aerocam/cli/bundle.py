"""Put all that a device without a network needs into one folder: model, wheels, start script, checksums.

The folder has the model with all its files and its manifest to read, aerocam as a wheel, the packages that it needs
there (with versions, for the platform's Python), start.sh, README.txt and SHA256SUMS. On a Jetson TensorRT, OpenCV and
ONNX Runtime come from JetPack or NVIDIA, and never go along. This asks the package index, the device asks none.

Examples:
  aerocam bundle model.cam.onnx -o flight                                        for JetPack 6
  aerocam bundle model.cam.onnx -o flight --platform jetson-jp7 --tar            one file, flight.tar
  aerocam bundle model.cam.onnx -o station --platform linux-x86_64 --python 3.10
"""

from __future__ import annotations

import argparse

from aerocam.cli.arguments import argument
from aerocam.cli.stopping import interrupt_on_signal

ARGUMENTS = (
    argument("model", metavar="MODEL", help="a model written by `aerocam export`"),
    argument("-o", "--out", metavar="DIR", required=True, help="the folder to make"),
    argument("--platform", metavar="NAME", default="jetson-jp6",
        help="jetson-jp6 (default), jetson-jp7, linux-x86_64 or linux-aarch64"),
    argument("--python", metavar="3.N", help="Python of a linux platform (default: this one's)"),
    argument("--no-wheels", action="store_true", help="only name the packages; the device fetches them"),
    argument("--tar", action="store_true", help="one file, DIR.tar (DIR may end in .tar), in place of the folder"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Make the bundle, and say what is in it."""
    from aerocam.bundle import find_target, make_bundle

    target = find_target(args.platform, args.python)
    with interrupt_on_signal():
        done = make_bundle(args.model, args.out, target, with_wheels=not args.no_wheels, tar=args.tar)
    packages = ", ".join(f"{name} {version}" for name, version in sorted(done.packages.items()))
    print(f"{done.path}: {done.size / 1e6:.0f} MB for {target.name}, Python {target.python_text}")
    print(f"model: {', '.join(done.model)}")
    print(f"{'named' if args.no_wheels else 'wheels'}: {packages}")
    for name, where in target.system:
        print(f"not in it, the device must have it: {name}: {where}")
