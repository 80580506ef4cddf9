"""How much of a layer one answer depends on: by the graph, against what changes when a cell is changed."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

from aerocam.export.layers.candidates import candidates
from aerocam.export.layers.receptive_field import receptive_fields
from aerocam.export.scores import ScoreSite
from aerocam.manifest import Score
from onnx_graphs import f32, model

node = helper.make_node
H, W = 11, 13
X = f32(1, 4, H, W)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def conv(x: str, weight: str, y: str, **attributes: Any) -> onnx.NodeProto:
    return node("Conv", [x, weight], [y], **attributes)


CHANNELS_LAST = node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1])
TOKENS = [node("Reshape", ["x", "flat"], ["m"]), node("Transpose", ["m"], ["t"], perm=[0, 2, 1])]
FLAT = {"flat": i64(1, 4, H * W)}
SAME = {"pads": [1, 1, 1, 1]}
K1, K3, D3 = f32(4, 4, 1, 1), f32(4, 4, 3, 3), f32(4, 1, 3, 3)

Case: TypeAlias = tuple[list[onnx.NodeProto], dict[str, np.ndarray], tuple[int, int]]

CASES: dict[str, Case] = {
    "one place": ([conv("x", "k", "y")], {"k": K1}, (1, 1)),
    "3x3": ([conv("x", "k", "y", **SAME)], {"k": K3}, (3, 3)),
    "3x3 of strides, spread taps": (
        [conv("x", "k", "a", strides=[2, 1]), conv("a", "k", "y", dilations=[1, 3])],
        {"k": K3},
        (7, 9),
    ),
    "depthwise, then a bias": (
        [conv("x", "k", "a", group=4, **SAME), node("Add", ["a", "b"], ["y"])],
        {"k": D3, "b": f32(4, 1, 1)},
        (3, 3),
    ),
    "pads in front alone": (
        [conv("x", "k", "y", auto_pad="SAME_LOWER", strides=[2, 2])],
        {"k": f32(4, 4, 2, 2)},
        (2, 2),
    ),
    "transposed": ([node("ConvTranspose", ["x", "k"], ["y"], strides=[2, 2])], {"k": f32(4, 4, 2, 4)}, (1, 2)),
    "pools": (
        [
            node("AveragePool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
            node("LpPool", ["a"], ["y"], kernel_shape=[1, 2]),
        ],
        {},
        (3, 5),
    ),
    "nearest": (
        [
            node(
                "Resize",
                ["x", "", "s"],
                ["y"],
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        {"s": np.float32([1, 1, 2, 2])},
        (1, 1),
    ),
    "linear": ([node("Resize", ["x", "", "s"], ["y"], mode="linear")], {"s": np.float32([1, 1, 2, 2])}, (2, 2)),
    "a softmax over channels": ([node("Softmax", ["x"], ["y"], axis=1)], {}, (1, 1)),
    "a softmax over a row": ([node("Softmax", ["x"], ["y"], axis=3)], {}, (1, W)),
    "channels shuffled and cut": (
        [
            conv("x", "k", "a", **SAME),
            node("Reshape", ["a", "groups"], ["b"]),
            node("Transpose", ["b"], ["c"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["c", "back"], ["d"]),
            node("Split", ["d", "halves"], ["e", "f"], axis=1),
            node("Concat", ["f", "e"], ["y"], axis=1),
        ],
        {"k": K3, "groups": i64(1, 2, 2, H, W), "back": i64(1, 4, H, W), "halves": i64(2, 2)},
        (3, 3),
    ),
    "two ways": (
        [conv("x", "k", "a", **SAME), conv("x", "j", "b", pads=[0, 2, 0, 2]), node("Mul", ["a", "b"], ["y"])],
        {"k": K3, "j": f32(4, 4, 1, 5)},
        (3, 5),
    ),
    "rows moved": (
        [
            node("Pad", ["x", "pads"], ["a"]),
            node("Slice", ["a", "from", "to", "axis"], ["b"]),
            node("Add", ["x", "b"], ["y"]),
        ],
        {"pads": i64(0, 0, 0, 0, 0, 0, 2, 0), "from": i64(2), "to": i64(99), "axis": i64(2)},
        (3, 1),
    ),
    "a gate": (
        [node("GlobalAveragePool", ["x"], ["g"]), node("Mul", ["x", "g"], ["y"])],
        {},
        (H, W),
    ),
    "statistics of the picture": (
        [node("InstanceNormalization", ["x", "s", "s"], ["y"])],
        {"s": f32(4)},
        (H, W),
    ),
    "a mean of rows": (
        [node("ReduceMean", ["x"], ["a"], axes=[2], keepdims=0), node("Exp", ["a"], ["y"])],
        {},
        (H, 1),
    ),
    "channels last": (
        [
            CHANNELS_LAST,
            node("LayerNormalization", ["t", "s"], ["n"]),
            node("MatMul", ["n", "w"], ["y"]),
        ],
        {"s": f32(4), "w": f32(4, 5)},
        (1, 1),
    ),
    "attention": (
        [*TOKENS, node("MatMul", ["t", "m"], ["s"]), node("Softmax", ["s"], ["p"]), node("MatMul", ["p", "t"], ["y"])],
        FLAT,
        (H, W),
    ),
    "a token by itself": ([*TOKENS, node("MatMul", ["t", "w"], ["y"])], {**FLAT, "w": f32(4, 5)}, (1, 1)),
    "an equation": ([node("Einsum", ["x", "w"], ["y"], equation="bchw,hk->bckw")], {"w": f32(H, 6)}, (H, 1)),
    "a layer of all entries": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"])],
        {"w": f32(4 * H * W, 5)},
        (H, W),
    ),
    "sampled": ([node("GridSample", ["x", "g"], ["y"])], {"g": f32(1, 5, 5, 2) / 9}, (H, W)),
}


@pytest.mark.parametrize("name", CASES)
def test_cells_that_an_answer_depends_on(name: str) -> None:
    nodes, constants, expected = CASES[name]
    proto = model(nodes, {"x": X}, constants, ["y"])
    graph = ir.from_proto(proto)
    y = graph.graph.outputs[0]
    (image, *_) = candidates(graph, ScoreSite("detect", y, Score("y", "none", 1)))
    assert receptive_fields([image], [y])[image.value] == expected
    if name != "sampled":  # of an operator without a rule all is taken, which may be too much
        assert changed(proto) == expected


def changed(proto: onnx.ModelProto) -> tuple[int, int]:
    """Rows and columns of the cells whose change changes the entry in the middle of `y`."""
    session = onnxruntime.InferenceSession(proto.SerializeToString())

    def middle(x: np.ndarray) -> float:
        y = session.run(None, {"x": x})[0]
        return float(y[tuple(n // 2 for n in y.shape)])

    cells = np.zeros((H, W), bool)
    for row, column in np.ndindex(H, W):
        x = X.copy()
        x[0, :, row, column] += [3, -5, 7, 4]
        cells[row, column] = middle(x) != middle(X)
    rows, columns = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def test_cells_of_layers_that_are_folded() -> None:
    """Tokens, with one for the class in front, and tokens in the order of units: cells are those of the picture."""
    nodes = [
        *TOKENS,
        node("Concat", ["c", "t"], ["all"], axis=1),
        node("Slice", ["all", "from", "to", "from"], ["cut"]),
        node("Reshape", ["cut", "units"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 4, 1, 3, 5]),
        node("Reshape", ["b", "joined"], ["u"]),
        node("Reshape", ["u", "apart"], ["d"]),
        node("Transpose", ["d"], ["e"], perm=[0, 5, 3, 1, 4, 2]),
        node("Reshape", ["e", "grid"], ["g"]),
        conv("g", "k", "y", pads=[1, 0, 1, 0]),
    ]
    constants = {
        "flat": i64(1, 4, 96), "c": f32(1, 1, 4), "from": i64(1), "to": i64(99), "units": i64(1, 4, 2, 6, 2, 4),
        "joined": i64(1, 96, 4), "apart": i64(1, 2, 2, 4, 6, 4), "grid": i64(1, 4, 8, 12), "k": f32(4, 4, 3, 5),
    }  # fmt: skip
    graph = ir.from_proto(model(nodes, {"x": f32(1, 4, 8, 12)}, constants, ["y"]))
    y = graph.graph.outputs[0]
    known = candidates(graph, ScoreSite("detect", y, Score("y", "none", 1)))
    fields = {layer.name: receptive_fields(known, [y])[layer.value] for layer in known}
    assert {name: fields[name] for name in ("x", "t", "all", "u", "g")} == dict.fromkeys(
        ("x", "t", "all", "u", "g"), (3, 5)
    )
    assert next(layer for layer in known if layer.name == "u").fold.units == (1, (2, 2, 4, 6))
