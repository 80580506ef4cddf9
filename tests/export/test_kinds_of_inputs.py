"""Inputs of every kind: types, layouts, batches, channels, further inputs; what is explained is the plain network's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from aerocam.errors import ModelError, UsageError
from aerocam.export import check_export, export_model
from aerocam.export.preprocessing import default_preprocess
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer

UNIT = partial(default_preprocess, preset="unit")
RNG = np.random.default_rng(5)
WEIGHTS = {
    "w": RNG.normal(0, 0.4, (6, 3, 3, 3)), "wide": RNG.normal(0, 0.4, (6, 5, 3, 3)), "v": RNG.normal(0, 1, (6, 4)),
    "scale": np.array(1 / 255), "halves": np.array([8, 3, 6, 12]), "pictures": np.array([4, 3, 12, 12]),
    "tokens": np.eye(4), "token": np.ones((4, 1, 12, 12)), "tokens_of": np.array([4, 2, 12, 12]),
    "row": np.ones((1, 1, 12, 12)),
    "from": np.array([0]), "to": np.array([3]), "axis": np.array([1]),
}  # fmt: skip
FRAME = RNG.integers(0, 256, (12, 12, 3), np.uint8)


def network(path: Path, shape: str = "float[1,3,12,12]", first: str = "", tail: str = "", more: str = "") -> Path:
    """A classifier of four classes; `first` leads from x to x1, `tail` from logits to y."""
    text = f"""<ir_version: 8, opset_import: ["": 17]> g ({shape} x{more}) => (y) {{
        {first} c = Conv<pads=[1,1,1,1]>({"x1" if first else "x"}, w) a = Relu(c) g = GlobalAveragePool(a)
        f = Flatten(g) {"logits" if tail else "y"} = MatMul(f, v) {tail} }}"""
    proto = parser.parse_model(text.replace("=> (y)", "=> (float[?,4] y)"))
    for name, array in WEIGHTS.items():
        if name in text.replace(",", " ").replace(")", " ").replace("(", " ").split():
            kept = array if array.dtype == np.int64 else array.astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(kept, name))
    onnx.save(proto, path)
    return path


def plain(tmp_path: Path) -> np.ndarray:
    """The plain network's logits on the frame."""
    tensor = FRAME[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return onnxruntime.InferenceSession(network(tmp_path / "plain.onnx")).run(None, {"x": tensor})[0][0]


def shares(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


UINT8 = {
    "uint8, channels last": ("uint8[1,12,12,3]", "xf = Cast<to=1>(x) xt = Transpose<perm=[0,3,1,2]>(xf)"),
    "uint8, channels first": ("uint8[1,3,12,12]", "xt = Cast<to=1>(x)"),
    "transposed as uint8": ("uint8[1,12,12,3]", "xu = Transpose<perm=[0,3,1,2]>(x) xt = Cast<to=1>(xu)"),
}


@pytest.mark.parametrize("packaging", ["fused", "split"])
@pytest.mark.parametrize("kind", UINT8)
def test_pixels_that_the_model_preprocesses_itself(kind: str, packaging: Any, tmp_path: Path) -> None:
    shape, first = UINT8[kind]
    model = network(tmp_path / "m.onnx", shape, f"{first} x1 = Mul(xt, scale)")
    done = export_model(model, packaging=packaging, preprocess=UNIT)
    assert (done.manifest.preprocess.mean, done.manifest.preprocess.std) == ((0,) * 3, (1,) * 3)  # type: ignore[union-attr]
    found = Explainer(done.path)(FRAME)
    np.testing.assert_allclose(found.prediction.probabilities, shares(plain(tmp_path)), rtol=1e-4)
    assert found.map.max() == pytest.approx(1)


def test_numbers_that_do_not_fit_the_input_are_refused(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", *UINT8["uint8, channels first"][:1], "xt = Cast<to=1>(x) x1 = Mul(xt, scale)")
    with pytest.raises(UsageError, match="`mean`, `std`: the input 'x' takes pixels in uint8"):
        export_model(model, preprocess=Preprocess("x", (12, 12)))
    with pytest.raises(UsageError, match=r"it gives a tensor \(1, 3, 8, 12\), the input 'x' takes \(1, 3, 12, 12\)"):
        export_model(model, preprocess=Preprocess("x", (8, 12)))


def test_a_frame_for_a_model_that_takes_pixels(tmp_path: Path) -> None:
    model = network(
        tmp_path / "m.onnx", UINT8["uint8, channels last"][0], UINT8["uint8, channels last"][1] + " x1 = Mul(xt, scale)"
    )
    done = export_model(model, head="gradcam", frame=(12, 12), preprocess=UNIT)
    found = Explainer(done.path)(FRAME)
    np.testing.assert_allclose(found.prediction.probabilities, shares(plain(tmp_path)), rtol=1e-4)


@pytest.mark.parametrize("packaging", ["fused", "split"])
def test_a_float16_input(packaging: Any, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", "float16[1,3,12,12]", "x1 = Cast<to=1>(x)")
    found = Explainer(export_model(model, packaging=packaging, preprocess=UNIT).path)(FRAME)
    np.testing.assert_allclose(found.prediction.probabilities, shares(plain(tmp_path)), rtol=2e-3)


@pytest.mark.parametrize("given", [None, {"x": (1, 3, 12, 12)}])
@pytest.mark.parametrize(
    "first",
    [
        "x1 = Identity(x)",
        "xr = Reshape(x, halves) x1 = Reshape(xr, pictures)",
        "s = Shape(x) xr = Reshape(x, halves) x1 = Reshape(xr, s)",
        "e = Expand(row, tokens_of) j = Concat<axis=1>(x, token, e) x1 = Slice(j, from, to, axis)",
    ],
    ids=["plain", "sizes", "computed sizes", "tokens"],
)
def test_a_fixed_batch_is_cut_to_one(first: str, given: Any, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", "float[4,3,12,12]", first)
    done = export_model(model, preprocess=UNIT, input_shapes=given)
    np.testing.assert_allclose(Explainer(done.path)(FRAME).prediction.probabilities, shares(plain(tmp_path)), rtol=1e-4)
    assert check_export(model, done.path, input_shapes=given).outputs < 1e-6


def test_a_batch_that_the_graph_counts_on_is_refused(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", "float[4,3,12,12]", tail="y = Concat<axis=1>(logits, tokens)")
    with pytest.raises(ModelError, match="batch of 4, which cannot be cut to 1"):
        export_model(model)


def test_further_inputs_are_fixed_or_fed(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", more=", float[n,4] gain", tail="y = Mul(logits, gain)")
    rows = np.array([[1.0, 2, 3, 4]])
    expected = shares(plain(tmp_path) * rows[0])
    fixed = export_model(model, tmp_path / "fixed.onnx", fix={"gain": rows}, preprocess=UNIT)
    np.testing.assert_allclose(Explainer(fixed.path)(FRAME).prediction.probabilities, expected, rtol=1e-4)
    assert check_export(model, fixed.path, fix={"gain": rows}).outputs < 1e-6
    with pytest.raises(UsageError, match="`fix`: input 'gain' is a constant of the exported model"):
        check_export(model, fixed.path)
    number = export_model(model, tmp_path / "number.onnx", fix={"gain": 2}, preprocess=UNIT)
    doubled = shares(2 * plain(tmp_path))
    np.testing.assert_allclose(Explainer(number.path)(FRAME).prediction.probabilities, doubled, rtol=1e-4)
    for packaging in ("fused", "split"):
        done = export_model(model, packaging=packaging, preprocess=UNIT)  # type: ignore[arg-type]
        found = Explainer(done.path, feeds={"gain": rows})(FRAME, [0, 1])
        np.testing.assert_allclose(found.prediction.probabilities, expected, rtol=1e-4)
        np.testing.assert_allclose(
            Explainer(done.path, feeds={"gain": 2})(FRAME).prediction.probabilities, doubled, rtol=1e-4
        )
        with pytest.raises(UsageError, match=r"a further input 'gain', float32 \(1, 4\); give it with `feeds`"):
            Explainer(done.path)(FRAME)
        with pytest.raises(UsageError, match=r"got \(3,\) for the input 'gain'"):
            Explainer(done.path, feeds={"gain": np.ones(3)})
        with pytest.raises(UsageError, match=r"`feeds`: 'gian': no such further input\. Did you mean 'gain'"):
            Explainer(done.path, feeds={"gian": 1, "gain": 1})


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ({"gian": 1}, "`fix`: 'gian': the model has no such input. Did you mean 'gain'"),
        ({"gain": np.ones(4)}, r"`fix`: got \(4,\) for the input 'gain', whose shape is \[\?,4\]"),
        ({"gain": np.ones((1, 3))}, r"`fix`: got \(1, 3\) for the input 'gain', whose shape is \[\?,4\]"),
    ],
)
def test_what_cannot_be_fixed(fix: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", more=", float[n,4] gain", tail="y = Mul(logits, gain)")
    with pytest.raises(UsageError, match=message):
        export_model(model, fix=fix)


@pytest.mark.parametrize(
    ("shape", "first"), [("float[1,5,12,12]", ""), ("float[1,12,12,5]", "xt = Transpose<perm=[0,3,1,2]>(x)")]
)
def test_a_model_of_five_bands(shape: str, first: str, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", shape, f"{first} x1 = Identity({'xt' if first else 'x'})")
    proto = onnx.load(model)
    proto.graph.initializer.remove(next(tensor for tensor in proto.graph.initializer if tensor.name == "w"))
    proto.graph.initializer.append(numpy_helper.from_array(WEIGHTS["wide"].astype(np.float32), "w"))
    onnx.save(proto, model)
    done = export_model(model)
    rule = done.manifest.preprocess
    assert rule is not None
    assert (rule.color, rule.mean, rule.std, rule.layout) == (
        "BANDS",
        (0,) * 5,
        (255,) * 5,
        "NHWC" if first else "NCHW",
    )
    with pytest.raises(UsageError, match=r"`frame=\(12, 12\)`: the model takes 5 bands"):
        export_model(model, frame=(12, 12))
    frame = RNG.integers(0, 256, (12, 12, 5), np.uint8)
    tensor = frame[None].astype(np.float32) / 255
    logits = onnxruntime.InferenceSession(model).run(None, {"x": tensor if first else tensor.transpose(0, 3, 1, 2)})[0]
    with Explainer(done.path) as explainer:
        found = explainer(frame)
        assert explainer.takes_bands
        np.testing.assert_allclose(found.prediction.probabilities, shares(logits[0]), rtol=1e-4)
        np.testing.assert_array_equal(found.picture, frame[..., 2::-1])
        assert found.overlay().shape == (12, 12, 3)
        with pytest.raises(UsageError, match=r"got uint8 \(12, 12, 3\), expected uint8 or uint16 \(H, W, 5\)"):
            explainer(FRAME)


def test_a_number_without_axes_is_measured_and_fed(tmp_path: Path) -> None:
    """As the sampling rate of a speech model; the scores that it is added to grow by it."""
    model = network(tmp_path / "m.onnx", more=", int64 n", tail="m = Cast<to=1>(n) y = Add(logits, m)")
    done = export_model(model, preprocess=UNIT)
    assert {item.subject: item.source for item in done.manifest.decisions}["activation"] == "measured"
    none, three = (Explainer(done.path, feeds={"n": number})(FRAME).target.logit for number in (0, 3))
    assert three == pytest.approx(none + 3, abs=1e-4)
