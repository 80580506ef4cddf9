"""`aerocam check --device`: an engine against ONNX Runtime on the device, and a report to send back."""

from __future__ import annotations

import argparse
import json
from itertools import chain, count
from pathlib import Path
from typing import Any

from aerocam.cli.arguments import argument, group, one_blas_thread
from aerocam.cli.flags import with_flags
from aerocam.cli.stopping import INTERRUPTED, interrupt_on_signal
from aerocam.errors import UsageError

ITERATIONS = 50
"""Timed rounds, where nobody says how many."""

DEVICE = group("on a device",
    argument("--device", action="store_true",
        help="MODEL is an .onnx file of `aerocam export`, EXPORTED the engine built of it (default: MODEL with .engine"
        " for .onnx); compare the two, measure, and write a report to send back; needs no onnx"),
    argument("--onnx", metavar="FILE", help="the .onnx file, where MODEL is the engine"),
    argument("--plain", metavar="FILE", help="the plain model as an engine, to compare times with"),
    argument("--image", metavar="FILE", help="a picture to run on besides noise"),
    argument("--method", metavar="NAME", help="CAM method (default: the model's own)"),
    argument("--iterations", type=int, metavar="N", help=f"timed rounds (default: {ITERATIONS})"),
    argument("-o", "--out", metavar="DIR", help="folder for the report (default: this one)"),
)  # fmt: skip
"""The arguments that only `--device` takes."""


def refuse_device_arguments(args: argparse.Namespace) -> None:
    """Refuse the arguments that only `--device` takes if it is absent.

    Raises:
        UsageError: One of these arguments was given.
    """
    for name in ("onnx", "plain", "image", "method", "iterations", "out"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name}: it is for a check on a device; add --device, or leave it out")


def run(args: argparse.Namespace, providers: list[Any] | None) -> int:
    """Check, write the report and print the outcome; return 1 unless all agrees, 130 if interrupted."""
    one_blas_thread()
    from aerocam.benchmarks.device import check_device
    from aerocam.benchmarks.latency.timing import Protocol
    from aerocam.files import make_folder, write_together

    if args.input_shape:
        raise UsageError("--input-shape: a check on a device takes the exported model's own; leave it out")
    model, engine = _files(args, providers)
    if providers is not None and engine is not None and engine.suffix != ".onnx":
        raise UsageError(f"--providers: they are ONNX Runtime's, and {engine} runs on TensorRT; leave one of them out")
    plain, image = (Path(name) if name else None for name in (args.plain, args.image))
    for path in (model, plain, image):  # an engine that is absent is in the report
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file; give files that are here")
    _require_exported(model, engine)
    _refuse_itself(model, engine, providers)
    protocol = Protocol(ITERATIONS if args.iterations is None else args.iterations)
    folder = Path(args.out or ".")
    make_folder(folder)
    with interrupt_on_signal():
        report = check_device(
            model,
            engine,
            providers=providers,
            plain=plain,
            picture=image,
            method=args.method,
            protocol=protocol,
            say=(lambda text: None) if args.quiet else lambda text: print(f"{text} ..."),
        )
    path = _unused(folder / report.name)
    write_together({path: (json.dumps(report.record, indent=1, ensure_ascii=False) + "\n").encode()})
    print(with_flags(as_text(report.told)))
    print(f"written: {path}; it names no user, host, serial number or folder of yours: please send it back")
    return INTERRUPTED if report.interrupted else 0 if report.verdict == "agrees" else 1


def _unused(path: Path) -> Path:
    """Return this path, or one beside it with a number, so that reports of one second do not replace each other."""
    others = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(free for free in chain([path], others) if not free.exists())


def _require_exported(model: Path, engine: Path | None) -> None:
    """Refuse files that `aerocam export` did not write: a report of them says nothing."""
    from aerocam.onnx_metadata import read_manifest

    for path in (model, engine):
        if path is not None and path.suffix == ".onnx" and path.is_file():
            read_manifest(path)


def _refuse_itself(model: Path, other: Path | None, providers: list[Any] | None) -> None:
    """Refuse to compare ONNX Runtime on the CPU with itself."""
    names = [
        provider if isinstance(provider, str) else provider[0] for provider in providers or ["CPUExecutionProvider"]
    ]
    same = other.resolve() == model.resolve() if other is not None else providers is not None
    if same and names[:1] == ["CPUExecutionProvider"]:
        raise UsageError(
            f"{model}: ONNX Runtime on the CPU would be compared with itself; give an engine, or --providers of a GPU,"
            " as in --providers CUDAExecutionProvider,CPUExecutionProvider"
        )


def _files(args: argparse.Namespace, providers: list[Any] | None) -> tuple[Path, Path | None]:
    """Return the .onnx file and the engine, in whichever order they were given."""
    if args.onnx is not None:
        if args.exported is not None:
            raise UsageError("--onnx: MODEL is the engine then, and there is no third file; leave EXPORTED out")
        return Path(args.onnx), Path(args.model)
    model = Path(args.model)
    if model.suffix != ".onnx":
        raise UsageError(f"{model}: give the .onnx file that it was built of as well: --onnx FILE")
    if args.exported is not None:
        return model, Path(args.exported)
    beside = model.with_suffix(".engine")
    return model, beside if beside.is_file() and providers is None else None


def as_text(record: dict[str, Any]) -> str:
    """Return the outcome for people."""
    compared, reference = record.get("compared", "the engine"), "ONNX Runtime on the CPU"
    lines = [f"{step['name']}: failed: {step['reason']}" for step in record["steps"] if step["state"] == "failed"]
    for case in record.get("comparisons", []):
        lines.append(f"{case['input']}:")
        lines += [f"  {_difference(difference)}" for difference in case["differences"]]
        own = case.get("own choice", {})
        if own and own["reference"] != own["engine"]:
            lines.append(f"  its own choice is {own['engine']}, not {own['reference']}; the rest is of the latter")
    for name, speed in record.get("speed", {}).items():
        lines += _speed(reference if name == "reference" else compared, speed)
    verdicts = {
        "agrees": f"{compared} agrees with {reference}",
        "differs": f"{compared} DIFFERS from {reference} by more than its bounds",
        "incomplete": "not everything could be checked: see above",
    }
    if record["interrupted"]:
        lines.append("interrupted: the report has what was done until then")
    lines.append(f"{verdicts[record['verdict']]} (bounds for {record.get('precision', 'float32')})")
    return "\n".join(lines)


def _difference(difference: dict[str, Any]) -> str:
    """Return one line on how far one array is off."""
    if difference["kind"] == "choice":
        said = "equal" if difference["good"] else "another choice"
    elif difference["absolute"] is None:
        said = "not finite"
    else:
        relative = "" if difference["relative"] is None else f", {difference['relative']:.2g} of the largest"
        correlated = "" if difference["correlation"] is None else f", correlation {difference['correlation']:.5f}"
        said = f"differs by at most {difference['absolute']:.2g}{relative}{correlated}"
    return f"{'ok ' if difference['good'] else 'BAD'} {difference['name']}: {said}"


def _speed(name: str, speed: dict[str, Any]) -> list[str]:
    """Return lines on the times of a session."""
    lines = []
    for what, stages in speed["milliseconds"].items():
        told = ", ".join(f"{stage} {figures['p50']:.2f}" for stage, figures in stages.items() if stage != "all")
        p50, p90, p99 = (stages["all"][p] for p in ("p50", "p90", "p99"))
        parts = f" (of it at p50: {told})" if len(stages) > 2 else ""
        lines.append(f"{name}, {what}: p50 {p50:.2f} ms, p90 {p90:.2f}, p99 {p99:.2f}{parts}")
    if "ratio to plain" in speed:
        quartiles = speed["ratio to plain"]
        spread = f"quartiles {quartiles['q1']:.3f} to {quartiles['q3']:.3f}"
        lines.append(f"{name}, explained / plain: {quartiles['median']:.3f} ({spread})")
    rates = ", ".join(f"{rate:.1f}/s with {depth} under way" for depth, rate in speed["throughput"].items())
    return [*lines, f"{name}, throughput: {rates}"]
