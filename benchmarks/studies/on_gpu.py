"""`python -m aerocam.benchmarks.studies.on_gpu`: what only a machine with an NVIDIA GPU can show, as one page.

Each step runs in a process of its own, so that one that crashes or hangs becomes a row of the page like any other. A
step whose parts are absent is a row "not run", with the reason and the command that brings them. The exit code is 0
where no step failed, 1 where one failed, and 3 where there is no GPU and nothing was shown.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import logging
import multiprocessing
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from aerocam import __version__
from aerocam.benchmarks.device.record import anonymous
from aerocam.benchmarks.studies import gpu_steps as steps
from aerocam.benchmarks.studies.gpu_steps import HEADS, LIMIT, Network, NotRunError, Outcome, Row, attempt
from aerocam.errors import AerocamError
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
class Task:
    """A step that runs in one process: its subject, the parts it needs, and what gives the outcome of each case."""

    step: str
    subject: str
    needs: tuple[str, ...]
    cases: Mapping[str, Callable[[], Outcome]]

    def named(self, case: str) -> str:
        """Return the name of a case on the page."""
        return ", ".join(part for part in (self.subject, case) if part)


def find_gpu() -> dict[str, str]:
    """Ask the driver's library for the first GPU.

    Returns:
        `name`, `compute capability`, `driver` (its version, where NVIDIA's management library is there) and `CUDA`, the
        latest version that the driver runs; or the `reason` for none.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"reason": f"no NVIDIA driver ({error})"}
    count, value, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if (code := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        return {"reason": f"NVIDIA's driver shows no GPU (CUDA error {code})"}
    capability = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, and _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
        capability.append(str(value.value))
    driver.cuDeviceGetName(name, len(name), 0)
    driver.cuDriverGetVersion(ctypes.byref(value))
    version = f"{value.value // 1000}.{value.value % 1000 // 10}"
    found = {"name": name.value.decode(errors="replace"), "compute capability": ".".join(capability), "CUDA": version}
    with suppress(OSError):  # a Jetson may have no such library
        management = ctypes.CDLL("libnvidia-ml.so.1")
        if not (management.nvmlInit_v2() or management.nvmlSystemGetDriverVersion(name, len(name))):
            found["driver"] = name.value.decode(errors="replace")
    return found


def lacking(needs: Iterable[str], gpu: Mapping[str, str], doctor: Mapping[str, Any]) -> str:
    """Return which of the parts that are needed are absent, why, and the commands that bring them; empty: none is.

    Without a GPU nothing else is worth bringing, and nothing else is named.
    """
    ort, tensorrt, packages = doctor["probes"]["onnxruntime"], doctor["probes"]["tensorrt"], installed()
    absent = [name for name in ("onnx", "onnx_ir", "onnxscript") if importlib.util.find_spec(name) is None]
    shown = f"{ort['version']} has only {', '.join(ort['providers'])}" if ort["state"] == "found" else ort["reason"]
    reasons: dict[str, str | None] = {
        GPU: gpu.get("reason"),
        CUDA: None if CUDA in ort.get("providers", ()) else f"no {CUDA}: ONNX Runtime {shown}",
        EXPORTER: f"{', '.join(absent)}: not installed" if absent else None,
        TENSORRT: None if tensorrt["state"] == "found" else f"TensorRT: {tensorrt['reason']}",
        PACKAGE: None if packages else "neither cuda-python nor pycuda is installed",
        **{name: None if name in packages else f"{name} is not installed" for name in PACKAGES},
    }
    parts = [GPU] if reasons[GPU] else [part for part in needs if reasons[part]]
    return "; ".join(f"{reasons[part]} [{COMMANDS[part]}]" for part in parts)


def tasks(models: Path | None, folder: Path) -> list[Task]:
    """Return every step after the first, in order: builds come before what runs engines.

    Args:
        models: Folder of plain .onnx files; None: the zoo's networks.
        folder: Where exports and engines are kept.
    """
    heads = [steps.TENSORS]
    with suppress(AerocamError):  # without the exporter no step needs its heads
        from aerocam.export import CAM_HEADS

        heads += CAM_HEADS
    cuda, trt = (GPU, CUDA, EXPORTER), (GPU, TENSORRT, EXPORTER)
    planned = [Task("memory", one, (GPU, one), {"": partial(steps.exercise_memory, one)}) for one in PACKAGES]
    for name in [steps.LITE0, steps.RESNET] if models is None else sorted(path.stem for path in models.glob("*.onnx")):
        network = Network(name, models, folder)
        runs = {one: {head: partial(steps.run_engine, network, head, one, False) for head in HEADS} for one in PACKAGES}
        runs["cuda-python"]["gradcam, as a CUDA graph"] = partial(
            steps.run_engine, network, "gradcam", "cuda-python", True
        )
        planned += [
            Task("speed", name, cuda, {"": partial(steps.measure_speed, network)}),
            Task("maps", name, cuda, {head: partial(steps.compare_maps, network, head) for head in heads}),
            Task("build", name, (*trt, PACKAGE), {head: partial(steps.build_engine, network, head) for head in HEADS}),
            *(Task("session", f"{name}, {one}", (*trt, one), runs[one]) for one in PACKAGES),
            Task("check --device", f"{name}, {CUDA}", cuda, {"": partial(steps.check_device, network, False)}),
            Task(
                "check --device", f"{name}, engine", (*trt, PACKAGE), {"": partial(steps.check_device, network, True)}
            ),
        ]
    return planned


def run_apart(task: Task, limit: float = LIMIT) -> list[Row]:
    """Run a task in a process of its own, and return a row for each of its cases, whatever becomes of the process.

    Args:
        task: What to run; its cases must be picklable.
        limit: Seconds without an answer after which the process is ended.
    """
    spawn = multiprocessing.get_context("spawn")
    answers, answering = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_answer, args=(answering, task))
    process.start()
    answering.close()
    rows: list[Row] = []
    try:
        while answers.poll(limit):
            rows.append(answers.recv())
        ended = f"no answer within {limit:g} s"
    except EOFError:
        process.join()
        ended = f"its process ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    for number, case in enumerate(list(task.cases)[len(rows) :]):
        state, said = ("not run", "the case before it ended the process of this step") if number else ("failed", ended)
        rows.append(Row(task.step, task.named(case), state, said))  # type: ignore[arg-type]
    return rows


def _answer(answering: Any, task: Task) -> None:
    """Send a row for each case of a task; what the process of `run_apart` does."""
    logging.getLogger("aerocam").setLevel(logging.WARNING)
    with suppress(Exception):  # CUDA and cuDNN of pip are found by it alone; where it fails the sessions say so
        import onnxruntime

        if CUDA in onnxruntime.get_available_providers():
            onnxruntime.preload_dlls()
    for case, work in task.cases.items():
        answering.send(attempt(task.step, task.named(case), work))


def look(gpu: Mapping[str, str], doctor: Mapping[str, Any]) -> Outcome:
    """Say which GPU and which driver there are; the first step.

    Raises:
        NotRunError: The machine has no GPU.
    """
    if reason := lacking([GPU], gpu, doctor):
        raise NotRunError(reason)
    driver = gpu.get("driver") or doctor["probes"]["driver"].get("version") or "not shown"
    said = f"{gpu['name']}, compute capability {gpu['compute capability']}, driver {driver}, CUDA {gpu['CUDA']}"
    return True, said, dict(gpu)


def versions(doctor: Mapping[str, Any]) -> str:
    """Return the versions of the packages that count here."""
    probes = doctor["probes"]
    shown = {"onnxruntime": probes["onnxruntime"].get("version", "absent")}
    shown[probes["tensorrt"].get("module", "tensorrt")] = probes["tensorrt"].get("version", "absent")
    shown |= dict.fromkeys(PACKAGES, "absent") | probes["cuda_packages"].get("versions", {})
    shown["numpy"] = probes["numpy"].get("version", "absent")
    return ", ".join(f"{name} {version}" for name, version in shown.items())


def measure(models: Path | None) -> dict[str, Any]:
    """Do all steps; return the record (JSON-able), which names no folder of this machine."""
    gpu, doctor = find_gpu(), examine()
    rows = [attempt("machine", "", partial(look, gpu, doctor))]
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks(models, Path(folder)):
            reason = lacking(task.needs, gpu, doctor)
            found = [Row(task.step, task.subject, "not run", reason)] if reason else run_apart(task)
            for row in found:
                print(f"{row.step}, {row.case}: {row.state}: {row.said}", flush=True)
            rows += found
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
    print(
        f"written: {args.out / PAGE} and {kept}; please commit them"
        if code != NO_GPU
        else f"written: {args.out / PAGE}"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
