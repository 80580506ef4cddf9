"""The part behind a layer on several activations at once: what the plain network gives for each of them alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import real_models
from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.export import export_model
from onnx_graphs import run_ort, tail

BATCH = 4


def moved(a: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """As it is, half of it, its channels in another order, and some of its positions emptied."""
    rng = np.random.default_rng(seed)
    kept = rng.random((1, 1, *a.shape[2:])) < 0.5
    return np.concatenate([a, a / 2, a[:, rng.permutation(a.shape[1])], a * kept])


def scores_of(path: Path, feeds: dict[str, NDArray], batch: NDArray, target: list[int]) -> NDArray[np.float32]:
    """What the tail's file of an export says."""
    proto = onnx.load(path.with_name(f"{path.stem}.tail.onnx"))
    names = {item.name for item in proto.graph.input}
    given = {**feeds, manifest.BATCH: batch, manifest.TARGET: np.int32(target)}
    return run_ort(proto, {name: array for name, array in given.items() if name in names}, [manifest.SCORES])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size", "target"),
    [
        ("lite0", "auto", (224, 224), [285]),
        ("lite0", "blocks.10/expand/act", (224, 224), [285]),
        ("ssdlite", "layer_19_2_Conv2d_3_3x3_s2_256/Relu6", (300, 300), [1, 1850]),
        ("yolov8n", "/model.21/cv2/act/Mul_output_0", (1024, 1024), [6, 21007]),
    ],
)
def test_equals_single_runs_of_the_plain_network(
    name: str, layer: str, size: tuple[int, int], target: list[int], tmp_path: Path
) -> None:
    source = zoo.ssdlite.model() if name == "ssdlite" else real_models.write(name, tmp_path)
    done = export_model(source, tmp_path / "m.cam.onnx", layers=layer, packaging="split", batch=BATCH, check=False)
    plain, written = onnx.load(source), done.manifest
    assert written.split is not None
    assert (written.split.tail, written.split.batch) == ("m.cam.tail.onnx", BATCH)
    image = {plain.graph.input[0].name: real_models.picture(*size)}
    own, output = written.layers[0].name, written.score.output
    behind = tail(plain, own, [output])
    sides = [item.name for item in behind.graph.input]
    for item in behind.graph.input:
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    computed = list(dict.fromkeys([*written.split.carried, *sides]))
    known = dict(zip(computed, run_ort(with_outputs(plain, computed), image, computed), strict=True))
    batch = moved(known[own])
    found = scores_of(done.path, known, batch, target)
    assert found.shape == (BATCH, 1)
    assert np.ptp(found) > 0.1
    for entry, score in zip(batch, found[:, 0], strict=True):
        (whole,) = run_ort(behind, {name: known[name] for name in sides} | {own: entry[None]}, [output])
        classes = np.moveaxis(whole.astype(np.float64), written.score.class_axis, 1)[0]
        value = classes[(written.score.class_offset + target[0], *target[1:])]
        if written.score.activation == "sigmoid":
            assert 1e-5 < value < 1 - 1e-3
            value = np.log(value / (1 - value))
        assert score == pytest.approx(value, rel=1e-4, abs=2e-3 if written.score.activation == "sigmoid" else 1e-4)


def with_outputs(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy in which these tensors are outputs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {item.name for item in copy.graph.output}
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in there)
    return copy
