"""Dense regressions and embeddings: means over a region and their gradients, in NumPy and float64; and end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.cli import main
from aerocam.errors import ModelError, UsageError
from aerocam.export import check_export, export_model
from aerocam.runtime import Explainer
from coloured import WEIGHTS, disc, written
from onnx_graphs import Float64, model, node, run_ort, run_reference, saved, tail

Array = NDArray[Any]

BEND = "s = Mul(a, a) b = Add(s, a) c0 = Conv(b, kernel) "
"""Nonlinear in `a`."""

FORMS: dict[str, tuple[str, str, Callable[[Array], Array]]] = {
    "displacements": (BEND + "y = Identity(c0)", "float[1,3,8,8] y", lambda y: y[0]),
    "channels last": (
        BEND + "y = Transpose<perm=[0,2,3,1]>(c0)",
        "float[1,8,8,3] y",
        lambda y: y[0].transpose(2, 0, 1),
    ),
    "a depth map": (BEND + "y = ReduceSum<keepdims=0>(c0, axis)", "float[1,8,8] y", lambda y: y),
    "one channel": (BEND + "y = ReduceSum(c0, axis)", "float[1,1,8,8] y", lambda y: y[0]),
    "tokens behind a class token": (
        BEND + "r = Reshape(c0, rows) t = Transpose<perm=[0,2,1]>(r) q = Unsqueeze(f, axis) y = Concat<axis=1>(q, t)",
        "float[1,65,3] y",
        lambda y: y[0, 1:].T.reshape(3, 8, 8),
    ),
}  # fmt: skip
"""Tail, output, and the output as (channels, 8, 8)."""

SHADES = np.random.default_rng(3).permuted(np.linspace(0, 1, 192).reshape(3, 64), axis=1).reshape(3, 8, 8)
X = np.kron(SHADES * np.eye(3)[np.random.default_rng(6).integers(3, size=(8, 8))].transpose(2, 0, 1), np.ones((4, 4)))
X = X[None].astype(np.float32)
"""Squares of 4 x 4 px in shades of red, green or blue."""

TARGETS = 2
REGIONS = np.random.default_rng(39).random((TARGETS, 8, 8)).astype(np.float32) ** 8
"""Channels are in another order in each of them."""

REFERENCES = np.random.default_rng(5).standard_normal((TARGETS, 3)).astype(np.float32)


def means(maps: Array) -> Array:
    """(targets, channels)."""
    return np.array([[np.average(channel, weights=region) for channel in maps] for region in REGIONS.astype(float)])


def gradient(function: Callable[[Array], Array], at: Array) -> Array:
    """Central differences at every entry, (targets, *at.shape)."""
    steps = 1e-5 * np.eye(at.size).reshape(at.size, *at.shape)
    slopes = np.array([(function(at + step) - function(at - step)) / 2e-5 for step in steps])
    return slopes.T.reshape(-1, *at.shape)


@pytest.mark.parametrize("packaging", ["fused", "split"])
@pytest.mark.parametrize("name", FORMS)
def test_the_mean_of_a_channel(tmp_path: Path, name: str, packaging: str) -> None:
    """Two targets with a region each; -1 is the channel farthest from 0, -2 the second."""
    form, output, maps_of = FORMS[name]
    path = written(tmp_path / "m.onnx", form, output)
    done = export_model(path, task="regress", layers="a", targets=TARGETS, packaging=packaging)
    assert done.report is not None
    assert max(done.report.gradients.values()) < 1e-3
    assert max(check_export(path, done.path).gradients.values()) < 1e-3
    (y,) = run_ort(onnx.load(path), {"x": X})
    expected = means(maps_of(y))
    channels = expected.shape[1]
    score = done.manifest.score
    assert (score.classes, score.anchors, score.positions) == (channels, 64, (8, 8))
    later = Float64(tail(onnx.load(path), "a", ["y"]))
    feeds = explained_feeds(done.path, packaging)
    own = -np.array([1, 2]) if channels > 1 else np.array([-1, 0])
    ranks = np.argsort(-np.abs(expected), axis=1)
    chosen = np.array([ranks[0, 0], ranks[1, -own[1] - 1] if channels > 1 else 0])
    for target, picked in ((own, chosen), (chosen[::-1], chosen[::-1])):
        found = explained(done.path, packaging, feeds | {manifest.TARGET: target.astype(np.int32)})
        assert found[manifest.CHOSEN].tolist() == picked.tolist()
        np.testing.assert_allclose(found[manifest.SCORE], expected[[0, 1], picked], rtol=1e-5, atol=1e-6)

        def scores(a: Array, picked: Array = picked) -> Array:
            return means(maps_of(later(feeds | {"a": a})[0]))[[0, 1], picked]

        slopes = gradient(scores, feeds["a"].astype(float))
        np.testing.assert_allclose(found["aerocam_gradients_0"], slopes[:, 0], atol=1e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("name", ["displacements", "tokens behind a class token"])
def test_the_cosine_of_the_mean_embedding(tmp_path: Path, name: str) -> None:
    """Its length is a constant where it is differentiated; the tail gives the score of other activations."""
    form, output, maps_of = FORMS[name]
    path = written(tmp_path / "m.onnx", form, output)
    done = export_model(path, task="embed", layers="a", targets=TARGETS, packaging="split", batch=3)
    assert done.report is not None
    assert max(done.report.gradients.values()) < 1e-3
    later = Float64(tail(onnx.load(path), "a", ["y"]))
    feeds = explained_feeds(done.path, "split") | {manifest.REFERENCE: REFERENCES}
    unit = REFERENCES / np.linalg.norm(REFERENCES, axis=1, keepdims=True)
    lengths = np.linalg.norm(means(maps_of(later(feeds)[0])), axis=1)

    def cosines(a: Array) -> Array:
        return (means(maps_of(later(feeds | {"a": a})[0])) * unit).sum(axis=1) / lengths

    feeds[manifest.TARGET] = np.int32([-1, -1])
    found = explained(done.path, "split", feeds)
    np.testing.assert_allclose(found[manifest.SCORE], cosines(feeds["a"].astype(float)), rtol=1e-5)
    slopes = gradient(cosines, feeds["a"].astype(float))
    np.testing.assert_allclose(found["aerocam_gradients_0"], slopes[:, 0], atol=1e-5 * np.abs(slopes).max())
    batch = np.concatenate([feeds["a"], 2 * feeds["a"], feeds["a"][:, ::-1]])
    behind = onnx.load(done.path.with_suffix(".tail.onnx"))
    (scores,) = run_ort(
        behind, {item.name: (feeds | {manifest.BATCH: batch})[item.name] for item in behind.graph.input}
    )
    np.testing.assert_allclose(scores[0], found[manifest.SCORE], rtol=1e-5)
    other = means(maps_of(later(feeds | {"a": batch[2:]})[0]))
    np.testing.assert_allclose(scores[2], (other * unit).sum(axis=1) / np.linalg.norm(other, axis=1), rtol=1e-4)


def explained_feeds(path: Path, packaging: str) -> dict[str, Array]:
    """Regions, and the picture with what the forward file makes of it; where there is one file, `a` of the picture."""
    forward = onnx.load(path)
    if packaging == "split":
        names = [item.name for item in forward.graph.output]
        return {"x": X, manifest.REGION: REGIONS, **dict(zip(names, run_ort(forward, {"x": X}), strict=True))}
    plain = onnx.load(path.with_name("m.onnx"))
    plain.graph.output.append(onnx.helper.make_empty_tensor_value_info("a"))
    if all("f" not in item.name for item in plain.graph.output):
        plain.graph.output.append(onnx.helper.make_empty_tensor_value_info("f"))
    a, f = run_ort(plain, {"x": X}, ["a", "f"])
    return {"x": X, manifest.REGION: REGIONS, "a": a, "f": f}


def explained(path: Path, packaging: str, feeds: dict[str, Array]) -> dict[str, Array]:
    """What the file that explains gives out."""
    proto = onnx.load(path if packaging == "fused" else path.with_suffix(".explain.onnx"))
    names = [item.name for item in proto.graph.output]
    return dict(zip(names, run_ort(proto, {item.name: feeds[item.name] for item in proto.graph.input}), strict=True))


def test_half_precision_keeps_small_weights(tmp_path: Path) -> None:
    """Each weight of 300 x 300 positions is 1.1e-5: float16 has but 186 or 187 times its smallest number for it."""
    side = 300
    kernel = WEIGHTS["kernel"].astype(np.float16)
    x = np.full((1, 3, side, side), 0.5, np.float16)
    nodes = [node("Conv", ["x", "k"], ["c"]), node("Relu", ["c"], ["a"]), node("Conv", ["a", "k"], ["y"])]
    path = saved(tmp_path, model(nodes, {"x": x}, {"k": kernel}, ["y"]))
    done = export_model(path, task="regress", layers="a", check=False)
    feeds = {"x": x, manifest.REGION: np.ones((1, side, side), np.float32), manifest.TARGET: np.int32([0])}
    proto = onnx.load(done.path)  # ONNX Runtime computes in float32 in between
    found = run_reference(proto, feeds)[[item.name for item in proto.graph.output].index("aerocam_gradients_0")]
    expected = kernel[0].astype(float) / side**2 * np.ones((side, side))
    np.testing.assert_allclose(found[0].astype(float) / done.manifest.seed_scale, expected, rtol=1e-3)


def test_without_evidence_of_axes_it_asks(tmp_path: Path) -> None:
    """(1, n, m) may have channels on either axis; of four axes the channels are the first."""
    for shape, fits in (((1, 12, 16), False), ((1, 12, 4, 4), True)):
        dims = ",".join(map(str, shape))
        proto = onnx.load(written(tmp_path / "m.onnx", "y = Reshape(a, order)", f"float[{dims}] y"))
        constant = next(item for item in proto.graph.initializer if item.name == "order")
        constant.CopyFrom(onnx.numpy_helper.from_array(np.array(shape), "order"))
        onnx.save(proto, tmp_path / "m.onnx")
        if fits:
            assert export_model(tmp_path / "m.onnx", task="regress", check=False).manifest.score.positions == (4, 4)
        else:
            with pytest.raises(
                ModelError, match=r"task regress: .* one of shape \(1, numbers\), \(1, channels, H, W\)"
            ):
                export_model(tmp_path / "m.onnx", task="regress")


def test_an_error_names_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", FORMS["a depth map"][0], "float[1,8,8] y")
    with pytest.raises(ModelError, match=r"task segment: outputs 'y' .* \(numbers at positions are `task='regress'`\)"):
        export_model(path, task="segment")
    path = written(tmp_path / "m.onnx", FORMS["tokens behind a class token"][0], "float[1,65,3] y")
    with pytest.raises(
        ModelError, match=r"nothing says what .*positions are `task='regress'`, features there `task='emb"
    ):
        export_model(path)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that explains displacements, by its plain model `m.onnx`."""
    path = written(tmp_path_factory.mktemp("flow") / "m.onnx", FORMS["displacements"][0], "float[1,3,8,8] y")
    return export_model(path, task="regress", layers="a", preprocess="unit").path


def plain_output(path: Path, frame: Array) -> Array:
    """(3, 8, 8), of the original model for a frame of 32 x 32 px."""
    tensor = frame[None, ..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    return onnxruntime.InferenceSession(str(path)).run(["y"], {"x": tensor})[0][0]


@pytest.mark.parametrize("packaging", ["fused", "split"])
def test_a_region_of_the_frame_is_explained(flow: Path, packaging: str) -> None:
    frame, plain = disc(1), flow.with_name("m.onnx")
    if packaging == "split":
        flow = export_model(plain, flow.with_name("s.onnx"), task="regress", layers="a", preprocess="unit",
                            packaging="split", targets=2).path  # fmt: skip
    y = plain_output(plain, frame)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 4:12] = 255
    with Explainer(flow) as explainer:
        assert explainer.method == "hirescam"
        for region, part in (
            (None, np.s_[:, :, :]),
            ((4, 8, 12, 16), np.s_[:, 2:4, 1:3]),
            ((14.5, 17.2), np.s_[:, 4:5, 3:4]),
            (mask, np.s_[:, 2:4, 1:3]),
            (None, np.s_[:, :, :]),
        ):
            explainer.look_at(region)
            expected = y[part].reshape(3, -1).mean(axis=1)
            found = explainer(frame, [None, 0, 2])
            np.testing.assert_allclose(found.prediction.probabilities, expected, rtol=1e-4, atol=1e-6)
            best = int(np.abs(expected).argmax())
            assert [target.index for target in found.targets] == [best, 0, 2]
            assert found.classes[0].index == best
            assert [t.score for t in found.targets] == pytest.approx(expected[[best, 0, 2]], rel=1e-4, abs=1e-6)
            outside = np.ones((8, 8), bool)
            outside[part[1:]] = False
            assert not found.raw[:, outside].any()
            assert found.raw[:, ~outside].any()
            record = found.record().get("region")
            assert (record is None) == (region is None)
            if region is mask:
                assert [p["box"] for p in record["mask"]] == [[4, 8, 12, 16]]
            elif region is not None:
                assert record == ({"point": [14, 17]} if len(region) == 2 else {"box": list(region)})


def test_a_region_holds_from_the_next_frame_on(flow: Path) -> None:
    """A frame that was predicted is explained where it was looked at."""
    frame = disc(2)
    y = plain_output(flow.with_name("m.onnx"), frame)
    with Explainer(flow) as explainer:
        explainer.look_at((4, 8, 8, 12))
        prediction = explainer.predict(frame)
        explainer.look_at(None)
        assert explainer.explain(prediction, 1).target.score == pytest.approx(y[1, 2, 1], rel=1e-4)
        assert explainer.explain(prediction, 0).target.score == pytest.approx(y[0, 2, 1], rel=1e-4)
        assert explainer(frame, 1).target.score == pytest.approx(y[1].mean(), rel=1e-4)
        explainer.look_at((40, 40, 50, 50))
        with pytest.raises(UsageError, match=r"nothing of it lies in what the model sees of a frame of 32x32 px"):
            explainer(frame)


def test_a_dense_embedding_is_compared_over_a_region(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", FORMS["displacements"][0], "float[1,3,8,8] y")
    done = export_model(path, task="embed", layers="a", preprocess="unit")
    frame, other = disc(1), disc(0)
    there = plain_output(path, frame)[:, 3, 4]
    reference = plain_output(path, other).mean(axis=(1, 2))
    with Explainer(done.path) as explainer:
        explainer.compare_with(other)
        explainer.look_at((17, 13))
        cosine = explainer(frame).target.score
        np.testing.assert_allclose(explainer.embed(frame), there, rtol=1e-4)
    assert cosine == pytest.approx(there @ reference / np.linalg.norm(there) / np.linalg.norm(reference), rel=1e-4)


def test_what_cannot_be_looked_at(flow: Path, tmp_path: Path) -> None:
    from aerocam.runtime.maps.smoothing import MapSmoothing

    path = written(tmp_path / "m.onnx", "y = MatMul(f, w)", "float[1,3] y")
    with Explainer(export_model(path, task="regress", preprocess="unit").path) as explainer:
        explainer.look_at(None)
        with pytest.raises(UsageError, match="`region`: the model has task regress and no numbers at positions"):
            explainer.look_at((1, 1))
    with Explainer(flow, smoothing=MapSmoothing(augmented=True)) as explainer:
        explainer(disc(0))
        with pytest.raises(UsageError, match="mirrored frames would be looked at elsewhere"):
            explainer.look_at((1, 1))


def test_the_command(flow: Path, tmp_path: Path) -> None:
    y = plain_output(flow.with_name("m.onnx"), disc(1))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 4:12] = 255
    for name, picture in (("disc", disc(1)), ("mask", mask)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    call = ["explain", "-q", str(flow), str(tmp_path / "disc.png"), "-o", str(tmp_path), "--target", "1"]
    for region, expected in (
        ("4,8,12,16", y[1, 2:4, 1:3].mean()),
        ("-4,8,12,16", y[1, 2:4, :3].mean()),
        ("5,9", y[1, 2, 1]),
        (str(tmp_path / "mask.png"), y[1, 2:4, 1:3].mean()),
    ):
        assert main([*call, "--region", region, "--html", str(tmp_path / "page.html")]) == 0
        (target,) = json.loads((tmp_path / "disc.cam.json").read_text())["targets"]
        assert target["score"] == pytest.approx(expected, rel=1e-4)
        assert f"<dd>{region}</dd>" in (tmp_path / "page.html").read_text()


WRONG = {
    "1,2,3": "--region 1,2,3: got 3 numbers, expected x0,y0,x1,y1 or x,y, or a mask's file",
    "5,5,5,9": "--region 5,5,5,9: it is empty",
    "nan,3": "--region: got numbers that are not finite",
    "disc.png": "disc.png: a picture in colour, expected a grey mask, black outside",
    "black.png": "--region: got a mask of zeros",
}


@pytest.mark.parametrize("command", ["explain", "stream"])
@pytest.mark.parametrize("region", WRONG)
def test_a_wrong_region_is_one_line(
    flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, region: str
) -> None:
    cv2.imwrite(str(tmp_path / "disc.png"), disc(1))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((32, 32), np.uint8))
    given = str(tmp_path / region) if region.endswith("png") else region
    assert main([command, "-q", str(flow), str(tmp_path / "disc.png"), "--region", given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert WRONG[region] in line
