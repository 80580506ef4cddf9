"""Model-parameter randomisation: what is rewritten, and that maps which know nothing of it stay."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.randomisation import cascade, compare, randomised, rank_correlation, weight_names
from aerocam.errors import ModelError, UsageError
from aerocam.manifest import Preprocess


def chain(path=None, ops=("Conv", "Conv", "Gemm")):
    """Convolutions, pooling, one linear layer."""
    rng = np.random.default_rng(5)
    weights, nodes, at = [], [], "x"
    for number in range(ops.count("Conv")):
        weights.append(
            numpy_helper.from_array(rng.standard_normal((4, 3 if not number else 4, 3, 3)).astype("f"), f"w{number}")
        )
        weights.append(numpy_helper.from_array(rng.standard_normal(4).astype("f"), f"b{number}"))
        nodes.append(
            helper.make_node("Conv", [at, f"w{number}", f"b{number}"], [f"c{number}"], f"c{number}", pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"r{number}"))
        at = f"r{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["p"], "p"))
    nodes.append(helper.make_node("Flatten", ["p"], ["f"], "f"))
    if "Gemm" in ops:
        weights.append(numpy_helper.from_array(rng.standard_normal((6, 4)).astype("f"), "w"))
        nodes.append(helper.make_node("Gemm", ["f", "w"], ["y"], "y", transB=1))
    else:
        nodes.append(helper.make_node("Identity", ["f"], ["y"], "y"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6 if "Gemm" in ops else 3])
    graph = helper.make_graph(nodes, "chain", [given], [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if path is not None:
        onnx.save(model, path)
    return model


def arrays(model):
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def test_weights_from_output_to_input_without_biases():
    assert weight_names(chain()) == ["w", "w1", "w0"]
    lite0 = weight_names(onnx.load(zoo.lite0.model()))
    assert (len(lite0), lite0[0], lite0[1], lite0[-1]) == (50, "logits.weight", "head/conv.weight", "stem/conv.weight")


@pytest.mark.parametrize("draw", ["redraw", "permute"])
def test_the_weights_nearest_the_output_become_random_and_no_other(draw):
    model = chain()
    before, one, two = arrays(model), arrays(randomised(model, 1, 3, draw)), arrays(randomised(model, 2, 3, draw))
    assert {name for name in before if not np.array_equal(before[name], one[name])} == {"w"}
    assert {name for name in before if not np.array_equal(before[name], two[name])} == {"w", "w1"}
    np.testing.assert_array_equal(one["w"], two["w"])  # a step keeps what the ones before have drawn
    assert not np.array_equal(one["w"], arrays(randomised(model, 1, 4, draw))["w"])
    np.testing.assert_array_equal(arrays(model)["w"], before["w"])  # the original stays
    kept = np.array_equal(np.sort(two["w1"], axis=None), np.sort(before["w1"], axis=None))
    assert kept == (draw == "permute")
    assert two["w1"].std() == pytest.approx(before["w1"].std(), rel=0.2)  # 144 numbers


def test_no_two_weights_have_the_same_numbers():
    made = arrays(randomised(chain(), 3))
    first, second = (made[name].ravel() for name in ("w0", "w1"))
    assert abs(np.corrcoef(first, second[: first.size])[0, 1]) < 0.4  # of 108 numbers: 0.1 is usual


def test_ranks_and_what_has_none():
    a = np.array([[1, 2], [3, 4]], np.float32)
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.array([[1, 2], [4, 3]], np.float32)) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert np.isnan(rank_correlation(a, np.zeros((2, 2), np.float32)))
    one = np.random.default_rng(0).uniform(size=(9, 9)).astype(np.float32)
    found = compare([one, one], [one, np.zeros_like(one)])
    assert (found.spearman, found.constant) == (pytest.approx(1), 1)
    assert 0.5 <= found.ssim < 0.6  # the mean of 1 and what SSIM says of an empty map


def test_nothing_randomised_is_1_and_a_map_that_reads_no_weights_behind_it_stays(tmp_path):
    chain(tmp_path / "chain.onnx")
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(3)]
    options = {"preprocess": Preprocess("x", (16, 16)), "layers": "r1"}
    found = cascade(tmp_path / "chain.onnx", frames, ["hirescam", "eigencam"], options=options)
    for steps in found.values():
        assert [one.randomised for one in steps] == [0, 1, 2, 3]
        assert [one.last for one in steps] == ["", "w", "w1", "w0"]
        assert (steps[0].spearman, steps[0].ssim) == (pytest.approx(1), pytest.approx(1))
    # activations of r1 know nothing of the linear layer, gradients do
    assert (found["eigencam"][1].spearman, found["eigencam"][1].ssim) == (pytest.approx(1), pytest.approx(1))
    assert found["hirescam"][1].ssim < 0.9
    assert found["eigencam"][2].ssim < 0.9


def test_a_model_without_weights_or_with_fewer_is_refused(tmp_path):
    chain(tmp_path / "none.onnx", ops=())
    chain(tmp_path / "chain.onnx")
    with pytest.raises(UsageError, match=r"counts \[0, 4\], 0 to 3 are expected"):
        cascade(tmp_path / "chain.onnx", [], ["gradcam"], counts=[0, 4])
    with pytest.raises(ModelError, match="no weights of Conv, ConvTranspose, Gemm, MatMul to randomise"):
        cascade(tmp_path / "none.onnx", [], ["gradcam"])
