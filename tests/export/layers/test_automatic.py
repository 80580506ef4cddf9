"""Layers taken when nobody says, on small networks that are built as real ones are; and modules by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from aerocam.errors import UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.layers.automatic import UNSURE
from aerocam.export.layers.target_layers import choose_layers
from aerocam.export.plan import make_plan
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.modules import SCOPES, module_path
from aerocam.export.request import ExportRequest
from aerocam.export.scores import find_score
from aerocam.manifest import TARGET
from onnx_graphs import f32, parsed, run_ort, saved
from small_networks import cnn


def automatic(path: Path, **options: Any) -> list[tuple[str, int, int]]:
    return [(layer.name, *layer.shape[2:]) for layer in list_layers(path, **options)[1]]


MERGING = {  # t (1, 8, 8, 8), channels last, to m
    "as timm": "r = Reshape(t, s6) q = Transpose<perm=[0,1,3,4,2,5]>(r) m = Reshape(q, s4)",
    "by slices": """q00 = Slice(t, s00, e, hw, two) q10 = Slice(t, s10, e, hw, two)
        q01 = Slice(t, s01, e, hw, two) q11 = Slice(t, s11, e, hw, two) m = Concat<axis=3>(q00, q10, q01, q11)""",
    "as Hiera": """r = Reshape(t, s6) q = Transpose<perm=[0,2,4,1,3,5]>(r) u = Reshape(q, s3)
        m = ReduceMax<axes=[1], keepdims=0>(u)""",
    "by a pool": "p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) m = Transpose<perm=[0,2,3,1]>(p)",
}
SLICES = {"s00": [0, 0], "s10": [1, 0], "s01": [0, 1], "s11": [1, 1], "e": [99, 99], "hw": [1, 2], "two": [2, 2]}


def merging(how: str) -> onnx.ModelProto:
    """A stage, patches merged into the next, whose channels are pooled."""
    units = how == "as Hiera"
    return parsed(
        "(float[1,3,32,32] x) => (float[1,5] y)",
        f"""c = Conv<strides=[4,4]>(x, w0) t = Transpose<perm=[0,2,3,1]>(c) {MERGING[how]} late = MatMul(m, w1)
        act = Sigmoid(late) g = ReduceMean<axes=[{"1" if units else "1,2"}], keepdims=0>(act) y = MatMul(g, w2)""",
        w0=f32(8, 3, 4, 4),
        w1=f32(32 if how in ("as timm", "by slices") else 8, 16),
        w2=f32(16, 5),
        s6=[1, 4, 2, 4, 2, 8],
        s4=[1, 4, 4, 32],
        s3=[1, 4, 16, 8],
        **SLICES,
    )


@pytest.mark.parametrize(("how", "like"), [("as timm", "by slices"), ("as Hiera", "by a pool")])
def test_places_survive_merging_by_reshapes(tmp_path: Path, how: str, like: str) -> None:
    """The last stage is the layer, and what leaves is what the same network gives with its places kept."""
    numbers = []
    for form in (how, like):
        done = export_model(saved(tmp_path, merging(form)))
        assert [(layer.name, layer.shape) for layer in done.manifest.layers] == [("act", (1, 16, 4, 4))]
        feeds = {"x": f32(1, 3, 32, 32, seed=3), TARGET: np.int32([2])}
        numbers.append(run_ort(onnx.load(done.path), feeds, ["aerocam_activations_0", "aerocam_gradients_0"]))
    for got, expected in zip(*numbers, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_tokens_in_the_order_of_units_leave_in_the_order_of_the_picture(tmp_path: Path) -> None:
    """As Hiera's earlier stages have them: activations and gradients are those of the network that never moved them."""
    numbers = []
    for order in ("q = Transpose<perm=[0,2,4,1,3,5]>(r)", "q = Identity(r)"):
        proto = parsed(
            "(float[1,3,32,32] x) => (float[1,5] y)",
            f"""c = Conv<strides=[4,4]>(x, w0) t = Transpose<perm=[0,2,3,1]>(c) r = Reshape(t, s6) {order}
            u = Reshape(q, s3) late = MatMul(u, w1) act = Sigmoid(late) square = Mul(act, act)
            g = ReduceMean<axes=[1], keepdims=0>(square) y = MatMul(g, w2)""",
            w0=f32(8, 3, 4, 4), w1=f32(8, 16), w2=f32(16, 5), s6=[1, 4, 2, 4, 2, 8], s3=[1, 64, 8],
        )  # fmt: skip
        path = saved(tmp_path, proto)
        done = export_model(path, layers="act", targets=2)
        assert (done.manifest.layers[0].kind, done.manifest.layers[0].shape) == ("tokens", (1, 16, 8, 8))
        feeds = {"x": f32(1, 3, 32, 32, seed=3), TARGET: np.int32([2, 4])}
        numbers.append(run_ort(onnx.load(done.path), feeds, ["aerocam_activations_0", "aerocam_gradients_0"]))
        tail = export_model(path, layers="act", packaging="split", batch=2)
        assert tail.report is not None
        assert tail.report.tail is not None
    for got, expected in zip(*numbers, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    assert np.ptp(numbers[0][1]) > 0.01


def test_the_decoder_behind_an_unpooling_by_scatter(tmp_path: Path) -> None:
    where = np.arange(8 * 16 * 16).reshape(8, 8, 2, 8, 2)[:, :, 0, :, 0].reshape(-1, 1)
    proto = parsed(
        "(float[1,3,16,16] x) => (float[1,4,16,16] y)",
        """c = Conv<pads=[1,1,1,1]>(x, w0) early = Relu(c) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(early)
        values = Reshape(p, flat) filled = ScatterND(zeros, where, values) unpooled = Reshape(filled, whole)
        c1 = Conv<pads=[1,1,1,1]>(unpooled, w1) decoder = Relu(c1) y = Conv(decoder, w2)""",
        w0=f32(8, 3, 3, 3), w1=f32(8, 8, 3, 3), w2=f32(4, 8, 1, 1), zeros=np.zeros(2048), where=where, flat=[512],
        whole=[1, 8, 16, 16],
    )  # fmt: skip
    assert automatic(saved(tmp_path, proto), task="segment") == [("decoder", 16, 16)]


def attention(x: str, prefix: str) -> str:
    """Nodes of one head of attention over (1, L, 8), with a norm before and a shortcut to `{prefix}out`."""
    p = prefix
    return f"""{p}ln = LayerNormalization<axis=-1>({x}, ones) {p}Q = MatMul({p}ln, {p}q) {p}K = MatMul({p}ln, {p}k)
        {p}V = MatMul({p}ln, {p}v) {p}T = Transpose<perm=[0,2,1]>({p}K) {p}S = MatMul({p}Q, {p}T)
        {p}P = Softmax<axis=-1>({p}S) {p}O = MatMul({p}P, {p}V) {p}out = Add({x}, {p}O) """


TOKENS = "c = Conv<strides=[8,8]>(x, w0) r = Reshape(c, s) t = Transpose<perm=[0,2,1]>(r) "
WEIGHTS = {"w0": f32(8, 3, 8, 8), "s": [1, 8, 16], "ones": np.ones(8), "w1": f32(8, 5)}


@pytest.mark.parametrize("given", [", int64[3,4] ids", ", float[1,3,8] text", ""])
def test_another_tower_does_not_count(tmp_path: Path, given: str) -> None:
    """CLIP: the attention that is looked for lies between the picture and the score, not last in the file."""
    text = "tx = Identity(text) " if "text" in given else "tx = Gather<axis=0>(emb, ids) "
    proto = parsed(
        f"(float[1,3,32,32] x{given}) => (float[1,N] y)",
        TOKENS
        + "tok = Concat<axis=1>(cls, t) "
        + attention("tok", "i")
        + "cl = Gather<axis=1>(iout, zero) "
        + text
        + attention("tx", "t")
        + "te = Gather<axis=1>(tout, zero) tet = Transpose<perm=[1,0]>(te) y = MatMul(cl, tet)",
        ids=np.arange(12).reshape(3, 4), emb=f32(20, 8), cls=f32(1, 1, 8), zero=np.array(0), **WEIGHTS,
        **{p + k: f32(8, 8, seed=i) for i, p in enumerate("it") for k in "qkv"},
    )  # fmt: skip
    if given.endswith("ids"):
        proto.graph.initializer.remove(next(x for x in proto.graph.initializer if x.name == "ids"))
    loaded = load_model(saved(tmp_path, proto))
    choice = choose_layers(loaded, find_score(loaded, "classify"), ["auto"])
    assert ([layer.name for layer in choice.layers], choice.evidence) == (["iln"], "what the last attention reads")


def test_layers_that_only_a_class_token_reaches_are_not_taken(tmp_path: Path) -> None:
    """Where no attention says so: behind the mean of all tokens, the score depends on the class token alone."""
    proto = parsed(
        "(float[1,3,32,32] x) => (float[1,5] y)",
        TOKENS
        + """tok = Concat<axis=1>(cls, t) m = ReduceMean<axes=[1]>(tok) s1 = Add(tok, m)
        n = LayerNormalization<axis=-1>(s1, ones) cl = Gather<axis=1>(n, zero) y = MatMul(cl, w1)""",
        cls=f32(1, 1, 8), zero=np.array(0), **WEIGHTS,
    )  # fmt: skip
    known, chosen = list_layers(saved(tmp_path, proto))
    fields = {layer.name: layer.field for layer in known}
    assert [layer.name for layer in chosen] == ["tok"]
    assert {name: fields[name] for name in ("tok", "s1", "n")} == {"tok": (4, 4), "s1": None, "n": None}


@pytest.mark.parametrize("joined", [True, False])
def test_a_pool_by_attention_is_explained_at_what_it_reads(tmp_path: Path, joined: bool) -> None:
    """SigLIP: keys and values of one projection, or of two, are no features."""
    kv = "kv = MatMul(n, wkv) k, v = Split<axis=2>(kv, halves)" if joined else "k = MatMul(n, wk) v = MatMul(n, wv)"
    proto = parsed(
        "(float[1,3,32,32] x) => (float[1,5] y)",
        TOKENS
        + f"""n = LayerNormalization<axis=-1>(t, ones) {kv} kt = Transpose<perm=[0,2,1]>(k) qk = MatMul(probe, kt)
        p = Softmax<axis=-1>(qk) o = MatMul(p, v) pooled = Squeeze(o, one) y = MatMul(pooled, w1)""",
        wkv=f32(8, 16), wk=f32(8, 8), wv=f32(8, 8), halves=[8, 8], probe=f32(1, 1, 8), one=[1], **WEIGHTS,
    )  # fmt: skip
    assert automatic(saved(tmp_path, proto)) == [("n", 4, 4)]


@pytest.mark.parametrize("projected", [True, False])
def test_queries_are_explained_at_all_scales_that_they_read(tmp_path: Path, projected: bool) -> None:
    """RT-DETR projects each scale; D-FINE reads them as they are, of which one is made from the other."""
    between = "r0 = Conv(scale0, wp0) r1 = Conv(scale1, wp1)" if projected else "r0 = Exp(scale0) r1 = Exp(scale1)"
    proto = parsed(
        "(float[1,3,64,64] x) => (float[1,5,4] logits, float[1,5,4] boxes)",
        f"""c0 = Conv<strides=[8,8]>(x, w0) scale0 = Relu(c0) c1 = Conv<strides=[2,2], pads=[0,0,1,1]>(scale0, w1)
        scale1 = Relu(c1) {between if projected else ""}
        f0 = Reshape({"r0" if projected else "scale0"}, flat) f1 = Reshape({"r1" if projected else "scale1"}, flat)
        t0 = Transpose<perm=[0,2,1]>(f0) t1 = Transpose<perm=[0,2,1]>(f1) tokens = Concat<axis=1>(t0, t1)
        k = MatMul(tokens, wk) v = MatMul(tokens, wv) kt = Transpose<perm=[0,2,1]>(k) qk = MatMul(q, kt)
        p = Softmax<axis=-1>(qk) o = MatMul(p, v) logits = MatMul(o, wc) b = MatMul(o, wb) boxes = Sigmoid(b)""",
        w0=f32(8, 3, 8, 8), w1=f32(8, 8, 3, 3), wp0=f32(8, 8, 1, 1), wp1=f32(8, 8, 1, 1), flat=[1, 8, -1],
        wk=f32(8, 8), wv=f32(8, 8), q=f32(1, 5, 8), wc=f32(8, 4), wb=f32(8, 4),
    )  # fmt: skip
    names = ("r0", "r1") if projected else ("scale0", "scale1")
    expected = [(names[0], 8, 8), (names[1], 4, 4)]
    assert automatic(saved(tmp_path, proto), task="detect", layout="rtdetr") == expected


HEADS = {  # of scale @: boxes (4 channels) and classes (3) from scale@ (1, 8, n, n), and the layer that is expected
    "3x3, then 1x1": (
        """bc@ = Conv<pads=[1,1,1,1]>(scale@, k3) ba@ = Relu(bc@) box@ = Conv(ba@, ob)
        cc@ = Conv<pads=[1,1,1,1]>(scale@, j3) ca@ = Relu(cc@) cls@ = Conv(ca@, oc)""",
        "scale",
    ),
    "with a bias apart": (
        """bc@ = Conv<pads=[1,1,1,1]>(scale@, k3) ba@ = Relu(bc@) box@ = Conv(ba@, ob)
        cc@ = Conv<pads=[1,1,1,1]>(scale@, j3) ca@ = Relu(cc@) cw@ = Conv(ca@, oc) cls@ = Add(cw@, bias)""",
        "scale",
    ),
    "one predictor behind 3x3": (
        """dw@ = Conv<pads=[1,1,1,1], group=8>(scale@, d3) pw@ = Conv(dw@, k1) act@ = Relu(pw@)
        both@ = Conv(act@, o7) box@, cls@ = Split<axis=1>(both@, parts)""",
        "scale",
    ),
    "one predictor behind 3x3, with a bias apart": (
        """dw@ = Conv<pads=[1,1,1,1], group=8>(scale@, d3) pw@ = Conv(dw@, k1) act@ = Relu(pw@)
        bw@ = Conv(act@, o7) both@ = Add(bw@, bias7) box@, cls@ = Split<axis=1>(both@, parts)""",
        "scale",
    ),
    "1x1 on the scale": ("box@ = Conv(scale@, ob) cls@ = Conv(scale@, oc)", "n"),
}


def detector(head: str, joined: bool) -> onnx.ModelProto:
    """Two scales, of 8x8 and 4x4: `n` by 3x3 convolutions, `scale` from it; boxes and classes joined per scale or not.

    Joined they are as Ultralytics wrote them up to 8.3, apart as since 8.4.
    """
    text = ""
    for s, step in enumerate((8, 16)):
        text += f"""p@ = AveragePool<kernel_shape=[{step},{step}], strides=[{step},{step}]>(x) m@ = Conv(p@, w@)
        n@ = Relu(m@) q@ = Conv<pads=[1,1,1,1]>(n@, v@) scale@ = Relu(q@) {HEADS[head][0]} """.replace("@", str(s))
        if joined:
            text += f"j{s} = Concat<axis=1>(box{s}, cls{s}) r{s} = Reshape(j{s}, s7) "
        else:
            text += f"rb{s} = Reshape(box{s}, s4) rc{s} = Reshape(cls{s}, s3) "
    if joined:
        text += "all = Concat<axis=2>(r0, r1) sides, logits = Split<axis=1>(all, parts) "
    else:
        text += "sides = Concat<axis=2>(rb0, rb1) logits = Concat<axis=2>(rc0, rc1) "
    text += "bins = Softmax<axis=2>(sides) lt, rb = Split<axis=1>(sides, two) x1 = Sub(grid, lt) x2 = Add(grid, rb) "
    text += "sum = Add(x1, x2) size = Sub(x2, x1) s = Sigmoid(logits) y = Concat<axis=1>(sum, size, s)"
    return parsed(
        "(float[1,3,64,64] x) => (float[1,7,80] y)",
        text,
        w0=f32(8, 3, 1, 1), w1=f32(8, 3, 1, 1, seed=1), v0=f32(8, 8, 3, 3), v1=f32(8, 8, 3, 3, seed=1),
        k3=f32(8, 8, 3, 3), j3=f32(8, 8, 3, 3, seed=2), d3=f32(8, 1, 3, 3), k1=f32(8, 8, 1, 1), ob=f32(4, 8, 1, 1),
        oc=f32(3, 8, 1, 1), o7=f32(7, 8, 1, 1), bias=f32(3, 1, 1), bias7=f32(7, 1, 1), parts=[4, 3], two=[2, 2],
        s7=[1, 7, -1], s4=[1, 4, -1], s3=[1, 3, -1], grid=f32(1, 2, 80),
    )  # fmt: skip


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_a_detector_is_explained_where_an_answer_sees_more_than_a_cell(
    tmp_path: Path, head: str, joined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """At the head's inputs, whatever joins boxes and classes; further back where these are read cell by cell."""
    expected = HEADS[head][1]
    path = saved(tmp_path, detector(head, joined))
    assert automatic(path, task="detect") == [(f"{expected}0", 8, 8), (f"{expected}1", 4, 4)]
    assert "depends on one cell" not in caplog.text


def test_a_score_of_several_maps_has_the_scales_of_its_classes(tmp_path: Path) -> None:
    """FCOS: the square root of class and centreness, the second predicted beside the boxes."""
    text = ""
    for s, step in enumerate((8, 16)):
        text += f"""p@ = AveragePool<kernel_shape=[{step},{step}], strides=[{step},{step}]>(x) m@ = Conv(p@, w@)
        scale@ = Relu(m@) cc@ = Conv<pads=[1,1,1,1]>(scale@, k3) ca@ = Relu(cc@) cls@ = Conv(ca@, oc)
        bc@ = Conv<pads=[1,1,1,1]>(scale@, j3) ba@ = Relu(bc@) box@ = Conv(ba@, ob) ctr@ = Conv(ba@, o1)
        ct@ = Reshape(cls@, s3) bt@ = Reshape(box@, s4) nt@ = Reshape(ctr@, s1) """.replace("@", str(s))
    text += "".join(f"{j} = Concat<axis=2>({j}0, {j}1) " for j in ("ct", "bt", "nt"))
    text += """cs = Sigmoid(ct) ns = Sigmoid(nt) both = Mul(cs, ns) root = Sqrt(both)
    scores = Transpose<perm=[0,2,1]>(root) raw = Transpose<perm=[0,2,1]>(bt) boxes = Exp(raw)"""
    proto = parsed(
        "(float[1,3,64,64] x) => (float[1,80,3] scores, float[1,80,4] boxes)",
        text,
        w0=f32(8, 3, 1, 1), w1=f32(8, 3, 1, 1, seed=1), k3=f32(8, 8, 3, 3), j3=f32(8, 8, 3, 3, seed=2),
        oc=f32(3, 8, 1, 1), ob=f32(4, 8, 1, 1), o1=f32(1, 8, 1, 1), s3=[1, 3, -1], s4=[1, 4, -1], s1=[1, 1, -1],
    )  # fmt: skip
    expected = [("scale0", 8, 8), ("scale1", 4, 4)]
    assert automatic(saved(tmp_path, proto), task="detect", layout="retinanet") == expected


def test_a_layer_that_can_only_show_a_dot_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path, detector("3x3, then 1x1", True))
    export_model(path, task="detect", layers=["ca0", "ca1"], check=False)
    assert "of ca0, ca1 one answer depends on one cell of it" in caplog.text
    caplog.clear()
    export_model(path, task="detect", layers=["cc0", "scale1", "x"], check=False)
    assert "of cc0 one answer depends on one cell of it" in caplog.text


def test_where_several_ways_lead_to_the_score_the_layer_is_a_guess(tmp_path: Path) -> None:
    """LR-ASPP: a map of few channels goes to the score past nearly all of the network."""
    proto = parsed(
        "(float[1,3,32,32] x) => (float[1,4,16,16] y)",
        """c = Conv<strides=[2,2]>(x, w0) low = Relu(c) d = Conv<strides=[2,2], pads=[0,0,1,1]>(low, w1) e = Relu(d)
        g = Conv<pads=[1,1,1,1]>(e, w2) high = Relu(g) up = Resize<mode="linear">(high, , twice)
        yl = Conv(low, wl) yh = Conv(up, wh) y = Add(yl, yh)""",
        w0=f32(4, 3, 2, 2), w1=f32(32, 4, 3, 3), w2=f32(32, 32, 3, 3), wl=f32(4, 4, 1, 1), wh=f32(4, 32, 1, 1),
        twice=np.float32([1, 1, 2, 2]),
    )  # fmt: skip
    request = ExportRequest.of(saved(tmp_path, proto), task="segment")
    plan = make_plan(load_model(request.path), request, "source")
    (decision,) = (item for item in plan.manifest.decisions if item.subject == "layers")
    assert (decision.decided, decision.is_guess) == ("up 1x32x16x16", True)
    assert decision.evidence == "the last of several ways from picture to score, for task segment"


def test_two_networks_with_one_score_have_no_layer_in_common(tmp_path: Path) -> None:
    proto = parsed(
        "(float[1,3,32,32] x) => (float[1,5] y)",
        """a = Conv<strides=[4,4]>(x, w0) ar = Relu(a) ag = ReduceMean<axes=[2,3], keepdims=0>(ar) ay = MatMul(ag, w1)
        b = Conv<strides=[4,4]>(x, w2) br = Relu(b) bg = ReduceMean<axes=[2,3], keepdims=0>(br) by = MatMul(bg, w1)
        y = Add(ay, by)""",
        w0=f32(4, 3, 4, 4), w1=f32(4, 5), w2=f32(4, 3, 4, 4, seed=1),
    )  # fmt: skip
    loaded = load_model(saved(tmp_path, proto))
    choice = choose_layers(loaded, find_score(loaded, "classify"), ["auto"])
    assert ([layer.name for layer in choice.layers], choice.conflict) == (["br"], UNSURE)


def test_most_of_the_arithmetic_behind_the_layer_makes_it_a_guess(tmp_path: Path) -> None:
    """A mixer over shuffled places: nothing behind the first convolution has a place in the picture."""
    proto = parsed(
        "(float[1,3,32,32] x) => (float[1,5] y)",
        """c = Conv<strides=[4,4]>(x, w0) f = Flatten(c) a = MatMul(f, w1) b = Relu(a) y = MatMul(b, w2)""",
        w0=f32(4, 3, 4, 4), w1=f32(256, 64), w2=f32(64, 5),
    )  # fmt: skip
    loaded = load_model(saved(tmp_path, proto))
    choice = choose_layers(loaded, find_score(loaded, "classify"), ["auto"])
    share = (256 * 64 + 64 * 5) / (256 * 64 + 64 * 5 + 64 * 4 * 48)
    assert [layer.name for layer in choice.layers] == ["c"]
    assert choice.conflict == f"{share:.0%} of the arithmetic with weights lies behind"
    assert choice.layers[0].share_behind == pytest.approx(share)


MODULES = {  # of the nodes of `cnn`: in their names, as PyTorch wrote them, and in their scopes, as it does today
    "names": [f"/stages/stages.{end}" for end in ("0/conv/Conv", "0/act/Relu", "1/conv/Conv", "1/Relu")],
    "scopes": ["stages.0.conv", "stages.0.act", "stages.1.conv", "stages.1"],
}


@pytest.mark.parametrize("how", MODULES)
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("stages.0", "r0"),
        ("stages.0.conv", "c0"),
        ("stages", "r1"),
        ("conv", "c1"),
        ("stages.1", "r1"),
        ("0.conv", "c0"),
    ],
)
def test_a_module_is_its_last_layer(tmp_path: Path, how: str, wanted: str, expected: str) -> None:
    proto = cnn()
    for node, module in zip(proto.graph.node, MODULES[how], strict=False):
        node.name = module if how == "names" else f"node_{node.output[0]}"
        if how == "scopes":
            parents = module.split(".")
            scopes = ["", *(".".join(parents[: i + 1]) for i in range(len(parents))), node.output[0]]
            node.metadata_props.add(key=SCOPES, value=str(scopes))
    loaded = load_model(saved(tmp_path, proto))
    site = find_score(loaded, "classify")
    assert [layer.name for layer in choose_layers(loaded, site, [wanted]).layers] == [expected]
    with pytest.raises(UsageError, match="no such tensor, node or module"):
        choose_layers(loaded, site, ["stages.2"])


def test_names_of_nodes_that_say_no_module(tmp_path: Path) -> None:
    loaded = load_model(saved(tmp_path, cnn()))
    assert [module_path(node) for node in loaded.graph] == [""] * len(loaded.graph)
    assert module_path(None) == ""


def test_queries_among_the_tokens_are_explained_where_the_last_attention_reads(tmp_path: Path) -> None:
    """As in YOLOS: behind that attention the patches have no gradient."""
    proto = parsed(
        "(float[1,3,16,16] x) => (float[1,5,6] y, float[1,5,4] boxes)",
        """c = Conv<strides=[4,4]>(x, w0) r = Reshape(c, s) patches = Transpose<perm=[0,2,1]>(r)
        t0 = Concat<axis=1>(patches, queries) t = Tanh(t0)
        q = MatMul(t, wq) k = MatMul(t, wk) kt = Transpose<perm=[0,2,1]>(k) a = MatMul(q, kt)
        p = Softmax<axis=-1>(a) v = MatMul(t, wv) m = MatMul(p, v) o = Add(t, m) u = Tanh(o)
        d = Slice(u, begin, end, axis) y = MatMul(d, wl) b = MatMul(d, wb) boxes = Sigmoid(b)""",
        w0=f32(8, 3, 4, 4),
        queries=f32(1, 5, 8),
        **{name: f32(8, 8, seed=i) for i, name in enumerate(("wq", "wk", "wv"))},
        wl=f32(8, 6),
        wb=f32(8, 4),
        s=[1, 8, 16],
        begin=[16],
        end=[99],
        axis=[1],
    )
    done = export_model(saved(tmp_path, proto), preprocess="unit")
    (layer,) = done.manifest.layers
    assert (done.manifest.task, layer.name, layer.shape) == ("detect", "t", (1, 8, 4, 4))
    assert layer.gradients is not None
    (gradients,) = run_ort(
        onnx.load(done.path), {"x": f32(1, 3, 16, 16), TARGET: np.array([1, 2], np.int32)}, [layer.gradients]
    )
    assert np.abs(gradients).max() > 0
