"""Which heads TF32 spoils, whose products have factors of 11 significant bits; emulated, as a CPU has none."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from aerocam.cfcam_config import CfCamConfig
from aerocam.export import CAM_HEADS
from aerocam.export.heads.cfcam import channel_labels
from aerocam.methods import METHODS
from head_graphs import Build, graph_of

CONFIGS = {"cfcam": CfCamConfig(), "cfcam-published": CfCamConfig.published()}


def both(build: Build, *arrays: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What the graph of `build` gives as it is, and in TF32."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    found = []
    for proto in (graph_of(build, feeds), in_tf32(graph_of(build, feeds))):
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, feeds)[0])
    return found


def in_tf32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the factors of its products rounded to 11 bits, by Veltkamp's subtraction of x (2^13 + 1)."""
    nodes, rounded = [], set()
    for item in proto.graph.node:
        for i in range(2 if item.op_type in ("Conv", "Gemm", "MatMul") else 0):
            x = item.input[i]
            if x not in rounded:
                rounded.add(x)
                nodes += [
                    helper.make_node("Mul", [x, "factor"], [f"{x}_wide"]),
                    helper.make_node("Sub", [f"{x}_wide", x], [f"{x}_rest"]),
                    helper.make_node("Sub", [f"{x}_wide", f"{x}_rest"], [f"{x}_rounded"]),
                ]
            item.input[i] = f"{x}_rounded"
        nodes.append(item)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(helper.make_tensor("factor", onnx.TensorProto.FLOAT, [], [2.0**13 + 1]))
    return proto


def test_rounding_keeps_eleven_bits() -> None:
    x = np.float32([[1 + 2**-10, 1 + 2**-11 + 2**-20, 3 * 2**-12, -1 - 3 * 2**-11]]).T
    _, found = both(lambda op, x: op.MatMul(x, op.constant([[1.0]])), x)
    np.testing.assert_array_equal(found, np.float32([[1 + 2**-10, 1 + 2**-10, 3 * 2**-12, -1 - 2**-9]]).T)


@pytest.mark.parametrize("name", [name for name in CAM_HEADS if METHODS[name].needs_float32 is None])
def test_the_map_of_a_head_is_off_by_some_of_the_rounding(name: str) -> None:
    rng = np.random.default_rng(0)
    a, g = (rng.normal(size=(96, 24)) @ rng.normal(size=(2, 24, 49))).astype(np.float32).reshape(2, 1, 96, 7, 7)
    uniform = name == "cam"
    build: Build = lambda op, a, g: CAM_HEADS[name](op, a, op.expand(g, (1, 96, 7, 7)) if uniform else g)  # noqa: E731
    exact, off = both(build, np.maximum(a, 0), np.ascontiguousarray(g[..., :1, :1]) if uniform else g)
    assert 0 < np.abs(off - exact).max() < 4e-3 * np.abs(exact).max()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_clusters_of_channels_that_are_alike_are_lost(name: str) -> None:
    """Their distances are less than what is rounded of the channels' norms."""
    assert METHODS[name].needs_float32 == "the clustering of CF-CAM"
    rng = np.random.default_rng(0)
    groups = 10 * rng.random(49) + 0.05 * rng.normal(size=(4, 49))
    channels = (groups[rng.integers(4, size=96)] + 0.005 * rng.normal(size=(96, 49))).astype(np.float32)
    exact, off = both(lambda op, x: channel_labels(op, x, CONFIGS[name]), channels)
    assert np.count_nonzero(exact != off) > 20
