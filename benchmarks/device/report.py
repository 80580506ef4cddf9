"""The device check: step by step, each step's failure a part of the report, which is made whatever happens."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aerocam.benchmarks.device import inputs
from aerocam.benchmarks.device.agreement import compare_sessions
from aerocam.benchmarks.device.differences import TOLERANCES, Precision, precision_of
from aerocam.benchmarks.device.inputs import open_plain
from aerocam.benchmarks.device.record import DeviceReport
from aerocam.benchmarks.device.speed import measure
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.errors import EngineError, ModelError
from aerocam.files import sha256
from aerocam.onnx_metadata import read_manifest
from aerocam.providers import Provider
from aerocam.runtime.doctor import examine
from aerocam.runtime.doctor.machine import Machine
from aerocam.runtime.doctor.registry import PROBES, run_probe
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.session import Session

REFERENCE_ROUNDS = 10
"""Largest number of timed rounds of ONNX Runtime on the CPU."""

WATCHED = ("power", "clocks", "temperatures", "memory")
"""Probes that are asked again at the end."""

REFERENCE = "ONNX Runtime on the CPU"
"""What everything is compared with."""


@dataclass(frozen=True)
class _Asked:
    """What `check_device` was asked for; see there."""

    model: Path
    engine: Path | None
    providers: Sequence[Provider] | None
    plain: Path | None
    picture: Path | None
    method: str | None
    protocol: Protocol
    say: Callable[[str], None]


def check_device(
    model: Path,
    engine: Path | None,
    *,
    providers: Sequence[Provider] | None = None,
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
        The report. Its verdict is `agrees` only where everything was done and everything is within its bounds. One that
        KeyboardInterrupt cut short has what was done until then.
    """
    paths = (path for path in (model, engine, plain, picture) if path is not None)
    report = DeviceReport(tuple(dict.fromkeys(path.resolve().parent for path in paths)))
    try:
        with report.step("look at the machine"):
            say("looking at the machine")
            _look(report.record)
        _run(report, _Asked(model, engine, providers, plain, picture, method, protocol or Protocol(), say))
        with report.step("look at the machine again"):
            report.record["after"] = {name: run_probe(PROBES[name], Machine()) for name in WATCHED}
    except KeyboardInterrupt:
        report.record["interrupted"] = True
    report.finish()
    return report


def _look(record: dict[str, Any]) -> None:
    """Record what the machine is, and its state before the check."""
    record["doctor"] = examine()
    record["before"] = {name: record["doctor"]["probes"][name] for name in WATCHED}


def _run(report: DeviceReport, asked: _Asked) -> None:
    """Open both, compare them, and time each."""
    record, say = report.record, asked.say
    record["compared"] = compared = _called(asked)
    with report.step("read the model"):
        record["model"] = _described(asked.model)
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        with report.step(f"open the model in {REFERENCE}"):
            sessions["reference"] = opened.enter_context(open_session(asked.model))
        with report.step(f"open {compared}"):
            say(f"opening {compared}")
            sessions["engine"] = opened.enter_context(_open_engine(asked, record))
        bounds = TOLERANCES[_precision(record, sessions)]
        if len(sessions) == 2:
            with report.step("compare"):
                say(f"comparing with {REFERENCE}")
                record["comparisons"] = compare_sessions(
                    **sessions, picture=asked.picture, bounds=bounds, method=asked.method
                )
        for name, session in sessions.items():
            what = compared if name == "engine" else REFERENCE
            with report.step(f"measure {what}"), ExitStack() as beside:
                say(f"measuring {what}")
                plain = asked.plain if name == "engine" else None
                run = open_plain(plain, session, asked.providers, beside) if plain else None
                turns = _turns(asked.protocol, name)
                record.setdefault("speed", {})[name] = _measured(session, asked.picture, run, turns, asked.method)


def _called(asked: _Asked) -> str:
    """Return what messages call the session under test; the record's key is `engine` in all cases."""
    if asked.engine is not None and asked.engine.suffix != ".onnx":
        return "the engine"
    if asked.providers:
        first = asked.providers[0]
        where = f"ONNX Runtime's {first if isinstance(first, str) else first[0]}"
        return where if asked.engine in (None, asked.model) else f"{asked.engine.name} on {where}"
    return "the engine" if asked.engine is None else f"{asked.engine.name} in {REFERENCE}"


def _described(model: Path) -> dict[str, Any]:
    """Return the model's facts as far as they tell something about its engine."""
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


def _open_engine(asked: _Asked, record: dict[str, Any]) -> Session:
    """Open the session under test, and check that it is of the same export as the reference."""
    model, engine, providers = asked.model, asked.engine, asked.providers
    if engine is None and providers is None:
        raise EngineError(f"{model.with_suffix('.engine')}: there is no engine; build it here: {_build(model)}")
    path = engine or model
    record["engine"] = _engine_record(path, model)
    session = open_session(path, providers=providers) if path.suffix == ".onnx" else open_session(path)
    expected = read_manifest(model)
    if (session.manifest.source, session.manifest.layers) != (expected.source, expected.layers):
        session.close()
        raise ModelError(f"{path}: it is of another export than {model}; build the engine of this file")
    record["engine"]["providers"] = list(getattr(session, "providers", ()))
    return session


def _build(model: Path) -> str:
    """Return the command that builds an engine, by this very aerocam if a shell does not find it."""
    command, here = shutil.which("aerocam"), Path(sys.executable)
    own = "aerocam" if command and Path(command).parent == here.parent else f"{shlex.quote(str(here))} -m aerocam"
    return f"{own} build {shlex.quote(str(model))}"


def _engine_record(path: Path, model: Path) -> dict[str, Any]:
    """Return what an engine's record says about it; of an .onnx file, its name and checksum."""
    if path.suffix == ".onnx":
        return {"file": path.name, "sha256": sha256(path), "settings": {}}
    from aerocam.runtime.trt.engine_file import read_record

    record = dataclasses.asdict(read_record(path))
    del record["manifest"]
    if record["model_sha256"] != sha256(model):
        raise EngineError(f"{path}: it was built of another file than {model}; run: {_build(model)}")
    return {"file": path.name, **record}


def _precision(record: dict[str, Any], sessions: dict[str, Session]) -> Precision:
    """Return the type that decides the bounds, and put both into the record."""
    session = sessions.get("engine") or sessions.get("reference")
    if session is None:
        return "float32"
    precision = precision_of(session.manifest, record.get("engine", {}).get("settings", {}))
    record["precision"], record["tolerances"] = precision, dataclasses.asdict(TOLERANCES[precision])
    return precision


def _turns(protocol: Protocol, name: str) -> Protocol:
    """Return fewer rounds for the reference: a device's CPU is slow, and nobody waits for it in flight."""
    most = protocol.iterations if name == "engine" else min(protocol.iterations, REFERENCE_ROUNDS)
    return dataclasses.replace(protocol, iterations=most)


def _measured(
    session: Session, picture: Path | None, plain: Callable[[], object] | None, protocol: Protocol, method: str | None
) -> dict[str, Any]:
    """Time a session on the first input."""
    frames = inputs.frames(session, picture, 1)
    frame = next(iter(frames.values()), None)
    return measure(session, inputs.feeds(session, frame), frame, plain, protocol, method)
