"""`python -m aerocam.benchmarks.studies.pages.shift`: attention of Lite0 in float32 and in INT8 on a video.

INT8 is ONNX Runtime's own quantiser's, calibrated on the labelled photographs. `aerocam compare` compares; its reports
stay in a folder, its figures are kept as JSON with a page beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import machine
from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.errors import AerocamError
from aerocam.export import export_model
from aerocam.files import make_folder
from aerocam.runtime.frames.preprocess import Preprocessor


def quantise(model: Path, output: Path, tensors: Iterable[NDArray]) -> Path:
    """Quantise statically, as QuantizeLinear and DequantizeLinear: int8 weights per channel, uint8 activations.

    Args:
        model: The ONNX file in float32, with one input.
        output: Where to write.
        tensors: Inputs that the ranges of the activations are taken from.

    Returns:
        `output`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnx.load(model, load_external_data=False).graph.input[0].name
    feeds = iter([{name: tensor} for tensor in tensors])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray] | None:
            return next(feeds, None)

    types = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
    quantize_static(str(model), str(output), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return output


RECORD, PAGE = "shift.json", "shift.md"
METHODS = ("gradcam", "layercam", "eigencam", "cfcam-published", "cfcam")
VIDEO = "cockatoo"
FIGURES = {"correlation": 4, "overlap": 3, "shift": 1}
"""What is kept of each frame, with so many decimals."""

PART = 20
"""Frames of which the page shows the mean."""


def write_models(folder: Path) -> list[Path]:
    """Write both exports."""
    prepare, source = Preprocessor(zoo.lite0.PREPROCESS), zoo.lite0.model()
    tensors = (prepare(zoo.labelled_photograph(name))[0].copy() for name in zoo.LABELLED)
    models = {"float32": source, "int8": quantise(source, folder / "lite0-int8.onnx", tensors)}
    arguments: dict[str, Any] = {"preprocess": zoo.lite0.PREPROCESS, "labels": zoo.lite0.labels(), "check": False}
    return [export_model(path, folder / f"lite0-{name}.cam.onnx", **arguments).path for name, path in models.items()]


def measure(folder: Path) -> dict[str, Any]:
    """Measure everything, and return the record."""
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    make_folder(folder)
    models = [str(path) for path in write_models(folder)]
    by_method: dict[str, Any] = {}
    for method in METHODS:
        out = folder / method
        how = ["--source", str(zoo.video(VIDEO)), "--method", method, "--threads", "2", "-o", str(out)]
        if code := subprocess.run([sys.executable, "-m", "aerocam", "compare", *models, *how], check=False).returncode:
            raise AerocamError(f"aerocam compare: it ended with code {code}; see above")
        frames = [json.loads(line) for line in (out / "frames.jsonl").read_text(encoding="utf-8").splitlines()]
        said = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        del said["settings"]  # it names files of this machine
        columns = {name: [frame[name] for frame in frames] for name in FIGURES}
        values = {name: [one and round(one, FIGURES[name]) for one in column] for name, column in columns.items()}
        by_method[method] = {"summary": said, "per frame": values}
    return {"machine": machine(), "video": VIDEO, "methods": by_method}


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    host, methods = record["machine"], record["methods"]
    first = next(iter(methods.values()))["summary"]
    lines = [
        "# Where attention moves in INT8",
        "",
        f"`python -m aerocam.benchmarks.studies.pages.shift` wrote this page and `{RECORD}`, which has every frame,",
        f"with ONNX Runtime {host['onnxruntime']} on the CPU. EfficientNet-Lite0, last layer; {record['video']}:"
        f" {first['frames']} frames of 1280 x 720 px,",
        "float32's top class frame by frame. INT8 by ONNX Runtime's static quantisation (QDQ, weights per channel),",
        f"calibrated on 20 labelled photographs. The top class is the same in {first['top_class_agreement']:.1%} of the"
        " frames;",
        "in most frames float32's own top class is no cockatoo and has a low probability. The last layer is 7 x 7 over"
        " a centre",
        "crop: one of its positions is some 90 px of the frame.",
        "",
        "- **correlation**: Pearson's of the two maps over the frame. **overlap**: sum of the lesser over sum of the"
        " greater value.",
        "- **shift**: of the centre of mass, px of the frame.",
        "",
        "| method | correlation, mean | worst | overlap, mean | worst | shift, mean | median | worst |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method, one in methods.items():
        summary = one["summary"]
        cells = [
            f"{summary[name][key]:.{digits}f}"
            for name, digits in FIGURES.items()
            for key in (("mean", "median", "worst") if name == "shift" else ("mean", "worst"))
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", f"Shift, px: the mean of {PART} frames each.", "", *_over_time(methods)]
    return "\n".join(lines) + "\n"


def _over_time(methods: Mapping[str, Any]) -> list[str]:
    """Return the shift along the video."""
    frames = len(next(iter(methods.values()))["per frame"]["shift"])
    starts = range(0, frames, PART)
    lines = [f"| frames from | {' | '.join(map(str, starts))} |", f"|---|{'--:|' * len(starts)}"]
    for method, one in methods.items():
        values = np.array([np.nan if value is None else value for value in one["per frame"]["shift"]])
        lines.append(f"| {method} | {' | '.join(f'{np.nanmean(values[at : at + PART]):.1f}' for at in starts)} |")
    return lines


def main() -> int:
    """Measure, and write record and page; the exit code."""
    parser = argparse.ArgumentParser(prog="studies.pages.shift", description=__doc__)
    parser.add_argument("--out", default="eval-out/shift", help="folder of models and reports; eval-out/shift")
    arguments = parser.parse_args()
    return publish("studies.pages.shift", partial(measure, Path(arguments.out)), page, RECORD, PAGE)


if __name__ == "__main__":
    sys.exit(main())
