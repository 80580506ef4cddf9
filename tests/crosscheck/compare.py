"""One network: export it with both of PyTorch's exporters, rewrite it, compare gradients and maps with autograd."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from networks import NETWORKS, Network
from reference import Array, Output, grad_cam, matching, module_outputs, relative, scaled

from aerocam import manifest
from aerocam.runtime.methods import get
from onnx_graphs import Float64

EXPORTERS: dict[str, dict[str, Any]] = {
    "TorchScript": {"dynamo": False, "opset_version": 17},
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
}
PLACES = {"last": 1.0, "middle": 0.5, "early": 0.1}
"""Where along the depth of those tensors that a module gave."""
SMOOTH, KINKED, SMOOTH_MAP, KINKED_MAP, DOUBLE = 1e-4, 0.999, 1e-4, 1e-2, 1e-5
REWRITE_SECONDS = 120
OWN, FOLDED = "aerocam_own_gradients_0", "aerocam_gradients_0"
"""Gradients of a folded layer in its own shape, and those that leave the graph."""


@dataclass
class Row:
    """What came of one layer.

    Attributes:
        network: Its name in `NETWORKS`.
        exporter: PyTorch's exporter.
        place: `last`, `middle` or `early`.
        verdict: `agrees`, `agrees in float64`, `differs`, `refused`, `crash`, `no export`, `timeout`.
        layer: The tensor, and PyTorch's name of the module.
        shape: Of the layer.
        gradient: Largest difference of the gradients, relative to the largest gradient.
        correlation: Of the gradients.
        map: Largest difference of the Grad-CAM maps, both in [0, 1].
        double: As `gradient`, with both sides in float64; only where float32 is beyond the limits.
        nodes: How many the rewrite added.
        seconds: That it took.
        megabytes: The rewriting process's peak.
        model: Size of the exporter's file, in MB.
        note: An error, or what aerocam's own check says.
    """

    network: str
    exporter: str
    place: str
    verdict: str
    layer: str = ""
    shape: tuple[int, ...] = ()
    gradient: float | None = None
    correlation: float | None = None
    map: float | None = None
    double: float | None = None
    nodes: int | None = None
    seconds: float | None = None
    megabytes: float | None = None
    model: float | None = None
    note: str = ""


@dataclass
class Case:
    """A network with what is the same for both exporters."""

    name: str
    network: Network
    model: torch.nn.Module
    picture: torch.Tensor
    outputs: list[Output] = field(default_factory=list)


def compare(name: str, folder: Path) -> Iterator[Row]:
    """All rows of a network."""
    network = NETWORKS[name]
    try:
        case = Case(name, network, network.model(), network.picture())
        case.outputs = module_outputs(network, case.model, case.picture)
    except Exception as error:
        yield Row(name, "", "", "no model", note=first_line(error))
        return
    for exporter, options in EXPORTERS.items():
        path = folder / f"{name}.{exporter}.onnx"
        try:
            with quiet():
                torch.onnx.export(case.model, (case.picture,), path, input_names=["image"], **options)
        except Exception as error:
            yield Row(name, exporter, "", "no export", note=first_line(error))
            continue
        yield from _layers(case, exporter, path)


def _layers(case: Case, exporter: str, path: Path) -> Iterator[Row]:
    listed = rewrite({"do": "list", "model": str(path), "task": case.network.task})
    if "error" in listed:
        yield Row(case.name, exporter, "", listed["verdict"], note=listed["error"])
        return
    matched = match(case, path, listed["layers"])
    if not matched:
        note = f"none of {len(listed['layers'])} candidates is a module's output"
        yield Row(case.name, exporter, "", "differs", note=note)
    rows, matches = [], []
    for place, share in PLACES.items():
        for layer, output in matched[round(share * (len(matched) - 1)) :][:1]:
            if all(layer["name"] != row.layer for row in rows):
                size = path.stat().st_size / 1e6
                rows.append(Row(case.name, exporter, place, "", layer["name"], tuple(layer["shape"]), model=size))
                matches.append(output)
    wanted = [{"layer": row.layer, "output": str(path.with_suffix(f".{row.place}.onnx"))} for row in rows]
    done = rewrite({"do": "export", "model": str(path), "task": case.network.task, "wanted": wanted})
    answers = done if isinstance(done, list) else [done] * len(rows)
    for row, output, answer, file in zip(rows, matches, answers, wanted, strict=True):
        made = _layer(case, file["output"], row, output, answer)
        if made.verdict == "refused" and listed["missing"]:
            made.note = f"no rule between image and score: {', '.join(listed['missing'])}; {made.note}"
        yield made


def match(case: Case, path: Path, layers: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Output]]:
    """The candidates that a module gave, with what it gave, by value."""
    proto = onnx.load(path)
    known = {name for node in proto.graph.node for name in node.output}
    there = {item.name for item in proto.graph.output}
    layers = [layer for layer in layers if layer["name"] in known]
    for layer in layers:
        if layer["name"] not in there:
            proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(layer["name"]))
    values = run(proto.SerializeToString(), case, [layer["name"] for layer in layers])
    found = [(layer, matching(case.outputs, values[layer["name"]])) for layer in layers]
    return [(layer, output) for layer, output in found if output is not None]


def _layer(case: Case, explained: str, row: Row, output: Output, done: dict[str, Any]) -> Row:
    row.layer = f"{row.layer} = {output.name}"
    if "error" in done:
        row.verdict, row.note = done["verdict"], done["error"]
        return row
    row.nodes, row.seconds, row.megabytes = done["nodes"], done["seconds"], done["megabytes"]
    row.note = f"own check: {done['check']}" if done["check"] else ""
    proto = onnx.load(explained)
    own = OWN if any(OWN in node.output for node in proto.graph.node) else FOLDED
    there = {item.name for item in proto.graph.output}
    wanted = list(dict.fromkeys([done["layer"], own, done["activations"], FOLDED]))
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in there)
    try:
        found = run(proto.SerializeToString(), case, wanted, True)
    except Exception as error:
        row.verdict, row.note = "crash", first_line(error)
        return row
    gradients = found[own]
    row.gradient = relative(gradients, output.gradient)
    row.correlation = float(np.corrcoef(gradients.ravel(), output.gradient.ravel())[0, 1])
    try:
        if not output.once:
            raise ValueError("the module is called more than once")
        row.map = _map_difference(case, output, found[done["activations"]], found[FOLDED])
    except Exception as error:
        row.note = f"no map to compare: {first_line(error)}; {row.note}".rstrip("; ")
    if agrees(case.network, row):
        row.verdict = "agrees"
        return row
    try:
        row.double = _in_double(case, proto, own, output)
    except Exception as error:
        row.note = f"no float64: {first_line(error)}; {row.note}".rstrip("; ")
    row.verdict = "agrees in float64" if row.double is not None and row.double <= DOUBLE else "differs"
    return row


def _in_double(case: Case, explained: onnx.ModelProto, gradients: str, output: Output) -> float:
    """The gradients' difference in float64, where no mask comes out differently for rounding."""
    model = copy.deepcopy(case.model).double()
    place = next(i for i, other in enumerate(case.outputs) if other is output)
    expected = module_outputs(case.network, model, case.picture.double())[place]
    assert expected.name == output.name
    feeds = {"image": case.picture.numpy(), manifest.TARGET: np.array(case.network.target, np.int32)}
    (found,) = Float64(explained)(feeds, [gradients])
    return relative(found, expected.gradient)


def _map_difference(case: Case, output: Output, activations: Array, gradients: Array) -> float:
    expected = grad_cam(case.network, case.model, case.picture, output, activations.shape)
    found = scaled(get("gradcam")(activations, gradients), case.picture)
    return float(np.abs(found - expected).max())


def agrees(network: Network, row: Row) -> bool:
    """Whether a row is within the limits."""
    assert row.gradient is not None
    assert row.correlation is not None
    if row.map is not None and not row.map <= (SMOOTH_MAP if network.smooth else KINKED_MAP):
        return False
    return row.gradient <= SMOOTH or (not network.smooth and row.correlation >= KINKED)


def run(model: str | bytes, case: Case, names: list[str], target: bool = False) -> dict[str, Array]:
    """Named outputs in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {"image": case.picture.numpy()}
    if target:
        feeds[manifest.TARGET] = np.array(case.network.target, np.int32)
    return dict(zip(names, session.run(names, feeds), strict=True))


def rewrite(job: dict[str, Any]) -> Any:
    """Let aerocam do `job` in a process without torch."""
    call = [sys.executable, str(Path(__file__).with_name("rewrite.py")), json.dumps(job)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=REWRITE_SECONDS, env=os.environ)
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"verdict": "timeout", "error": f"the rewrite took more than {REWRITE_SECONDS} s"}
    except ValueError:
        return {"verdict": "crash", "error": f"exit code {done.returncode}: {done.stderr[-300:]}"}


def first_line(error: Exception) -> str:
    """An error on one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' advice off the screen."""
    logging.disable(logging.WARNING)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
