"""What is measured and compared on an NVIDIA GPU: a function for each step of `on_gpu`, to be run where its parts are.

Each gives an `Outcome` for one case, or raises; `attempt` makes a row of either, and `run_apart` does so in a process
of its own, so that one that crashes or hangs becomes a row like any other.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aerocam.benchmarks.device.agreement import compare_sessions
from aerocam.benchmarks.device.differences import TOLERANCES
from aerocam.benchmarks.latency.timing import Protocol, alternate, noise, open_plain, percentiles, ratio, timed
from aerocam.errors import AerocamError, EngineError, ModelError
from aerocam.providers import CPU, CUDA, described, require_available, with_defaults
from aerocam.runtime import open_session
from aerocam.runtime.cuda.choice import open_cuda

ON_CUDA = [CUDA, CPU]
PROTOCOL = Protocol(iterations=100, warmup=10)
BOUNDS = TOLERANCES["float32"]
LITE0, RESNET = "EfficientNet-Lite0", "ResNet-50 with random weights"
PLAIN, TENSORS = "plain", "activations and gradients"
HEADS = ("gradcam", "cfcam")
"""The heads that are timed, and that engines are built of."""

LIMIT = 1800.0
"""Seconds within which a step must end; building an engine takes minutes."""

Outcome = tuple[bool, str, Any]
"""Whether a case is as it should be, what to say of it, and its figures (JSON-able)."""


class NotRunError(Exception):
    """A case cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Row:
    """The outcome of one case of a step."""

    step: str
    case: str
    state: Literal["passed", "failed", "not run"]
    said: str
    figures: Any = None


@dataclass(frozen=True)
class Network:
    """A plain network: one of the zoo, or a file of `models`; what is exported of it is kept in `folder`."""

    name: str
    models: Path | None
    folder: Path

    def plain(self) -> tuple[Path, dict[str, Any]]:
        """Return its file, and what `export_model` is told of it.

        Raises:
            NotRunError: The network cannot be fetched.
        """
        if self.models is not None:
            return self.models / f"{self.name}.onnx", {}
        absent = self.folder / f"{self.name}.absent"  # without a network each attempt to fetch takes a while
        if absent.exists():
            raise NotRunError(absent.read_text(encoding="utf-8"))
        try:
            import onnx

            from aerocam.benchmarks import zoo

            if self.name == LITE0:
                return zoo.lite0.model(), {"preprocess": zoo.lite0.PREPROCESS}
            path = self.folder / "resnet50.onnx"
            if not path.exists():
                onnx.save(zoo.light.with_random_weights("light_resnet50"), path)
            return path, {}
        except (AerocamError, OSError) as error:
            said = f"it cannot be had: {one_line(error)}; or give files of your own by --models"
            absent.write_text(said, encoding="utf-8")
            raise NotRunError(said) from error

    def exported(self, head: str, destination: Literal["onnxruntime", "tensorrt"] = "onnxruntime") -> Path:
        """Return its file with a head, or with its `TENSORS` as outputs; it is exported the first time.

        Raises:
            NotRunError: The export refuses the network, or it cannot be fetched.
        """
        from aerocam.export import export_model

        path = self.folder / f"{self.name}.{head}.{destination}.cam.onnx".replace(" ", "-")
        if not path.exists():
            plain, options = self.plain()
            chosen = None if head == TENSORS else head
            try:
                export_model(plain, path, head=chosen, destination=destination, check=False, **options)
            except AerocamError as error:
                raise NotRunError(f"the export refuses it: {one_line(error)}") from error
        return path

    def engine(self, head: str) -> Path:
        """Return the engine of its export for TensorRT.

        Raises:
            NotRunError: The engine was not built.
        """
        path = self.exported(head, "tensorrt").with_suffix(".engine")
        if not path.is_file():
            raise NotRunError("there is no engine; its build has a row above")
        return path


def run_apart(step: str, case: str, work: Callable[[], Outcome], limit: float = LIMIT) -> Row:
    """Do a step on one case in a process of its own; whatever becomes of that is a row.

    Args:
        step: Name of the step.
        case: Name of the case.
        work: What to do; it must be picklable.
        limit: Seconds without an answer after which the process is ended.
    """
    command = [sys.executable, "-c", f"from {__name__} import answer; answer()"]
    given = pickle.dumps((step, case, work))
    try:
        done = subprocess.run(command, input=given, stdout=subprocess.PIPE, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Row(step, case, "failed", f"no answer within {limit:g} s")
    if done.returncode or not done.stdout:
        return Row(step, case, "failed", f"its process ended with code {done.returncode}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def answer() -> None:
    """Print the row of the case that comes through standard input; what the process of `run_apart` does."""
    logging.getLogger("aerocam").setLevel(logging.WARNING)
    with suppress(Exception):  # CUDA and cuDNN of pip are found by it alone; where it fails the sessions say so
        import onnxruntime

        if CUDA in onnxruntime.get_available_providers():
            onnxruntime.preload_dlls()
    print(json.dumps(asdict(attempt(*pickle.load(sys.stdin.buffer)))))


def one_line(text: object) -> str:
    """Return a text or an error on one line."""
    return " ".join(str(text).split())


def attempt(step: str, case: str, work: Callable[[], Outcome]) -> Row:
    """Do a step on one case; whatever it raises becomes a row too."""
    try:
        good, said, figures = work()
    except NotRunError as error:
        return Row(step, case, "not run", one_line(error))
    except Exception as error:  # whatever it is, the page has it and the other cases go on
        return Row(step, case, "failed", f"{type(error).__name__}: {one_line(error)}")
    return Row(step, case, "passed" if good else "failed", said, figures)


def open_on_cuda(path: Path, **options: Any) -> Any:
    """Open an ONNX Runtime session on `ON_CUDA`; `options` are those of `open_plain`.

    Raises:
        AerocamError: ONNX Runtime does not have the provider, or does not start it.
    """
    import onnxruntime

    require_available(ON_CUDA, onnxruntime.get_available_providers(), onnxruntime.__version__)
    session = open_plain(path, providers=with_defaults(ON_CUDA, onnxruntime.__version__), **options)
    if ON_CUDA[0] not in session.get_providers():
        raise ModelError(f"ONNX Runtime does not start {ON_CUDA[0]}; its log lines above say why")
    return session


def measure_speed(network: Network) -> Outcome:
    """Time the plain network and its fused heads alternately on the CUDA provider."""
    import onnxruntime

    paths = {PLAIN: network.plain()[0], **{head: network.exported(head) for head in HEADS}}
    sessions = {name: open_on_cuda(path) for name, path in paths.items()}
    calls = {name: timed(partial(session.run, None, noise(session))) for name, session in sessions.items()}
    times = {name: samples.total() for name, samples in alternate(calls, PROTOCOL).items()}
    given = with_defaults(ON_CUDA, onnxruntime.__version__)
    on, (said, figures) = described(given, sessions[PLAIN].get_providers()), compare_times(times)
    return True, f"{said}; on {', '.join(on)}", {"providers": on, **figures}


def compare_times(times: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Compare times in ms by name, round by round: what to say, and the quartiles of the ratios to `PLAIN`."""
    ratios = {name: ratio(values, times[PLAIN]) for name, values in times.items() if name != PLAIN}
    middle = {name: percentiles(values) for name, values in times.items()}
    shown = (f"{name} {one['median']:.3f} ({one['q1']:.3f} to {one['q3']:.3f})" for name, one in ratios.items())
    said = f"plain {middle[PLAIN]['p50']:.2f} ms; over plain: {', '.join(shown)}"
    return said, {"rounds": len(times[PLAIN]), "milliseconds": middle, "ratio to plain": ratios}


def compare_maps(network: Network, head: str) -> Outcome:
    """Compare an export on the CUDA provider with the CPU; that no kernel ran on CUDA is a failure."""
    path = network.exported(head)
    profiled = open_on_cuda(path, enable_profiling=True, profile_file_prefix=str(network.folder / "profile"))
    profiled.run(None, noise(profiled))
    events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    kernels = Counter(one["args"]["provider"] for one in events if one["name"].endswith("_kernel_time"))
    with open_session(path) as reference, open_session(path, providers=ON_CUDA) as session:
        good, said, figures = judge(compare_sessions(reference, session, None, BOUNDS, None))
    said += f"; {kernels[ON_CUDA[0]]} of {kernels.total()} kernels ran on {ON_CUDA[0]}"
    return good and kernels[ON_CUDA[0]] > 0, said, {"kernels": kernels, **figures}


def judge(comparisons: Sequence[Mapping[str, Any]]) -> Outcome:
    """Judge what `compare_sessions` gave: the largest difference by kind of array, and its bound."""
    differences = [one for case in comparisons for one in case["differences"]]
    largest: dict[str, dict[str, Any]] = {}
    for one in differences:
        found = one["relative"] if one["kind"] in ("output", "gradient", "raw") else one["absolute"]
        entry = largest.setdefault(one["kind"], {"largest": 0.0, "bound": getattr(BOUNDS, one["kind"], None)})
        entry["largest"] = None if None in (found, entry["largest"]) else max(found, entry["largest"])
    shown = []
    for kind, one in largest.items():
        bound = "" if one["bound"] is None else f" (bound {one['bound']:g})"
        shown.append(f"{kind} {'not finite' if one['largest'] is None else format(one['largest'], '.2g')}{bound}")
    bad = dict.fromkeys(one["name"] for one in differences if not one["good"])
    said = f"largest differences: {', '.join(shown)}" + (f"; too large: {', '.join(bad)}" if bad else "")
    return bool(differences) and not bad, said, {"largest": largest, "comparisons": list(comparisons)}


def exercise_memory(package: str, size: int = (1 << 24) + 3) -> Outcome:
    """Copy bytes to the GPU and back through a CUDA package, on a stream and by a captured graph; ask for too much."""
    done = []
    with closing(open_cuda(package)) as cuda, cuda.current(), ExitStack() as undo:
        device, stream, event = cuda.device(), cuda.make_stream(), cuda.make_event()
        undo.callback(cuda.destroy_stream, stream)
        undo.callback(cuda.destroy_event, event)
        there, back, address = cuda.allocate_host(size), cuda.allocate_host(size), cuda.allocate(size)
        undo.callback(cuda.free, address)

        def copy() -> None:
            cuda.upload(address, there.array, stream)
            cuda.download(back.array, address, stream)

        ways: dict[str, Callable[[], None]] = {"on a stream": copy}
        if cuda.can_capture:
            cuda.begin_capture(stream)
            copy()
            graph = cuda.end_capture(stream)
            undo.callback(cuda.destroy_graph, graph)
            ways["by a captured graph"] = partial(cuda.launch, graph, stream)
        for seed, (way, start) in enumerate(ways.items()):
            there.array[:] = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
            start()
            cuda.record(event, stream)
            cuda.wait(event)
            if not np.array_equal(there.array, back.array):
                raise EngineError(f"{device.name}: {size} bytes came back altered {way}; the same were expected")
            done.append(f"{size} bytes went there and back {way}")
        try:
            cuda.free(cuda.allocate(2 * device.total_memory))
            raise EngineError(f"{device.name}: twice its memory was allocated; a refusal was expected")
        except EngineError as error:
            if "out of memory" not in str(error):
                raise
    done.append("twice the GPU's memory is refused")
    return True, f"{device.name}: {', '.join(done)}", asdict(device)


def call_aerocam(*arguments: str | Path) -> tuple[int, str]:
    """Run aerocam's command line; return its exit code, and what it printed but for the names of files."""
    command = [sys.executable, "-m", "aerocam", *map(str, arguments)]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, **streams, text=True, errors="replace", timeout=LIMIT - 60, check=False)
    return done.returncode, "\n".join(one for one in done.stdout.splitlines() if not one.startswith("written: "))


def build_engine(network: Network, head: str) -> Outcome:
    """Build an engine for the GPU of this machine by `aerocam build`."""
    code, text = call_aerocam("build", network.exported(head, "tensorrt"), "-q")
    return code == 0, f"exit code {code}: {one_line(text)}", {"exit code": code, "text": text}


def run_engine(network: Network, head: str, package: str, capture: bool) -> Outcome:
    """Compare an engine's session through a CUDA package with ONNX Runtime on the CPU."""
    from aerocam.runtime.trt.session import TensorRtSession

    engine = network.engine(head)
    with (
        open_session(network.exported(head, "tensorrt")) as reference,
        TensorRtSession(engine, cuda=package, capture=capture) as session,
    ):
        return judge(compare_sessions(reference, session, None, BOUNDS, None))


def check_device(network: Network, on_engine: bool) -> Outcome:
    """Run `aerocam check --device` on the first of `HEADS`, on the CUDA provider or with its engine."""
    files: list[str | Path]
    if on_engine:
        files = [network.exported(HEADS[0], "tensorrt"), network.engine(HEADS[0])]
    else:
        files = [network.exported(HEADS[0]), "--providers", ",".join(ON_CUDA), "--plain", network.plain()[0]]
    with tempfile.TemporaryDirectory(dir=network.folder) as out:
        code, text = call_aerocam("check", "--device", *files, "-o", out, "-q")
        reports = [json.loads(path.read_text(encoding="utf-8")) for path in Path(out).glob("*.json")]
    verdict = f"verdict: {reports[0]['verdict']}" if reports else one_line(text)
    return code == 0, f"exit code {code}; {verdict}", {"exit code": code, "text": text, "reports": reports}
