"""The adjoint rules over drawn forms: ranks, sizes, windows, axes and broadcasting that no row of the table spells out.

Each example is a `Case`, checked like a row of the table. Every strategy draws legal nodes only: what it draws last is
chosen from what the former draws leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_graphs import run_ort, run_ort_double, run_reference
from rule_check import check_rule
from rule_table.case import Case, f32, i64

Draw = Callable[..., Any]

EXAMPLES = 20
COLUMNS = ("kernel", "stride", "dilation", "before", "after", "size")


def several(draw: Draw, low: int, high: int, count: int) -> list[int]:
    """`count` whole numbers from `low` to `high`."""
    return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))


def from_either_end(draw: Draw, axis: int, rank: int) -> int:
    """The same axis, counted from the front or from the end."""
    return draw(st.sampled_from([axis, axis - rank]))


def drawn_windows(draw: Draw, rank: int, pooled: bool) -> dict[str, list[int]]:
    """Windows along `rank` axes, at least one per axis; of a pool, each has an entry that is not padding."""
    columns: dict[str, list[int]] = {name: [] for name in COLUMNS}
    dilated = draw(st.booleans())
    for _ in range(rank):
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        dilation = draw(st.integers(1, 3)) if dilated else 1
        before, after = several(draw, 0, kernel - 1 if pooled else 3, 2)
        reach = (kernel - 1) * dilation + 1
        least = max(reach - before - after, dilation if pooled else 1)
        size = draw(st.integers(least, least + (5 if rank < 3 else 2)))
        for name, value in zip(COLUMNS, (kernel, stride, dilation, before, after, size), strict=True):
            columns[name].append(value)
    return columns


def with_padding(draw: Draw, axes: dict[str, list[int]]) -> dict[str, Any]:
    """Strides, and pads written out or by name; by name, no axis has entries that no window reaches."""
    attributes: dict[str, Any] = {"strides": axes["stride"]}
    fits = all(size > (k - 1) * d for size, k, d in zip(axes["size"], axes["kernel"], axes["dilation"], strict=True))
    overlap = all(k >= s for k, s in zip(axes["kernel"], axes["stride"], strict=True))  # no negative pads
    names = ["NOTSET", *(["SAME_UPPER", "SAME_LOWER"] if overlap else []), *(["VALID"] if fits else [])]
    name = draw(st.sampled_from(names)) if set(axes["dilation"]) == {1} else "NOTSET"
    return attributes | ({"pads": axes["before"] + axes["after"]} if name == "NOTSET" else {"auto_pad": name})


@st.composite
def conv(draw: Draw) -> Case:
    rank = draw(st.integers(1, 3))
    axes = drawn_windows(draw, rank, pooled=False)
    group, per_group, out_per_group = several(draw, 1, 3, 3)
    bias = [f32(group * out_per_group)] if draw(st.booleans()) else []
    weight = f32(group * out_per_group, per_group, *axes["kernel"])
    attributes = {"group": group, "dilations": axes["dilation"], **with_padding(draw, axes)}
    return Case("Conv", [(draw(st.integers(1, 2)), group * per_group, *axes["size"]), weight, *bias], attributes)


@st.composite
def conv_transpose(draw: Draw) -> Case:
    """Pads are cut from what the kernels reach; onnx's reference cuts groups wrongly, so groups are in float32."""
    rank = draw(st.integers(1, 3))
    group, per_group, out_per_group = several(draw, 1, 3, 3)
    kernel, stride, dilation = (several(draw, 1, 3, rank) for _ in range(3))
    size = several(draw, 1, 4, rank)
    extra = [draw(st.integers(0, s - 1)) for s in stride]
    before, after = [], []
    for n, k, s, d, e in zip(size, kernel, stride, dilation, extra, strict=True):
        free = (n - 1) * s + (k - 1) * d + e  # entries that may be cut, all but one
        before.append(draw(st.integers(0, min(2, free))))
        after.append(draw(st.integers(0, min(2, free - before[-1]))))
    attributes: dict[str, Any] = {"group": group, "strides": stride, "dilations": dilation}
    attributes |= {"output_padding": extra, "pads": before + after}
    weight = f32(group * per_group, out_per_group, *kernel)
    return Case("ConvTranspose", [(1, group * per_group, *size), weight], attributes, forward=run_ort)


CEIL_OPSET = 22
"""From here on onnx infers, as runtimes do, that no window of a pool with ceil_mode starts behind the input."""


@st.composite
def max_pool(draw: Draw) -> Case:
    axes = drawn_windows(draw, draw(st.integers(1, 3)), pooled=True)
    attributes = {"kernel_shape": axes["kernel"], "dilations": axes["dilation"], **with_padding(draw, axes)}
    attributes |= {"ceil_mode": draw(st.integers(0, 1))} if "pads" in attributes else {}
    x = (1, draw(st.integers(1, 3)), *axes["size"])
    return Case("MaxPool", [x], attributes, forward=run_ort_double, opset=CEIL_OPSET)


@st.composite
def average_pool(draw: Draw) -> Case:
    axes = drawn_windows(draw, draw(st.integers(1, 3)), pooled=True)
    axes["dilation"] = [1 for _ in axes["kernel"]]
    attributes = {"kernel_shape": axes["kernel"], **with_padding(draw, axes)}
    attributes |= {"ceil_mode": draw(st.integers(0, 1))} if "pads" in attributes else {}
    attributes |= {"count_include_pad": draw(st.integers(0, 1))}
    x = (1, draw(st.integers(1, 3)), *axes["size"])
    return Case("AveragePool", [x], attributes, forward=run_ort, opset=CEIL_OPSET)


LOWEST = {"ReduceLogSum": 0.5, "ReduceProd": 0.5, "Div": 1.0, "Pow": 0.5}
"""The smallest value drawn, for operators that are not defined or not smooth around 0."""


@st.composite
def reduction(draw: Draw, op: str) -> Case:
    shape = tuple(several(draw, 1, 3, draw(st.integers(1, 3 if op == "ReduceProd" else 4))))
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True))
    axes = [from_either_end(draw, axis, len(shape)) for axis in chosen]
    attributes: dict[str, Any] = {"keepdims": draw(st.integers(0, 1))}
    as_input = op == "ReduceSum" or draw(st.booleans())
    if as_input:
        attributes["noop_with_empty_axes"] = draw(st.integers(0, 1))
    elif axes:
        attributes["axes"] = axes
    given_axes = [i64(*axes)] if as_input and (axes or draw(st.booleans())) else []
    opset = 18 if as_input and op != "ReduceSum" else 17
    return Case(op, [shape, *given_axes], attributes, low=LOWEST.get(op), opset=opset)


def broadcast_pair(draw: Draw, shape: list[int]) -> list[tuple[int, ...]]:
    """Two shapes that broadcast to `shape`: either may lack leading axes or have ones, never both the same axis."""
    owners = draw(st.lists(st.sampled_from(["both", "left", "right"]), min_size=len(shape), max_size=len(shape)))
    pair = []
    for side in ("left", "right"):
        own = [n if owner in ("both", side) else 1 for n, owner in zip(shape, owners, strict=True)]
        leading = next((i for i, n in enumerate(own) if n > 1), len(own))
        pair.append(tuple(own[draw(st.integers(0, leading)) :]))
    return pair


@st.composite
def binary(draw: Draw, op: str) -> Case:
    """Either side broadcast, or a constant; onnx's reference computes Mean in place, in the first operand's shape."""
    shapes: list[Any] = broadcast_pair(draw, several(draw, 1, 4, draw(st.integers(1, 4))))
    fixed = draw(st.sampled_from([None, None, None, 0, 1]))
    if fixed is not None:
        shapes[fixed] = f32(*shapes[fixed], low=0.5, high=2)
    return Case(op, shapes, low=LOWEST.get(op), forward=run_ort if op == "Mean" else run_reference)


@st.composite
def where(draw: Draw) -> Case:
    shape = several(draw, 1, 4, draw(st.integers(1, 4)))
    left, right = broadcast_pair(draw, shape)
    mask = np.arange(int(np.prod(left))).reshape(left) % 3 == 0
    return Case("Where", [mask, right, broadcast_pair(draw, shape)[0]])


@st.composite
def matmul(draw: Draw) -> Case:
    """Batches that broadcast, and vectors on either side."""
    rows, inner, columns = several(draw, 1, 4, 3)
    left_batch, right_batch = broadcast_pair(draw, several(draw, 1, 3, draw(st.integers(0, 2))))
    left = draw(st.sampled_from([(*left_batch, rows, inner), (*left_batch, rows, inner), (inner,)]))
    right = draw(st.sampled_from([(*right_batch, inner, columns), (*right_batch, inner, columns), (inner,)]))
    weight = f32(*right) if draw(st.booleans()) else right
    return Case("MatMul", [left, weight])


@st.composite
def gemm(draw: Draw) -> Case:
    rows, inner, columns = several(draw, 1, 4, 3)
    trans_a, trans_b = several(draw, 0, 1, 2)
    alpha, beta = (draw(st.sampled_from([1.0, 0.5, -2.0])) for _ in range(2))
    shapes: list[Any] = [(inner, rows) if trans_a else (rows, inner), (columns, inner) if trans_b else (inner, columns)]
    offset = draw(st.sampled_from([None, (), (1,), (columns,), (1, columns), (rows, 1), (rows, columns), (1, 1)]))
    shapes += [] if offset is None else [offset]
    return Case("Gemm", shapes, {"transA": trans_a, "transB": trans_b, "alpha": alpha, "beta": beta})


@st.composite
def slice_(draw: Draw) -> Case:
    """At least one entry per axis; bounds from either end, or far outside."""
    shape = several(draw, 1, 6, draw(st.integers(1, 4)))
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    bounds = []
    for axis in chosen:
        n = shape[axis]
        first, last = several(draw, 0, n - 1, 2)
        step = draw(st.integers(1, 4)) * (1 if last >= first else -1)
        starts, ends = [first, first - n], [last + 1, last + 1 - n]
        if step > 0:
            starts += [-n - 3] if first == 0 else []
            ends = [*ends, 2**62] if last == n - 1 else ends
            ends = [end for end in ends if end != 0]  # the end itself, counted from it, reads as 0
        else:
            starts += [n + 3, 2**62] if first == n - 1 else []
            ends = [-n - 1, -(2**62)] if last == 0 else [last - 1, last - 1 - n]
        bounds.append((draw(st.sampled_from(starts)), draw(st.sampled_from(ends)), step))
    starts, ends, steps = (i64(*column) for column in zip(*bounds, strict=True))
    axes = i64(*(from_either_end(draw, axis, len(shape)) for axis in chosen))
    return Case("Slice", [tuple(shape), starts, ends, axes, steps])


@st.composite
def pad(draw: Draw) -> Case:
    """Borders, and cuts that leave an entry; a border of copies is no longer than what it copies from."""
    mode = draw(st.sampled_from(["constant", "edge", "reflect", "wrap"]))
    shape = several(draw, 1, 5, draw(st.integers(1, 4)))
    edges = []
    for n in shape:
        longest = {"reflect": n - 1, "wrap": n}.get(mode, 3)
        before = draw(st.integers(0, longest))
        after = draw(st.integers(0, longest))
        if mode == "constant" and draw(st.booleans()):
            before = -draw(st.integers(0, n - 1))
            after = draw(st.integers(1 - n - before, 2))
        edges.append((before, after))
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    axes = [from_either_end(draw, axis, len(shape)) for axis in chosen]
    pads = i64(*(edges[axis][0] for axis in chosen), *(edges[axis][1] for axis in chosen))
    return Case("Pad", [tuple(shape), pads, None, i64(*axes)], {"mode": mode}, opset=19, forward=run_ort_double)


@st.composite
def transpose(draw: Draw) -> Case:
    shape = several(draw, 1, 4, draw(st.integers(1, 5)))
    return Case("Transpose", [tuple(shape)], {"perm": draw(st.permutations(range(len(shape))))})


@st.composite
def reshape(draw: Draw) -> Case:
    """The same factors in another order, some of them joined; a 0 keeps an axis, a -1 is worked out."""
    shape = several(draw, 1, 4, draw(st.integers(1, 4)))
    target = list(draw(st.permutations(shape)))
    if len(target) > 1 and draw(st.booleans()):
        target = [target[0] * target[1], *target[2:]]
    target = [0 if shape[i] == n and draw(st.booleans()) else n for i, n in enumerate(target)]
    if draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return Case("Reshape", [tuple(shape), i64(*target)])


@st.composite
def concat(draw: Draw) -> Case:
    shape = several(draw, 1, 4, draw(st.integers(1, 4)))
    axis = draw(st.integers(0, len(shape) - 1))
    parts: list[Any] = [(*shape[:axis], n, *shape[axis + 1 :]) for n in several(draw, 1, 3, draw(st.integers(1, 4)))]
    if len(parts) > 1 and draw(st.booleans()):
        parts[-1] = f32(*parts[-1])
    return Case("Concat", parts, {"axis": from_either_end(draw, axis, len(shape))})


@st.composite
def split(draw: Draw) -> Case:
    sizes = several(draw, 1, 3, draw(st.integers(1, 4)))
    shape = several(draw, 1, 4, draw(st.integers(1, 4)))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = sum(sizes)
    used = sorted(draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1)))
    attributes = {"axis": from_either_end(draw, axis, len(shape))}
    return Case("Split", [tuple(shape), i64(*sizes)], attributes, outputs=len(sizes), used=used)


@st.composite
def gather(draw: Draw) -> Case:
    shape = several(draw, 1, 5, draw(st.integers(1, 4)))
    axis = draw(st.integers(0, len(shape) - 1))
    places = several(draw, 1, 3, draw(st.integers(0, 2)))
    indices = np.array(several(draw, -shape[axis], shape[axis] - 1, int(np.prod(places, dtype=int))), np.int64)
    attributes = {"axis": from_either_end(draw, axis, len(shape))}
    return Case("Gather", [tuple(shape), indices.reshape(places)], attributes)


@st.composite
def gather_elements(draw: Draw) -> Case:
    shape = several(draw, 1, 4, draw(st.integers(1, 3)))
    axis = draw(st.integers(0, len(shape) - 1))
    places = [draw(st.integers(1, n)) for n in shape]
    places[axis] = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    indices = rng.integers(-shape[axis], shape[axis], places)
    attributes = {"axis": from_either_end(draw, axis, len(shape))}
    return Case("GatherElements", [tuple(shape), indices], attributes, forward=run_ort_double)


COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")


@st.composite
def resize(draw: Draw) -> Case:
    """Scales or sizes of the spatial axes; onnx's reference differs from ONNX Runtime where a shape is kept."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    rank = 2 if mode == "cubic" else draw(st.integers(1, 3))
    shape = (1, draw(st.integers(1, 2)), *several(draw, 2, 5, rank))
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(COORDINATES))}
    if mode == "nearest":
        rounded = st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
        attributes["nearest_mode"] = draw(rounded)
    if draw(st.booleans()):
        target = [None, i64(*shape[:2], *several(draw, 2, 8, rank))]
    else:
        scale = st.sampled_from([0.6, 0.8, 1, 1.3, 1.5, 2, 3])
        target = [np.float32([1, 1, *(draw(scale) for _ in range(rank))])]
    return Case("Resize", [shape, None, *target], attributes, forward=run_ort, opset=19)


def epsilon(draw: Draw) -> dict[str, Any]:
    return {"epsilon": draw(st.sampled_from([1e-3, 0.0625, 0.5]))}


def planes(draw: Draw, channels: int) -> tuple[int, ...]:
    """A batch of 1D, 2D or 3D planes, with four positions at least."""
    return (draw(st.integers(1, 2)), channels, draw(st.integers(4, 6)), *several(draw, 1, 3, draw(st.integers(0, 2))))


def constant_or_drawn(draw: Draw, *shape: int) -> Any:
    return f32(*shape) if draw(st.booleans()) else shape


@st.composite
def batch_normalization(draw: Draw) -> Case:
    channels = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 3)), channels, *several(draw, 1, 4, draw(st.integers(0, 3))))
    constants = [f32(channels), f32(channels), f32(channels), f32(channels, low=0.5, high=2)]
    return Case("BatchNormalization", [shape, *constants], epsilon(draw))


@st.composite
def layer_normalization(draw: Draw, op: str) -> Case:
    """The scale may lack leading axes of what is normalised, or have ones."""
    shape = (*several(draw, 1, 3, draw(st.integers(0, 3))), draw(st.integers(4, 6)))
    axis = draw(st.integers(0, len(shape) - 1))
    own = [n if draw(st.booleans()) else 1 for n in shape[axis:]]
    inputs = [shape, constant_or_drawn(draw, *own)]
    if op == "LayerNormalization" and draw(st.booleans()):
        inputs.append(constant_or_drawn(draw, *shape[axis:]))
    attributes = {"axis": from_either_end(draw, axis, len(shape)), **epsilon(draw)}
    return Case(op, inputs, attributes, opset=17 if op == "LayerNormalization" else 23)


@st.composite
def instance_normalization(draw: Draw) -> Case:
    channels = draw(st.integers(1, 3))
    parts = [constant_or_drawn(draw, channels) for _ in range(2)]
    return Case("InstanceNormalization", [planes(draw, channels), *parts], epsilon(draw))


@st.composite
def group_normalization(draw: Draw) -> Case:
    """A scale per group, as in opset 18; per channel, as from 21 on, the forward is in float32 and takes long steps."""
    groups, per_group = several(draw, 1, 3, 2)
    opset = draw(st.sampled_from([18, 21]))
    parts = [constant_or_drawn(draw, groups if opset == 18 else groups * per_group) for _ in range(2)]
    attributes = {"num_groups": groups, **(epsilon(draw) if opset == 18 else {"epsilon": 0.5})}
    x = planes(draw, groups * per_group)
    return Case("GroupNormalization", [x, *parts], attributes, opset=opset,
                **({} if opset == 18 else {"forward": run_ort}))  # fmt: skip


@st.composite
def lp_normalization(draw: Draw) -> Case:
    shape = tuple(several(draw, 1, 5, draw(st.integers(1, 4))))
    axis = draw(st.integers(0, len(shape) - 1))
    attributes = {"axis": from_either_end(draw, axis, len(shape)), "p": draw(st.integers(1, 2))}
    return Case("LpNormalization", [shape], attributes, forward=run_ort_double, low=0.1)


@st.composite
def lrn(draw: Draw) -> Case:
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 6)), *several(draw, 1, 3, 2))
    attributes = {"size": draw(st.sampled_from([1, 3, 5])), "alpha": 0.5, "beta": 0.75, "bias": 1.5}
    return Case("LRN", [shape], attributes)


@st.composite
def along_one_axis(draw: Draw, op: str) -> Case:
    shape = tuple(several(draw, 1, 5, draw(st.integers(1, 4))))
    axis = draw(st.integers(0, len(shape) - 1))
    return Case(op, [shape], {"axis": from_either_end(draw, axis, len(shape))})


REDUCTIONS = ("Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp", "Prod")

FORMS: dict[str, st.SearchStrategy[Case]] = {
    "Conv": conv(),
    "ConvTranspose": conv_transpose(),
    "MaxPool": max_pool(),
    "AveragePool": average_pool(),
    **{f"Reduce{name}": reduction(f"Reduce{name}") for name in REDUCTIONS},
    **{op: binary(op) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean")},
    "Where": where(),
    "MatMul": matmul(),
    "Gemm": gemm(),
    "Slice": slice_(),
    "Pad": pad(),
    "Transpose": transpose(),
    "Reshape": reshape(),
    "Concat": concat(),
    "Split": split(),
    "Gather": gather(),
    "GatherElements": gather_elements(),
    "Resize": resize(),
    "BatchNormalization": batch_normalization(),
    "LayerNormalization": layer_normalization("LayerNormalization"),
    "RMSNormalization": layer_normalization("RMSNormalization"),
    "InstanceNormalization": instance_normalization(),
    "GroupNormalization": group_normalization(),
    "LpNormalization": lp_normalization(),
    "LRN": lrn(),
    "Softmax": along_one_axis("Softmax"),
    "LogSoftmax": along_one_axis("LogSoftmax"),
}
"""Per operator, the forms of its node that are drawn."""


@pytest.mark.slow
@pytest.mark.parametrize("op", FORMS)
@given(data=st.data())
@settings(
    derandomize=True, deadline=None, max_examples=EXAMPLES, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_rule_matches_central_differences_in_every_form(op: str, data: st.DataObject) -> None:
    check_rule(data.draw(FORMS[op]))
