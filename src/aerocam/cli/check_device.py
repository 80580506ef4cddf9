"""`aerocam check --device`: an engine against ONNX Runtime on the device, and a report to send back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aerocam.cli.arguments import one_blas_thread
from aerocam.errors import UsageError


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only `--device` takes."""
    group = parser.add_argument_group("on a device")
    group.add_argument(
        "--device",
        action="store_true",
        help="MODEL is an .onnx file of `aerocam export`, EXPORTED the engine built of it (default: MODEL with .engine"
        " for .onnx); compare the two, measure, and write a report to send back; needs no onnx",
    )
    group.add_argument("--onnx", metavar="FILE", help="the .onnx file, where MODEL is the engine")
    group.add_argument("--plain", metavar="FILE", help="the plain model as an engine, to compare times with")
    group.add_argument("--image", metavar="FILE", help="a picture to run on besides noise")
    group.add_argument("--method", metavar="NAME", help="CAM method (default: the model's own)")
    group.add_argument("--iterations", type=int, default=50, metavar="N", help="timed rounds (default: 50)")
    group.add_argument("-o", "--out", metavar="DIR", default=".", help="folder for the report (default: this one)")


def run(args: argparse.Namespace, providers: list[Any] | None) -> int:
    """Check, write the report, say what came out; 1 unless all agrees."""
    one_blas_thread()
    from aerocam.benchmarks.device import check_device
    from aerocam.benchmarks.latency import Protocol
    from aerocam.files import make_folder, write_together

    model, engine = _files(args, providers)
    if providers is not None and engine is not None and engine.suffix != ".onnx":
        raise UsageError(f"--providers: they are ONNX Runtime's, and {engine} runs on TensorRT; leave one of them out")
    plain, image = (Path(name) if name else None for name in (args.plain, args.image))
    for path in (model, plain, image):  # an engine that is absent is in the report
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file; give files that are here")
    protocol = Protocol(args.iterations)
    make_folder(Path(args.out))
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
    path = Path(args.out) / report.name
    write_together({path: (json.dumps(report.record, indent=1, ensure_ascii=False) + "\n").encode()})
    print(as_text(report.record))
    print(f"written: {path}; it names no user, host, folder or serial number: please send it back")
    return 0 if report.verdict == "agrees" else 1


def _files(args: argparse.Namespace, providers: list[Any] | None) -> tuple[Path, Path | None]:
    """The .onnx file and the engine, in whichever order they were given."""
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
    """What came out, for people."""
    lines = [f"{step['name']}: failed: {step['reason']}" for step in record["steps"] if step["state"] == "failed"]
    for case in record.get("comparisons", []):
        lines.append(f"{case['input']}:")
        lines += [f"  {_difference(one)}" for one in case["differences"]]
        own = case.get("own choice", {})
        if own and own["reference"] != own["engine"]:
            lines.append(f"  its own choice is {own['engine']}, not {own['reference']}; the rest is of the latter")
    for name, speed in record.get("speed", {}).items():
        lines += _speed(name, speed)
    verdicts = {
        "agrees": "the engine agrees with ONNX Runtime on the CPU",
        "differs": "the engine DIFFERS from ONNX Runtime on the CPU by more than its bounds",
        "incomplete": "not everything could be checked: see above",
    }
    lines.append(f"{verdicts[record['verdict']]} (bounds for {record.get('precision', 'float32')})")
    return "\n".join(lines)


def _difference(one: dict[str, Any]) -> str:
    """One line on one array."""
    if one["kind"] == "choice":
        said = "equal" if one["good"] else "another choice"
    elif one["absolute"] is None:
        said = "not finite"
    else:
        relative = "" if one["relative"] is None else f", {one['relative']:.2g} of the largest"
        correlated = "" if one["correlation"] is None else f", correlation {one['correlation']:.5f}"
        said = f"differs by at most {one['absolute']:.2g}{relative}{correlated}"
    return f"{'ok ' if one['good'] else 'BAD'} {one['name']}: {said}"


def _speed(name: str, speed: dict[str, Any]) -> list[str]:
    """Lines on what a session takes."""
    lines = []
    for what, stages in speed["milliseconds"].items():
        told = ", ".join(f"{stage} {figures['p50']:.2f}" for stage, figures in stages.items() if stage != "all")
        p50, p90, p99 = (stages["all"][p] for p in ("p50", "p90", "p99"))
        parts = f" (of it at p50: {told})" if len(stages) > 2 else ""
        lines.append(f"{name}, {what}: p50 {p50:.2f} ms, p90 {p90:.2f}, p99 {p99:.2f}{parts}")
    if "ratio to plain" in speed:
        found = speed["ratio to plain"]
        lines.append(
            f"{name}, explained / plain: {found['median']:.3f} (quartiles {found['q1']:.3f} to {found['q3']:.3f})"
        )
    rates = ", ".join(f"{rate:.1f}/s with {depth} under way" for depth, rate in speed["throughput"].items())
    return [*lines, f"{name}, throughput: {rates}"]
