"""Operators that ONNX does not define by others, written as simpler ones all the same, so that rules for these do.

One function per operator; `recurrence.py` has that of recurrent networks.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.reading.recurrence import unrolled

logger = logging.getLogger("aerocam.export")


def affine_grid(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Y[n, h, w] = theta[n] (x, y, 1), with x and y of -1 ... 1 over the plane: a product with a constant matrix."""
    theta, size = node.inputs
    numbers = constant_array(size)
    if theta is None or numbers is None:
        return None
    batch, _, *sizes = (int(n) for n in numbers)
    corners = node.attributes.get_int("align_corners", 0)
    axes = [np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1 for n in sizes]
    places = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(sizes)], -1).reshape(-1, len(sizes) + 1)
    grid = op.MatMul(op.floats_like(theta, places), op.Transpose(theta, perm=[0, 2, 1]))
    return [op.reshape(grid, batch, *sizes, len(sizes))]


def col2im(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Add the blocks of a plane up where they lie: a ConvTranspose whose kernel puts each entry into its own place."""
    x, plane, block = node.inputs
    sizes, kernel = constant_array(plane), constant_array(block)
    if x is None or sizes is None or kernel is None:
        return None
    rank = len(kernel)
    ones = (1,) * rank
    strides, dilations = (node.attributes.get_ints(name, ones) for name in ("strides", "dilations"))
    pads = node.attributes.get_ints("pads", (0,) * (2 * rank))
    reach = [(int(k) - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = [int(n) + pads[i] + pads[rank + i] for i, n in enumerate(sizes)]
    counts = [(n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True)]
    rest = [n - (c - 1) * s - r for n, c, s, r in zip(padded, counts, strides, reach, strict=True)]
    batch, channels, _ = static_shape(x)
    entries = int(np.prod(kernel))
    weight = op.floats_like(x, np.eye(entries).reshape(entries, 1, *(int(k) for k in kernel)))
    blocks = op.reshape(x, batch * channels // entries, entries, *counts)
    placed = op.ConvTranspose(blocks, weight, strides=strides, dilations=dilations)
    behind = [r - pads[rank + i] for i, r in enumerate(rest)]
    placed = op.pad(placed, [0, 0, *(-n for n in pads[:rank])], [0, 0, *behind])
    return [op.reshape(placed, batch, channels // entries, *(int(n) for n in sizes))]


def cum_prod(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Multiply by what lies 1, 2, 4, ... entries before, 1 where nothing does: so each entry has all before it."""
    x, axis = node.inputs[0], constant_array(node.inputs[1])
    if x is None or axis is None:
        return None
    shape = static_shape(x)
    along = int(axis.item()) % len(shape)
    back = bool(node.attributes.get_int("reverse", 0))

    def moved(value: ir.Value, step: int) -> ir.Value:
        margins = [[n if i == along else 0 for i in range(len(shape))] for n in (step, -step)]
        before, after = reversed(margins) if back else margins
        return op.pad(value, before, after, fill=1.0)

    product = moved(x, 1) if node.attributes.get_int("exclusive", 0) else op.Identity(x)
    step = 1
    while step < shape[along]:
        product = op.Mul(product, moved(product, step))
        step *= 2
    return [product]


def einsum(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Give the axes behind `...` letters; where one of them has two sizes, the rule refuses that."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    if "..." not in equation:
        return None
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    pairs = zip(terms, node.inputs, strict=True)
    counts = [len(static_shape(x)) - len(term) + 3 if "..." in term else 0 for term, x in pairs]  # type: ignore[arg-type]
    free = "".join(letter for letter in string.ascii_letters if letter not in equation)[: max(counts)]
    if not arrow:
        result = "..." + "".join(sorted(letter for letter in set(left) - set(",.") if left.count(letter) == 1))
    written = [term.replace("...", free[len(free) - count :]) for term, count in zip(terms, counts, strict=True)]
    return [op.Einsum(*node.inputs, equation=f"{','.join(written)}->{result.replace('...', free)}")]


def shrink(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Y = X moved towards 0 by `bias` where |X| > lambd, else 0."""
    x = node.inputs[0]
    assert x is not None
    nearer = op.Sub(x, op.scale(op.Sign(x), node.attributes.get_float("bias", 0.0)))
    return [op.Where(op.Greater(op.Abs(x), node.attributes.get_float("lambd", 0.5)), nearer, 0.0)]


def tensor_scatter(op: Builder, node: ir.Node) -> Sequence[ir.Value] | None:
    """Put updates into a cache from a position per sequence on, round its end if `mode` is circular: by element."""
    past, update, *positions = node.inputs
    if past is None or update is None:
        return None
    cache, shape = static_shape(past), static_shape(update)
    axis = node.attributes.get_int("axis", -2) % len(shape)
    steps = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    indices = op.constant(np.broadcast_to(steps, shape))
    if positions and positions[0] is not None:
        indices = op.Add(indices, op.reshape(positions[0], shape[0], *(1,) * (len(shape) - 1)))
    if node.attributes.get_string("mode", "linear") == "circular":
        indices = op.Mod(indices, op.integers(cache[axis]))
    return [op.ScatterElements(past, indices, update, axis=axis)]


SPELLINGS: dict[str, Callable[[Builder, ir.Node], Sequence[ir.Value] | None]] = {
    "AffineGrid": affine_grid,
    "Col2Im": col2im,
    "CumProd": cum_prod,
    "Einsum": einsum,
    "GRU": unrolled,
    "LSTM": unrolled,
    "RNN": unrolled,
    "Shrink": shrink,
    "TensorScatter": tensor_scatter,
}
"""What appends simpler nodes for one of an operator, and returns a value per output; None: this form stays."""


def spell_out(model: ir.Model) -> None:
    """Replace the nodes that have a spelling, in place; of inputs without a static shape they stay as they are.

    Args:
        model: Of opset 17 or newer, with shapes inferred; nodes in branches and loops stay.
    """
    nodes = [node for node in model.graph if node.op_type in SPELLINGS and not node.domain]
    op = Builder(model.graph, "spelled")
    for node in nodes:
        if not all(x is None or is_static(x) for x in node.inputs):
            continue
        before = len(model.graph)
        results = SPELLINGS[node.op_type](op, node)
        if results is None:
            continue
        logger.info("%s %r: written as %d nodes", node.op_type, node.name, len(model.graph) - before)
        for old, new in zip(node.outputs, results, strict=False):
            _take_place(old, new)
        model.graph.remove(node, safe=True)
    if nodes:
        ir.passes.Sequential(passes.TopologicalSortPass(), passes.RemoveUnusedNodesPass())(model)


def _take_place(old: ir.Value, new: ir.Value) -> None:
    """Let `new` take the name and the readers of `old`."""
    name, old.name = old.name, f"{old.name}_spelled_out"
    new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
