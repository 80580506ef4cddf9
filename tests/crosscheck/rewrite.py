"""The side of aerocam, in a process of its own without torch: `list` the candidates of a model, or `export` layers.

Takes one JSON object as its argument and prints the answer as JSON; times and the peak of memory are this process's.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any

from aerocam.errors import AerocamError, CheckError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import nodes_between
from aerocam.export.nodes.shapes import is_float
from aerocam.export.pipeline import export_model, list_layers
from aerocam.export.reading.graph import load_model
from aerocam.export.scores import find_score


def peak() -> float:
    """Peak of this process's memory in MB; `getrusage` would count what its parent held before."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def attempt(job: dict[str, Any], work: Any) -> dict[str, Any]:
    """What `work` found, or the error: of a kind of aerocam's own (refused), or any other (crash)."""
    try:
        return work(job)
    except AerocamError as error:
        return {"verdict": "refused", "error": f"{type(error).__name__}: {error}"}
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        return {"verdict": "crash", "error": f"{type(error).__name__}: {error} ({where})"}


def listed(job: dict[str, Any]) -> dict[str, Any]:
    """Every candidate, in graph order, and the operators between image and score that have no rule."""
    known, _ = list_layers(job["model"], task=job["task"])
    model = load_model(job["model"])
    images = [value for value in model.graph.inputs if is_float(value)]
    path = nodes_between(model.graph, images, find_score(model, job["task"]).logits)
    return {
        "missing": sorted({operator_name(node) for node in path} - set(ADJOINTS)),
        "layers": [
            {"name": item.name, "op": item.op, "shape": item.shape, "depth": item.depth, "obstacle": item.obstacle}
            for item in known
            if item.depth >= 0
        ],
    }


def exported(job: dict[str, Any]) -> dict[str, Any]:
    """The rewritten file for one layer, with nodes, seconds and megabytes, its own check included.

    A file that does not pass its own check is written all the same, and the check's words are kept.
    """
    options = {"layers": job["layer"], "task": job["task"]}
    start, words = perf_counter(), ""
    try:
        done = export_model(job["model"], job["output"], **options)
    except CheckError as error:
        words = f"{type(error).__name__}: {error}"
        done = export_model(job["model"], job["output"], **options, check=False)
    seconds = perf_counter() - start
    return {
        "nodes": done.nodes_after - done.nodes_before,
        "seconds": seconds,
        "megabytes": peak(),
        "layer": done.manifest.layers[0].name,
        "activations": done.manifest.layers[0].activations,
        "check": words,
    }


def exported_in_a_fresh_process(job: dict[str, Any]) -> dict[str, Any]:
    """As `exported`, or the error."""
    return attempt(job, exported)


def main() -> None:
    """Do what the argument asks."""
    job = json.loads(sys.argv[1])
    if job["do"] == "list":
        print(json.dumps(attempt(job, listed)))
        return
    jobs = [job | wanted for wanted in job["wanted"]]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as fresh:  # no layer inherits another's memory
        print(json.dumps(fresh.map(exported_in_a_fresh_process, jobs, chunksize=1)))


if __name__ == "__main__":
    main()
