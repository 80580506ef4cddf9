"""The device check: step by step, each step's failure a part of the report, which is made whatever happens."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from aerocam import __version__
from aerocam.benchmarks.device import inputs
from aerocam.benchmarks.device.agreement import compare_sessions
from aerocam.benchmarks.device.anonymous import anonymous
from aerocam.benchmarks.device.plain import open_plain
from aerocam.benchmarks.device.speed import measure
from aerocam.benchmarks.device.tolerances import TOLERANCES, precision_of
from aerocam.benchmarks.latency import Protocol
from aerocam.errors import EngineError, ModelError
from aerocam.files import sha256
from aerocam.onnx_metadata import read_manifest
from aerocam.runtime.doctor import examine
from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.registry import PROBES, run_probe
from aerocam.runtime.session import Session, open_session

SCHEMA = 1
"""Version of the report's form."""

REFERENCE_ROUNDS = 10
"""Most timed rounds of ONNX Runtime on the CPU."""

WATCHED = ("power", "clocks", "temperatures", "memory")
"""Probes that are asked again at the end."""

Verdict = Literal["agrees", "differs", "incomplete"]


@dataclass
class DeviceReport:
    """A report under way; `record` is what is sent back.

    Attributes:
        record: JSON-able.
        folders: Of the files given, which are not named in it.
    """

    folders: tuple[Path, ...] = ()
    record: dict[str, Any] = field(
        default_factory=lambda: {
            "what": "aerocam device check",
            "schema": SCHEMA,
            "aerocam": __version__,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "verdict": "incomplete",
            "steps": [],
        }
    )

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do a step; if it fails, that is noted, and what follows goes on without it."""
        started, entry = time.perf_counter(), {"name": name, "state": "done"}
        try:
            yield
        except Exception as error:  # whatever it is, the report is sent back with it
            entry |= {"state": "failed", "error": type(error).__name__, "reason": " ".join(str(error).split())}
        entry["seconds"] = round(time.perf_counter() - started, 3)  # type: ignore[assignment]
        self.record["steps"].append(entry)

    @property
    def verdict(self) -> Verdict:
        """What came out."""
        verdict: Verdict = self.record["verdict"]
        return verdict

    @property
    def name(self) -> str:
        """Of the file that it is written to."""
        board = self.record.get("doctor", {}).get("probes", {}).get("board", {})
        text = board.get("model") or board.get("architecture") or "device"
        text = re.sub(r"\b(NVIDIA|Engineering|Reference|Developer|Kit)\b", " ", text)
        return f"aerocam-device-{'-'.join(re.findall(r'[a-z0-9]+', text.lower()))}-{self.record['date']}.json"

    def finish(self) -> None:
        """Take the verdict, and what says where or whose the device is out of the record."""
        differences = [one for case in self.record.get("comparisons", []) for one in case["differences"]]
        if differences:
            self.record["verdict"] = "agrees" if all(one["good"] for one in differences) else "differs"
        if any(step["state"] == "failed" for step in self.record["steps"]) and self.verdict == "agrees":
            self.record["verdict"] = "incomplete"
        self.record = anonymous(self.record, self.folders)


def check_device(
    model: Path,
    engine: Path | None,
    *,
    providers: Sequence[Any] | None = None,
    plain: Path | None = None,
    picture: Path | None = None,
    method: str | None = None,
    protocol: Protocol | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> DeviceReport:
    """Compare an engine with ONNX Runtime on the CPU, and measure it.

    Args:
        model: The .onnx file written by `aerocam export`.
        engine: What was built of it; None with providers: the same file on these.
        providers: ONNX Runtime's execution providers for `engine`, where that is an .onnx file.
        plain: The plain model to compare times with: an engine, or .onnx where `engine` is one.
        picture: To run on besides noise.
        method: For the maps; None: the model's own.
        protocol: How to measure.
        say: Told what is being done.

    Returns:
        The report. Its verdict is `agrees` only where everything was done and everything is within its bounds.
    """
    given = (path for path in (model, engine, plain, picture) if path is not None)
    report = DeviceReport(tuple(dict.fromkeys(path.resolve().parent for path in given)))
    record = report.record
    with report.step("look at the machine"):
        say("looking at the machine")
        record["doctor"] = examine()
        record["before"] = {name: record["doctor"]["probes"][name] for name in WATCHED}
    with report.step("read the model"):
        record["model"] = _described(model)
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        with report.step("open the model in ONNX Runtime"):
            sessions["reference"] = opened.enter_context(open_session(model))
        with report.step("open the engine"):
            say("opening the engine")
            sessions["engine"] = opened.enter_context(_open_engine(model, engine, providers, record))
        bounds = TOLERANCES[_precision(record, sessions)]
        if len(sessions) == 2:
            with report.step("compare"):
                say("comparing with ONNX Runtime on the CPU")
                record["comparisons"] = compare_sessions(**sessions, picture=picture, bounds=bounds, method=method)
        for name, session in sessions.items():
            with report.step(f"measure the {name}"), ExitStack() as beside:
                say(f"measuring the {name}")
                run = open_plain(plain, session, providers, beside) if plain and name == "engine" else None
                turns = _turns(protocol or Protocol(), name)
                record.setdefault("speed", {})[name] = _measured(session, picture, run, turns, method)
    with report.step("look at the machine again"):
        record["after"] = {name: run_probe(PROBES[name], Machine()) for name in WATCHED}
    report.finish()
    return report


def _described(model: Path) -> dict[str, Any]:
    """The model, as far as it says something of its engine."""
    manifest = read_manifest(model)
    return {
        "file": model.name,
        "bytes": model.stat().st_size,
        "sha256": sha256(model),
        "task": manifest.task,
        "layers": [{"name": layer.name, "shape": list(layer.shape)} for layer in manifest.layers],
        "head": None if manifest.head is None else manifest.head.method,
        "packaging": "fused" if manifest.split is None else "split",
        "source": dataclasses.asdict(manifest.source),
    }


def _open_engine(model: Path, engine: Path | None, providers: Sequence[Any] | None, record: dict[str, Any]) -> Session:
    """What is compared with ONNX Runtime on the CPU, once it is known to be of the same export."""
    if engine is None and providers is None:
        raise EngineError(f"{model.with_suffix('.engine')}: there is no engine; build it here: aerocam build {model}")
    path = engine or model
    record["engine"] = _engine_record(path, model)
    session = open_session(path, providers=providers) if path.suffix == ".onnx" else open_session(path)
    expected = read_manifest(model)
    if (session.manifest.source, session.manifest.layers) != (expected.source, expected.layers):
        session.close()
        raise ModelError(f"{path}: it is of another export than {model}; build the engine of this file")
    record["engine"]["providers"] = list(getattr(session, "providers", ()))
    return session


def _engine_record(path: Path, model: Path) -> dict[str, Any]:
    """What an engine's record says of it; of an .onnx file its name."""
    if path.suffix == ".onnx":
        return {"file": path.name, "sha256": sha256(path), "settings": {}}
    from aerocam.runtime.trt.engine_file import read_record

    found = dataclasses.asdict(read_record(path))
    del found["manifest"]
    if found["model_sha256"] != sha256(model):
        raise EngineError(f"{path}: it was built of another file than {model}; run: aerocam build {model}")
    return {"file": path.name, **found}


def _precision(record: dict[str, Any], sessions: dict[str, Session]) -> Any:
    """The type that decides the bounds; both go into the record."""
    session = sessions.get("engine") or sessions.get("reference")
    if session is None:
        return "float32"
    precision = precision_of(session.manifest, record.get("engine", {}).get("settings", {}))
    record["precision"], record["tolerances"] = precision, dataclasses.asdict(TOLERANCES[precision])
    return precision


def _turns(protocol: Protocol, name: str) -> Protocol:
    """Fewer rounds for the reference: a device's CPU is slow, and nobody waits for it in flight."""
    most = protocol.iterations if name == "engine" else min(protocol.iterations, REFERENCE_ROUNDS)
    return dataclasses.replace(protocol, iterations=most)


def _measured(
    session: Session, picture: Path | None, plain: Callable[[], object] | None, protocol: Protocol, method: str | None
) -> dict[str, Any]:
    """Times of a session on the first input."""
    frames = inputs.frames(session, picture, 1)
    frame = next(iter(frames.values()), None)
    return measure(session, inputs.feeds(session, frame), frame, plain, protocol, method)
