"""DiFull and DiPart: other cells have no say in a class's score, and a map that knows that is a perfect one."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.benchmarks.evaluation.disconnected import STITCHED, disconnect
from aerocam.benchmarks.evaluation.metrics.grid import cell_share, cell_window, positive
from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.manifest import Preprocess
from aerocam.runtime import Explainer

CLASSES = 5


FLATTEN = (("Flatten", ["pooled"], ["flat"], {}),)
SQUEEZE = (("Squeeze", ["pooled"], ["row"], {}), ("Unsqueeze", ["row", "first"], ["flat"], {}))
MEANS = {
    "over axes": ("ReduceMean", {"axes": [2, 3]}, FLATTEN),
    "over axes from the end, no flattening": ("ReduceMean", {"axes": [-1, -2], "keepdims": 0}, ()),
    "a pool of the whole, then a fixed size": ("AveragePool", {}, (("Reshape", ["pooled", "rows"], ["flat"], {}),)),
    "a fixed size": ("GlobalAveragePool", {}, (("Reshape", ["pooled", "rows"], ["flat"], {}),)),
}


def small(path, size, *, pool="GlobalAveragePool", attributes=None, then=FLATTEN):
    """Two convolutions of stride 1 and 2, pooling, one linear layer; random weights, the same at every size."""
    attributes = {"kernel_shape": [size // 2] * 2} if pool == "AveragePool" else attributes or {}
    rng = np.random.default_rng(11)
    shapes = {"w1": (4, 3, 3, 3), "w2": (6, 4, 3, 3), "w3": (CLASSES, 6), "b3": (CLASSES,)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    weights += [numpy_helper.from_array(np.array(a), n) for n, a in (("rows", [1, 6]), ("first", [0]))]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "c1", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "r1"),
        node("Conv", ["r1", "w2"], ["c2"], "c2", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["c2"], ["layer"], "layer"),
        node(pool, ["layer"], ["pooled" if then else "flat"], "pool", **attributes),
        *(node(op, before, after, **how) for op, before, after, how in then),
        node("Gemm", ["flat", "w3", "b3"], ["y"], "y", transB=1),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(nodes, "small", [given], [result], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(path, x, name="y"):
    """An output of a model."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run([name], {"x": x})[0]


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """The plain model at 8 px, and both settings at 16 px."""
    folder = tmp_path_factory.mktemp("nets")
    one, whole = small(folder / "one.onnx", 8), small(folder / "whole.onnx", 16)
    return one, disconnect(one, folder / "difull.onnx", "difull"), disconnect(whole, folder / "dipart.onnx", "dipart")


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize(("setting", "size"), [("difull", 8), ("dipart", 16)])
def test_the_mean_may_be_written_in_any_way(nets, picture, tmp_path, mean, setting, size):
    pool, attributes, then = MEANS[mean]
    model = small(tmp_path / "model.onnx", size, pool=pool, attributes=attributes, then=then)
    made = disconnect(model, tmp_path / "made.onnx", setting)
    expected = run(nets[1 if setting == "difull" else 2].path, picture)
    np.testing.assert_allclose(run(made.path, picture), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def picture():
    return np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)


def test_difull_is_the_plain_model_on_each_cell_alone(nets, picture):
    one, difull, _ = nets
    assert (difull.layer, difull.classes, difull.target(3, 2)) == (STITCHED, 5, 17)
    scores = run(difull.path, picture).reshape(4, CLASSES)
    for cell in range(4):
        alone = np.ascontiguousarray(picture[(..., *cell_window((16, 16), 2, cell))])
        np.testing.assert_allclose(scores[cell], run(one, alone)[0], rtol=1e-5, atol=1e-5)


def test_difull_no_other_cell_changes_a_score_by_one_bit(nets, picture):
    before = run(nets[1].path, picture).reshape(4, CLASSES)
    for cell in range(4):
        changed = np.random.default_rng(cell + 5).standard_normal(picture.shape).astype(np.float32)
        window = (..., *cell_window((16, 16), 2, cell))
        changed[window] = picture[window]
        after = run(nets[1].path, changed).reshape(4, CLASSES)
        np.testing.assert_array_equal(after[cell], before[cell])
        assert all((after[other] != before[other]).all() for other in range(4) if other != cell)


def test_dipart_a_head_reads_its_cell_of_the_layer_alone(nets, picture):
    """Pixels of other cells reach it through the two convolutions at the border, from 3 px away never."""
    dipart = nets[2]
    assert dipart.layer == "layer"
    before = run(dipart.path, picture).reshape(4, CLASSES)
    far, near = picture.copy(), picture.copy()
    far[:, :, :, 11:] += 1
    near[:, :, :, 8:] += 1
    np.testing.assert_array_equal(run(dipart.path, far).reshape(4, CLASSES)[[0, 2]], before[[0, 2]])
    assert (run(dipart.path, near).reshape(4, CLASSES)[[0, 2]] != before[[0, 2]]).all()
    # against the definition: the mean of a quarter of the layer, then the linear layer
    model = onnx.load(dipart.path)
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    model.graph.output.append(helper.make_tensor_value_info("layer", TensorProto.FLOAT, [1, 6, 8, 8]))
    layer = run_proto(model, picture)
    quarters = [layer[(0, slice(None), *cell_window((8, 8), 2, cell))].mean(axis=(1, 2)) for cell in range(4)]
    np.testing.assert_allclose(before, np.stack(quarters) @ weights["w3"].T + weights["b3"], rtol=1e-4, atol=1e-5)


def run_proto(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["layer"], {"x": x})[0]


@pytest.mark.parametrize("setting", [1, 2], ids=["difull", "dipart"])
def test_a_map_that_knows_where_gradients_are_is_perfect(nets, setting, tmp_path):
    """HiResCAM's gradient is 0 outside the cell; Grad-CAM spreads its mean over all of the layer."""
    net = nets[setting]
    rule = Preprocess("x", (16, 16))
    made = export_model(net.path, tmp_path / "net.cam.onnx", layers=net.layer, preprocess=rule)
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for cell in range(4):
        target = net.target(cell, 2)
        raws = {m: Explainer(made.path, method=m)(frame, target).raw[0] for m in ("hirescam", "gradcam")}
        inside = cell_window((8, 8), 2, cell)
        outside = np.ones((8, 8), bool)
        outside[inside] = False
        assert not raws["hirescam"][outside].any()
        assert raws["hirescam"][inside].any()
        assert np.abs(raws["gradcam"][outside]).max() > 0
        local = np.abs(raws["hirescam"])
        assert cell_share(local, 2, cell) == 1  # at the layer's size nothing bleeds across the border
        assert 0.6 < cell_share(positive(local, (16, 16)), 2, cell) < 1  # resized, half a position does


def test_what_cannot_be_taken_apart_is_refused(tmp_path):
    with pytest.raises(
        ModelError, match=r"1 inputs, 1 outputs and 0 means over all positions, one of each is expected"
    ):
        disconnect(small(tmp_path / "max.onnx", 8, pool="GlobalMaxPool"), tmp_path / "x.onnx", "difull")
    with pytest.raises(ModelError, match=r"several cells at once \(scores: .*\), .* export it with a dynamic batch"):
        disconnect(small(tmp_path / "fixed.onnx", 8, then=SQUEEZE), tmp_path / "x.onnx", "difull")
    with pytest.raises(ModelError, match="'layer' is 5 x 5, sides that 2 divides are expected"):
        disconnect(small(tmp_path / "odd.onnx", 10), tmp_path / "x.onnx", "dipart")
    assert not (tmp_path / "x.onnx").exists()
