"""`python -m aerocam.benchmarks.studies.on_gpu`: what only a machine with an NVIDIA GPU can show, as one page.

Each case runs in a process of its own, so that one that crashes or hangs becomes a row of the page like any other. A
step whose parts are absent is a row "not run", with the reason and the command that brings them. The exit code is 0
where no step failed, 1 where one failed, and 3 where there is no GPU and nothing was shown.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from aerocam import __version__, methods
from aerocam.benchmarks.device.record import anonymous
from aerocam.benchmarks.studies import gpu_steps as steps
from aerocam.benchmarks.studies.gpu_steps import HEADS, Network, Outcome, Row, attempt, run_apart
from aerocam.files import make_folder, write_together
from aerocam.providers import CUDA
from aerocam.runtime.cuda.choice import INSTALL, PACKAGES, installed
from aerocam.runtime.doctor import examine

FOLDER, RECORD, PAGE = Path("benchmarks/studies/results"), "gpu.json", "gpu.md"
STEP_FAILED, NO_GPU = 1, 3
"""Exit codes."""

GPU, EXPORTER, TENSORRT, PACKAGE = "GPU", "exporter", "TensorRT", "a package for CUDA"
COMMANDS = {
    GPU: "run `make gpu` on a machine with an NVIDIA GPU and its driver",
    CUDA: "python3 -m pip uninstall -y onnxruntime && python3 -m pip install 'onnxruntime-gpu[cuda,cudnn]'; on a Jetson"
    " see docs/jetson.md",
    EXPORTER: "python3 -m pip install '.[export]'",
    TENSORRT: "python3 -m pip install tensorrt; on a Jetson: sudo apt install python3-libnvinfer",
    PACKAGE: "; or ".join(INSTALL[name] for name in PACKAGES),
    **INSTALL,
}
"""What brings each part that a step may need."""

NOTE = (
    "Ratios are medians of ratios taken round by round, with their quartiles. Maps and engines are compared with ONNX"
    " Runtime on the CPU. Commands that bring what is absent are in brackets."
)
"""What the page says of its figures."""


@dataclass(frozen=True)
class Case:
    """A step on one case: its subject, what of it, the parts it needs, and what gives the outcome."""

    step: str
    subject: str
    detail: str
    needs: tuple[str, ...]
    work: partial[Outcome]

    def row(self, absent: str) -> Row:
        """Return the outcome; of what lacks a part, `absent` says which, one row for all cases of the subject."""
        if absent:
            return Row(self.step, self.subject, "not run", absent)
        return run_apart(self.step, ", ".join(filter(None, (self.subject, self.detail))), self.work)


def gpu_of(doctor: Mapping[str, Any]) -> dict[str, str]:
    """Return the doctor's findings on the first GPU: `name`, `compute capability`, `driver`; or the `reason` for none.

    Name and compute capability are what a package for CUDA shows of them.
    """
    driver, cuda = (doctor["probes"][name] for name in ("driver", "cuda"))
    if "found" not in (driver["state"], cuda["state"]):
        return {"reason": driver["reason"]}
    capability = cuda.get("compute_capability", "not shown")
    shown = {"name": cuda.get("device", "an NVIDIA GPU"), "compute capability": capability}
    return {**shown, "driver": driver.get("version") or "not shown"}


def lacking(needs: Iterable[str], doctor: Mapping[str, Any]) -> str:
    """Return which of the parts that are needed are absent, why, and the commands that bring them; empty: none is.

    Without a GPU nothing else is worth bringing, and nothing else is named.
    """
    ort, tensorrt, packages = doctor["probes"]["onnxruntime"], doctor["probes"]["tensorrt"], installed()
    absent = [name for name in ("onnx", "onnx_ir", "onnxscript") if importlib.util.find_spec(name) is None]
    shown = f"{ort['version']} has only {', '.join(ort['providers'])}" if ort["state"] == "found" else ort["reason"]
    reasons: dict[str, str | None] = {
        GPU: gpu_of(doctor).get("reason"),
        CUDA: None if CUDA in ort.get("providers", ()) else f"no {CUDA}: ONNX Runtime {shown}",
        EXPORTER: f"{', '.join(absent)}: not installed" if absent else None,
        TENSORRT: None if tensorrt["state"] == "found" else f"TensorRT: {tensorrt['reason']}",
        PACKAGE: None if packages else "neither cuda-python nor pycuda is installed",
        **{name: None if name in packages else f"{name} is not installed" for name in PACKAGES},
    }
    parts = [GPU] if reasons[GPU] else [part for part in needs if reasons[part]]
    return "; ".join(f"{reasons[part]} [{COMMANDS[part]}]" for part in parts)


def cases(models: Path | None, folder: Path) -> Iterator[Case]:
    """Yield every step after the first on each of its cases, in order: builds come before what runs engines.

    Args:
        models: Folder of plain .onnx files; None: the zoo's networks.
        folder: Where exports and engines are kept.
    """
    cuda, trt = (GPU, CUDA, EXPORTER), (GPU, TENSORRT, EXPORTER)
    for one in PACKAGES:
        yield Case("memory", one, "", (GPU, one), partial(steps.exercise_memory, one))
    for name in [steps.LITE0, steps.RESNET] if models is None else sorted(path.stem for path in models.glob("*.onnx")):
        network = Network(name, models, folder)
        yield Case("speed", name, "", cuda, partial(steps.measure_speed, network))
        for head in (steps.TENSORS, *(head for head in methods.HEADS if head not in methods.OF_TAIL)):
            yield Case("maps", name, head, cuda, partial(steps.compare_maps, network, head))
        for head in HEADS:
            yield Case("build", name, head, (*trt, PACKAGE), partial(steps.build_engine, network, head))
        runs = [(one, head, False) for one in PACKAGES for head in HEADS] + [(PACKAGES[0], "gradcam", True)]
        for one, head, capture in runs:
            detail, work = head + ", as a CUDA graph" * capture, partial(steps.run_engine, network, head, one, capture)
            yield Case("session", f"{name}, {one}", detail, (*trt, one), work)
        for subject, needs in ((CUDA, cuda), ("engine", (*trt, PACKAGE))):
            work = partial(steps.check_device, network, subject == "engine")
            yield Case("check --device", f"{name}, {subject}", "", needs, work)


def look(doctor: Mapping[str, Any]) -> Outcome:
    """Say which GPU and which driver there are; the first step.

    Raises:
        NotRunError: The machine has no GPU.
    """
    if reason := lacking([GPU], doctor):
        raise steps.NotRunError(reason)
    gpu = gpu_of(doctor)
    return True, f"{gpu['name']}, compute capability {gpu['compute capability']}, driver {gpu['driver']}", gpu


def versions(doctor: Mapping[str, Any]) -> str:
    """Return the versions of the packages that count here."""
    probes = doctor["probes"]
    named = {probes[name].get("module", name): probes[name].get("version") for name in ("onnxruntime", "tensorrt")}
    packages = {name: probes["cuda_packages"].get("versions", {}).get(name) for name in PACKAGES}
    shown = {**named, **packages, "numpy": probes["numpy"].get("version")}
    return ", ".join(f"{name} {version or 'absent'}" for name, version in shown.items())


def measure(models: Path | None) -> dict[str, Any]:
    """Do all steps; return the record (JSON-able), which names no folder of this machine."""
    doctor = examine()
    gpu, rows = gpu_of(doctor), [attempt("machine", "", partial(look, doctor))]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(models, Path(folder)):
            row = case.row(lacking(case.needs, doctor))
            if row not in rows:
                print(f"{row.step}, {row.case}: {row.state}: {row.said}", flush=True)
                rows.append(row)
        record = {
            "aerocam": __version__,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "gpu": gpu,
            "versions": versions(doctor),
            "rows": [asdict(row) for row in rows],
            **({} if "reason" in gpu else {"doctor": doctor}),
        }
        return dict(anonymous(record, [Path(folder), *([models.resolve()] if models else [])]))


def exit_code(record: Mapping[str, Any]) -> int:
    """Return 3 without a GPU, 1 where a step failed, else 0."""
    if "reason" in record["gpu"]:
        return NO_GPU
    return STEP_FAILED if any(row["state"] == "failed" for row in record["rows"]) else 0


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page; its first sentence says what has run on a GPU, or that nothing has."""
    rows, written = record["rows"], f"`make gpu` wrote this page and `{RECORD}` on {record['date']}"
    counts = Counter(row["state"] for row in rows[1:])
    counted = f"{counts['passed']} cases passed, {counts['failed']} failed, {counts['not run']} did not run"
    if counts["passed"] + counts["failed"]:
        head = f"{written}: {rows[0]['said']}. **{counted}**; what did not run shows nothing."
    else:
        head = f"**Nothing of this has run on a GPU yet.** {written}, where no step could run; each row says why."
    lines = ["# What only a GPU can show", ""]
    for text in (head, f"Versions: {record['versions']}.", NOTE):
        lines += [textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False), ""]
    lines += ["| step | case | state | |", "|---|---|---|---|"]
    cells = ([row[key].replace("|", "\\|") for key in ("step", "case", "state", "said")] for row in rows)
    lines += [f"| {' | '.join(one)} |" for one in cells]
    for row in rows:
        if row["step"] == "check --device" and row["figures"]:
            lines += ["", f"## {row['step']}: {row['case']}", "", "```", row["figures"]["text"], "```"]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Do all steps, write the record and the page, and return the exit code.

    A page with figures of a GPU is left as it is where there is none.
    """
    parser = argparse.ArgumentParser(prog="on_gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help=f"default: {FOLDER}")
    parser.add_argument("--models", type=Path, metavar="DIR", help="plain .onnx files, in place of the zoo's networks")
    args = parser.parse_args(argv)
    if args.models is not None and not any(args.models.glob("*.onnx")):
        parser.error(f"--models {args.models}: it has no .onnx file; name a folder of plain networks")
    record, kept = measure(args.models), args.out / RECORD
    code = exit_code(record)
    if code == NO_GPU and kept.is_file() and "name" in json.loads(kept.read_text(encoding="utf-8"))["gpu"]:
        print(f"no GPU here; {kept} and its page have figures of one, and are left as they are")
        return code
    make_folder(args.out)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_together({kept: text.encode(), args.out / PAGE: page(record).encode()})
    print(f"written: {args.out / PAGE}" + (f" and {kept}; please commit them" if code != NO_GPU else ""))
    return code


if __name__ == "__main__":
    sys.exit(main())
