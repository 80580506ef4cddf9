"""What axes mean, followed through a graph, and how any of them becomes (1, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.tracing.axes import Digit, Layout, MixedAxis, Tokens, regroup
from aerocam.export.tracing.folding import fold_of
from aerocam.export.tracing.layout import layouts
from onnx_graphs import f32, model, run_ort

node = helper.make_node
GRID = Tokens((4, 6))


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


PATCHES = [node("Reshape", ["x", "merge"], ["m"]), node("Transpose", ["m"], ["t"], perm=[0, 2, 1])]
MERGE = {"merge": i64(1, 8, 24)}

CASES: dict[str, tuple[list[Any], dict[str, np.ndarray], Layout | None]] = {
    "entrywise": ([node("Relu", ["x"], ["y"])], {}, (None, "C", "H", "W")),
    "broadcast": ([node("Mul", ["x", "s"], ["y"])], {"s": f32(8, 1, 1)}, (None, "C", "H", "W")),
    "channels-last": ([node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])], {}, (None, "H", "W", "C")),
    "merged": ([*PATCHES[:1], node("Relu", ["m"], ["y"])], MERGE, (None, "C", GRID)),
    "tokens": ([*PATCHES, node("Relu", ["t"], ["y"])], MERGE, (None, GRID, "C")),
    "a linear layer": ([*PATCHES, node("MatMul", ["t", "w"], ["y"])], {**MERGE, "w": f32(8, 5)}, (None, GRID, "C")),
    "class and register tokens": (
        [*PATCHES, node("Concat", ["c", "t", "r"], ["y"], axis=1)],
        {**MERGE, "c": f32(1, 1, 8), "r": f32(1, 3, 8)},
        (None, Tokens((4, 6), 1, 3), "C"),
    ),
    "class token cut off again": (
        [*PATCHES, node("Concat", ["c", "t"], ["a"], axis=1), node("Slice", ["a", "from", "to", "one"], ["y"])],
        {**MERGE, "c": f32(1, 1, 8), "from": i64(1), "to": i64(99), "one": i64(1)},
        (None, GRID, "C"),
    ),
    "tokens back to a grid": (
        [*PATCHES, node("Reshape", ["t", "split"], ["y"])],
        {**MERGE, "split": i64(1, 4, 6, 8)},
        (None, "H", "W", "C"),
    ),
    "another grid": (
        [*PATCHES, node("Reshape", ["t", "split"], ["y"])],
        {**MERGE, "split": i64(1, 6, 4, 8)},
        (None, None, None, "C"),
    ),
    "windows": (
        [node("Reshape", ["x", "split"], ["y"])],
        {"split": i64(1, 8, 2, 2, 3, 2)},
        (None, "C", "H", None, "W", None),
    ),
    "channel shuffle": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["b", "back"], ["y"]),
        ],
        {"split": i64(1, 2, 4, 4, 6), "back": i64(1, 8, 4, 6)},
        (None, "C", "H", "W"),
    ),
    "groups of channels and back": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("InstanceNormalization", ["a", "s", "s"], ["b"]),
            node("Reshape", ["b", "back"], ["y"]),
        ],
        {"split": i64(1, 2, -1), "s": f32(2), "back": i64(1, 8, 4, 6)},
        (None, "C", "H", "W"),
    ),
    "groups in two steps and back": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("Reshape", ["a", "merge3"], ["b"]),
            node("Reshape", ["b", "back"], ["y"]),
        ],
        {"split": i64(1, 2, 4, 4, 6), "merge3": i64(1, 2, -1), "back": i64(1, 8, 4, 6)},
        (None, "C", "H", "W"),
    ),
    "groups turned round": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Reshape", ["b", "back"], ["y"]),
        ],
        {"split": i64(1, 2, -1), "back": i64(1, 8, 4, 6)},
        None,
    ),
    "a shortcut past groups turned round": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Reshape", ["b", "back"], ["c"]),
            node("Add", ["c", "x"], ["y"]),
        ],
        {"split": i64(1, 2, -1), "back": i64(1, 8, 4, 6)},
        (None, "C", "H", "W"),
    ),
    "groups cut": (
        [
            node("Reshape", ["x", "split"], ["a"]),
            node("Slice", ["a", "from", "to", "axis", "step"], ["b"]),
            node("Reshape", ["b", "back"], ["y"]),
        ],
        {
            "split": i64(1, 2, -1),
            "from": i64(0),
            "to": i64(96),
            "axis": i64(2),
            "step": i64(2),
            "back": i64(1, 4, 4, 6),
        },
        None,
    ),
    "patches merged, as timm's Swin has it": (
        [
            node("Transpose", ["x"], ["l"], perm=[0, 2, 3, 1]),
            node("Reshape", ["l", "split"], ["s"]),
            node("Transpose", ["s"], ["t"], perm=[0, 1, 3, 4, 2, 5]),
            node("Reshape", ["t", "merged"], ["y"]),
        ],
        {"split": i64(1, 2, 2, 3, 2, 8), "merged": i64(1, 2, 3, 32)},
        (None, "H", "W", "C"),
    ),
    "tokens in the order of units, the greatest of each, as Hiera has it": (
        [
            node("Transpose", ["x"], ["l"], perm=[0, 2, 3, 1]),
            node("Reshape", ["l", "split"], ["s"]),
            node("Transpose", ["s"], ["t"], perm=[0, 2, 4, 1, 3, 5]),
            node("Reshape", ["t", "units"], ["u"]),
            node("Reshape", ["u", "apart"], ["a"]),
            node("ReduceMax", ["a"], ["y"], axes=[1], keepdims=0),
        ],
        {"split": i64(1, 2, 2, 3, 2, 8), "units": i64(1, 24, 8), "apart": i64(1, 4, 6, 8)},
        (None, Tokens((2, 3)), "C"),
    ),
    "windows, each a batch, and back": (
        [
            node("Transpose", ["x"], ["l"], perm=[0, 2, 3, 1]),
            node("Reshape", ["l", "split"], ["s"]),
            node("Transpose", ["s"], ["t"], perm=[0, 1, 3, 2, 4, 5]),
            node("Reshape", ["t", "windows"], ["u"]),
            node("MatMul", ["u", "w"], ["a"]),
            node("Reshape", ["a", "apart"], ["b"]),
            node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2, 4, 5]),
            node("Reshape", ["c", "back"], ["y"]),
        ],
        {
            "split": i64(1, 2, 2, 3, 2, 8),
            "windows": i64(6, 4, 8),
            "w": f32(8, 5),
            "apart": i64(1, 2, 3, 2, 2, 5),
            "back": i64(1, 4, 6, 5),
        },
        (None, "H", "W", "C"),
    ),
    "places within units as a batch and back, as MobileViT has it": (
        [
            node("Reshape", ["x", "rows"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
            node("Reshape", ["b", "units"], ["c"]),
            node("Transpose", ["c"], ["d"], perm=[0, 3, 2, 1]),
            node("Softmax", ["d"], ["e"]),
            node("Transpose", ["e"], ["f"], perm=[0, 3, 2, 1]),
            node("Reshape", ["f", "columns"], ["g"]),
            node("Transpose", ["g"], ["h"], perm=[0, 2, 1, 3]),
            node("Reshape", ["h", "back"], ["y"]),
        ],
        {
            "rows": i64(16, 2, 3, 2),
            "units": i64(1, 8, 6, 4),
            "columns": i64(16, 3, 2, 2),
            "back": i64(1, 8, 4, 6),
        },
        (None, "C", "H", "W"),
    ),
    "rows merged with channels": (
        [
            node("Reshape", ["x", "split"], ["s"]),
            node("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["t", "merged"], ["y"]),
        ],
        {"split": i64(1, 8, 4, 3, 2), "merged": i64(1, 32, 6)},
        (None, None, "W"),
    ),
    "a convolution behind a scatter": (
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("ScatterND", ["zeros", "where", "f"], ["s"]),
            node("Reshape", ["s", "back"], ["b"]),
            node("Conv", ["b", "k"], ["y"]),
        ],
        {
            "flat": i64(192),
            "zeros": np.zeros(300, np.float32),
            "where": np.arange(192)[:, None],
            "back": i64(1, 3, 10, 10),
            "k": f32(5, 3, 2, 2),
        },
        (None, "C", "H", "W"),
    ),
    "a linear layer behind a scatter, written as a convolution": (
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("ScatterND", ["zeros", "where", "f"], ["s"]),
            node("Reshape", ["s", "back"], ["b"]),
            node("Conv", ["b", "k"], ["y"]),
        ],
        {
            "flat": i64(192),
            "zeros": np.zeros(300, np.float32),
            "where": np.arange(192)[:, None],
            "back": i64(1, 3, 10, 10),
            "k": f32(5, 3, 1, 1),
        },
        None,
    ),
    "attention scores": (
        [*PATCHES, node("MatMul", ["t", "m"], ["s"]), node("Softmax", ["s"], ["y"])],
        MERGE,
        (None, GRID, GRID),
    ),
    "attention": (
        [*PATCHES, node("MatMul", ["t", "m"], ["s"]), node("MatMul", ["s", "t"], ["y"])],
        MERGE,
        (None, GRID, "C"),
    ),
    "every second row": (
        [node("Slice", ["x", "from", "to", "axis", "by"], ["y"])],
        {"from": i64(1), "to": i64(99), "axis": i64(2), "by": i64(2)},
        (None, "C", "H", "W"),
    ),
    "rows shifted": (
        [node("Slice", ["x", "from", "to", "axis"], ["y"])],
        {"from": i64(1), "to": i64(99), "axis": i64(2)},
        (None, "C", None, "W"),
    ),
    "pooled": ([node("GlobalAveragePool", ["x"], ["y"])], {}, (None, "C", "H", "W")),
    "one row left": ([node("ReduceMean", ["x"], ["y"], axes=[2], keepdims=0)], {}, (None, "C", "W")),
    "channels joined": ([node("Concat", ["x", "x"], ["y"], axis=1)], {}, (None, "C", "H", "W")),
    "rows joined": ([node("Concat", ["x", "x"], ["y"], axis=2)], {}, (None, "C", None, "W")),
}


def labelled(nodes: list[Any], constants: dict[str, np.ndarray], x: np.ndarray) -> tuple[ir.Graph, Layout | None]:
    graph = ir.from_proto(model(nodes, {"x": x}, constants, ["y"])).graph
    return graph, layouts(graph, list(graph.inputs)).get(graph.outputs[0])


@pytest.mark.parametrize("name", CASES)
def test_axes_are_followed(name: str) -> None:
    nodes, constants, expected = CASES[name]
    layout = labelled(nodes, constants, f32(1, 8, 4, 6))[1]
    known = tuple(None if isinstance(label, MixedAxis) else label for label in layout or ())
    assert (known if any(known) else None) == expected


def test_regroup() -> None:
    found = list(regroup((1, 2, 6, 5, 1, 4), (12, 5, 2, 1, 2)))
    assert found == [([1, 2], [0]), ([3], [1]), ([5], [2, 4])]


X = f32(1, 8, 4, 6)
TOKENS = X.reshape(1, 8, 24).transpose(0, 2, 1)

FOLDED: list[tuple[np.ndarray, Layout, str, tuple[int, ...], np.ndarray]] = [
    (X, (None, "C", "H", "W"), "spatial", (4, 6), X),
    (X.transpose(0, 2, 3, 1), (None, "H", "W", "C"), "spatial", (4, 6), X),
    (X[0], ("C", "H", "W"), "spatial", (4, 6), X),
    (X[:, :1], (None, "C", "H", "W"), "spatial", (4, 6), X[:, :1]),
    (X[:, :, 0], (None, "C", "W"), "spatial", (1, 6), X[:, :, :1]),
    (TOKENS, (None, GRID, "C"), "tokens", (4, 6), X),
    (X.reshape(1, 8, 24), (None, "C", GRID), "tokens", (4, 6), X),
    (np.pad(TOKENS, [(0, 0), (1, 3), (0, 0)]), (None, Tokens((4, 6), 1, 3), "C"), "tokens", (4, 6), X),
    (
        X.reshape(1, 8, 2, 2, 3, 2).transpose(0, 5, 3, 2, 4, 1).reshape(1, 24, 8),
        (None, MixedAxis((Digit("W", 3, 2), Digit("H", 2, 2), Digit("H", 1, 2), Digit("W", 1, 3))), "C"),
        "tokens",
        (4, 6),
        X,
    ),
    (X[..., 0], (None, "C", "L"), "sequence", (4,), X[:, :, None, :, 0]),
    (X.reshape(1, 2, 4, 4, 6), (None, "C", "D", "H", "W"), "volume", (4, 4, 6), X.reshape(1, 2, 16, 6)),
]


@pytest.mark.parametrize("row", range(len(FOLDED)))
def test_any_layout_becomes_channels_first(row: int) -> None:
    """The map that is read lies as the picture does, whatever the layer's own axes."""
    value, layout, kind, grid, expected = FOLDED[row]
    fold = fold_of(value.shape, layout)
    assert fold is not None
    assert (fold.kind, fold.grid, fold.shape) == (kind, grid, expected.shape)
    graph = ir.from_proto(model([node("Identity", ["x"], ["y"])], {"x": value}, {}, ["y"])).graph
    op = Builder(graph)
    op.output(op.Identity(fold(op, graph.outputs[0])), "z")
    (found,) = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": value}, ["z"])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "layout"), [((1, 5, 9), (None, "C", "L")), ((1, 5, 2, 3, 4), (None, "C", "D", "H", "W"))]
)
def test_a_net_over_samples_or_voxels(shape: tuple[int, ...], layout: Layout) -> None:
    assert labelled([node("Relu", ["x"], ["y"])], {}, f32(*shape))[1] == layout


@pytest.mark.parametrize("name", ["attention scores", "windows", "another grid", "rows shifted", "rows joined"])
def test_what_has_no_place_in_the_frame_cannot_be_folded(name: str) -> None:
    nodes, constants, _ = CASES[name]
    graph, layout = labelled(nodes, constants, X)
    assert fold_of(static_shape(graph.outputs[0]), layout) is None
