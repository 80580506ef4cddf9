"""How far one answer sees: the cells of a layer that a single logit depends on, by the graph alone.

The walk goes from one entry of the predictions back to the layers and keeps, per tensor, which entries that one entry
depends on: a mask whose axes of size 1 stand for all of their entries alike. A map can only show such cells. Where it
is one cell, the map is a dot at that place, whatever the network saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from aerocam.errors import ModelError
from aerocam.export.gradients.adjoints.reductions import reduced_axes
from aerocam.export.gradients.adjoints.resize import axis_matrices
from aerocam.export.gradients.autodiff import values_read
from aerocam.export.gradients.stacking.batched import ENTRYWISE
from aerocam.export.layers.candidates import Candidate
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.operator_tables import decorator_of
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.nodes.windows import Window, transposed_windows, windows

Mask: TypeAlias = NDArray[np.bool_]
Reads: TypeAlias = Callable[[ir.Node, Mask], "Sequence[Mask | None]"]

MOVING = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Pad", "Reshape",
     "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Squeeze", "Tile", "Unsqueeze"}
)  # fmt: skip
"""Operators whose entries are entries of their inputs, at places that are known beforehand where indices are."""

READS: dict[str, Reads] = {}
"""Per operator, which entries of each input, or of the first ones, some entries of output 0 depend on.

An operator that is not here, and is neither moving nor entrywise, depends on all of its inputs.
"""


def receptive_fields(
    candidates: Sequence[Candidate], predictions: Sequence[ir.Value]
) -> dict[ir.Value, tuple[int, int] | None]:
    """Return (rows, columns) of each candidate that one answer depends on, from its first cell to its last.

    An answer is the entry in the middle of a tensor of predictions. Of several tensors, as of a detector's scales, the
    one with the fewest cells counts; None: a candidate that none of them depends on.

    Args:
        candidates: Layers of one model, at least one.
        predictions: The tensors that hold the answers, in the same graph.
    """
    first = min(candidate.depth for candidate in candidates)
    nodes = [node for node, _ in candidates[0].path[first + 1 :]]
    fields: dict[ir.Value, tuple[int, int] | None] = {}
    moves: dict[ir.Node, list[list[NDArray[np.intp]]] | None] = {}
    for prediction in predictions:
        shape = static_shape(prediction)
        middle = np.zeros(shape, np.bool_)
        middle[tuple(n // 2 for n in shape)] = True
        masks = _walk(nodes, prediction, middle, moves)
        for candidate in candidates:
            field = _extent(candidate, masks[candidate.value]) if candidate.value in masks else None
            both = [cells for cells in (field, fields.get(candidate.value)) if cells is not None]
            fields[candidate.value] = min(both, key=np.prod, default=None)
    return fields


def _extent(candidate: Candidate, mask: Mask) -> tuple[int, int] | None:
    """Return rows and columns from the first to the last cell of a layer's mask."""
    fold, shape = candidate.fold, static_shape(candidate.value)
    if fold.cut is not None:
        axis, first, end = fold.cut
        mask = mask[(slice(None),) * axis + (slice(first, end),)] if mask.shape[axis] > 1 else mask
        shape = (*shape[:axis], end - first, *shape[axis + 1 :])
    if fold.units is not None:
        axis, _ = fold.units
        mask = np.broadcast_to(mask, (*mask.shape[:axis], shape[axis], *mask.shape[axis + 1 :]))
        mask, shape = mask.reshape(fold.apart(mask.shape)), fold.apart(shape)
    real = [axis for axis in fold.order if shape[axis] != 1]
    places = real[1:] if fold.channels > 1 else real
    others = tuple(axis for axis in range(len(shape)) if axis not in places)
    cells = np.broadcast_to(_any(mask, *others), [shape[axis] if axis in places else 1 for axis in range(len(shape))])
    grid = cells.transpose(fold.order).reshape(fold.shape[2:])
    if not grid.any():
        return None
    rows, columns = (np.flatnonzero(grid.any(axis=axis)) for axis in (1, 0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def _walk(
    nodes: Sequence[ir.Node], start: ir.Value, mask: Mask, moves: dict[ir.Node, list[list[NDArray[np.intp]]] | None]
) -> dict[ir.Value, Mask]:
    """Return per tensor which entries `mask` of `start` depends on; `moves` keeps where entries were moved from."""
    masks = {start: mask}
    for node in reversed(nodes):
        arrived = [masks.get(y) for y in node.outputs]
        if all(other is None for other in arrived):
            continue
        for x, read in zip(node.inputs, _read(node, arrived, moves), strict=False):
            if x is not None and read is not None and x.const_value is None:
                masks[x] = masks[x] | read if x in masks else read
        for x in values_read(node):  # what the branches of an If read, too
            if x not in node.inputs:
                masks[x] = _everything(x)
    return masks


def _read(
    node: ir.Node, arrived: Sequence[Mask | None], moves: dict[ir.Node, list[list[NDArray[np.intp]]] | None]
) -> Sequence[Mask | None]:
    """Return the masks of a node's inputs, by those of its outputs."""
    whole = [_everything(x) if x is not None and is_float(x) else None for x in node.inputs]
    if node.domain:
        return whole
    if node.op_type == "Split":
        return _split(node, arrived)
    if node.op_type in MOVING:
        if node not in moves:
            moves[node] = _sources(node)
        sources = moves[node]
        return whole if sources is None else _moved(node, arrived, sources)
    mask = arrived[0]
    if mask is None:
        return whole
    if node.op_type in ENTRYWISE:
        return [_summed_to(mask, static_shape(x)) if x is not None and is_float(x) else None for x in node.inputs]
    reads = READS.get(node.op_type)
    try:
        return reads(node, mask) if reads is not None else whole
    except ModelError:  # a form that depends on numbers known at run time alone
        return whole


def _everything(value: ir.Value) -> Mask:
    return np.ones((1,) * len(value.shape or ()), np.bool_)


def _any(mask: Mask, *axes: int, keepdims: bool = True) -> Mask:
    """Return the mask with what holds for any entry along `axes`."""
    held = np.asarray(np.any(mask, axis=axes, keepdims=True))
    return held if keepdims else held.squeeze(axes)


def _summed_to(mask: Mask, shape: Sequence[int]) -> Mask:
    """Return the mask of an input of this shape that was broadcast; a size of 0 is any size."""
    mask = _any(mask, *range(mask.ndim - len(shape)), keepdims=False)
    return _any(mask, *(axis for axis, n in enumerate(shape) if n == 1 and mask.shape[axis] > 1))


def _compact(mask: Mask) -> Mask:
    """Return the mask with size 1 on every axis along which nothing changes."""
    for axis in range(mask.ndim):
        first = mask.take([0], axis=axis)
        if mask.shape[axis] > 1 and bool((mask == first).all()):
            mask = first
    return mask


def _sources(node: ir.Node) -> list[list[NDArray[np.intp]]] | None:
    """Return per input and output of a moving node: the flat place in the input of each entry, -1 for none.

    None where the places are computed at run time.
    """
    feeds: dict[str, NDArray] = {}
    moving, offset = [], 1
    for i, x in enumerate(node.inputs):
        array = constant_array(x)
        if x is None or array is not None:
            if x is not None and array is not None:
                feeds[str(x.name)] = np.zeros(array.shape) if is_float(x) else array
            continue
        if not is_float(x):
            return None
        size = int(np.prod(static_shape(x), dtype=int))
        feeds[str(x.name)] = np.arange(offset, offset + size, dtype=np.float64).reshape(static_shape(x))
        moving.append((i, offset, size))
        offset += size
    assert node.graph is not None
    numbers = ReferenceEvaluator(ir.to_proto(node), opsets=dict(node.graph.opset_imports)).run(None, feeds)
    sources = [[np.empty(0, np.intp)] * len(numbers) for _ in node.inputs]
    for i, first, size in moving:
        for j, entries in enumerate(numbers):
            places = entries.astype(np.intp) - first
            sources[i][j] = np.where((places >= 0) & (places < size), places, -1)
    return sources


def _moved(
    node: ir.Node, arrived: Sequence[Mask | None], sources: list[list[NDArray[np.intp]]]
) -> Sequence[Mask | None]:
    masks: list[Mask | None] = []
    for x, places_by_output in zip(node.inputs, sources, strict=True):
        if x is None or not places_by_output[0].size:
            masks.append(None)
            continue
        mask = np.zeros(int(np.prod(static_shape(x), dtype=int)) + 1, np.bool_)  # the last one: from nowhere
        for places, above in zip(places_by_output, arrived, strict=True):
            if above is not None:
                mask[places[np.broadcast_to(above, places.shape)]] = True
        masks.append(_compact(mask[:-1].reshape(static_shape(x))))
    return masks


reads = decorator_of(READS)
"""Registers what some operators read."""


def _split(node: ir.Node, arrived: Sequence[Mask | None]) -> Sequence[Mask | None]:
    """Join the masks of the parts."""
    axis = node.attributes.get_int("axis", 0)
    masks = [
        np.zeros((1,) * len(y.shape or ()), np.bool_) if mask is None else mask
        for y, mask in zip(node.outputs, arrived, strict=True)
    ]
    sizes = np.max([mask.shape for mask in masks], axis=0)
    wide = []
    for y, mask in zip(node.outputs, masks, strict=True):
        sizes[axis] = static_shape(y)[axis]
        wide.append(np.broadcast_to(mask, sizes))
    return [_compact(np.concatenate(wide, axis=axis))]


@reads("Concat")
def _concat(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    axis, start, parts = node.attributes["axis"].as_int(), 0, list[Mask | None]()
    for x in node.inputs:
        size = static_shape(x)[axis]  # type: ignore[arg-type]
        part = mask if mask.shape[axis] == 1 else mask.take(range(start, start + size), axis=axis)
        parts.append(part if part.any() else None)
        start += size
    return parts


@reads("Transpose")
def _transpose(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    perm = node.attributes.get_ints("perm", tuple(reversed(range(mask.ndim))))
    return [mask.transpose(np.argsort(perm))]


@reads("BatchNormalization", "DequantizeLinear", "Dropout", "QuantizeLinear", "Trilu")
def _same(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    return [mask]


@reads("Conv", "MaxPool", "AveragePool", "LpPool", "QLinearConv", "ConvInteger", "ConvTranspose")
def _sliding(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    """Go through the windows axis by axis; a convolution reads all channels."""
    is_pool, is_transposed = node.op_type.endswith("Pool"), node.op_type == "ConvTranspose"
    weight = node.inputs[3 if node.op_type == "QLinearConv" else 1] if not is_pool else None
    kernel = static_shape(weight)[2:] if weight is not None else None
    for i, axis in enumerate(transposed_windows(node) if is_transposed else windows(node, kernel)):
        taps = _taps(axis)
        mask = _along(mask, 2 + i, taps.T if is_transposed else taps)
    return [mask if is_pool else _any(mask, 1)]


def _taps(axis: Window) -> NDArray[np.bool_]:
    """Return, as (inputs, outputs), which input positions each output position reads."""
    outputs = np.arange(axis.size_out)
    taps = np.zeros((axis.size_in, axis.size_out), np.bool_)
    for tap in range(axis.kernel):
        inputs = outputs * axis.stride + tap * axis.dilation - axis.pad
        inside = (inputs >= 0) & (inputs < axis.size_in)
        taps[inputs[inside], outputs[inside]] = True
    return taps


def _along(mask: Mask, axis: int, taps: NDArray[np.bool_]) -> Mask:
    """Return the mask of the inputs along one axis, by (inputs, outputs) that belong together."""
    lines = np.moveaxis(mask, axis, 0)
    lines = np.broadcast_to(lines, (taps.shape[1], *lines.shape[1:])).astype(np.float32)
    return np.moveaxis(np.tensordot(taps.astype(np.float32), lines, 1) > 0, 0, axis)


@reads("Resize", "Upsample")
def _resized(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    for axis, matrix in axis_matrices(node).items():
        mask = _along(mask, axis, matrix.T != 0)
    return [mask]


@reads("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "RMSNormalization", "Softmax")
def _along_an_axis(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    axis = node.attributes.get_int("axis", -1) % mask.ndim
    last = mask.ndim if node.op_type in ("LayerNormalization", "RMSNormalization") else axis + 1
    return [_any(mask, *range(axis, last))]


@reads("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _all_places(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    return [_any(mask, *range(2, mask.ndim))]


@reads("LRN")
def _all_channels(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    return [_any(mask, 1)]


@reads(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def _reduced(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    axes = reduced_axes(node)
    return [mask if node.attributes.get_int("keepdims", 1) else np.expand_dims(mask, axes)]


@reads("MatMul", "Gemm", "QLinearMatMul", "MatMulInteger")
def _product(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    """Rows of A for rows, columns of B for columns, and all of what is summed over."""
    second = 3 if node.op_type == "QLinearMatMul" else 1
    a, b = (static_shape(node.inputs[i]) for i in (0, second))  # type: ignore[arg-type]
    if min(len(a), len(b)) < 2:
        raise ModelError("a product with a vector")
    read: list[Mask | None] = [None] * len(node.inputs)
    for i, (shape, summed, turned) in enumerate(((a, -1, "transA"), (b, -2, "transB"))):
        part = _any(mask, summed)
        part = _summed_to(part, [n if axis < len(shape) - 2 else 0 for axis, n in enumerate(shape)])
        read[second * i] = part.swapaxes(-1, -2) if node.attributes.get_int(turned, 0) else part
    return read


@reads("Einsum")
def _einsum(node: ir.Node, mask: Mask) -> Sequence[Mask | None]:
    """Places along the letters of the result; all along those that are summed over."""
    terms, _, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    letters = [*terms.split(","), result]
    if not result or "." in terms or any(len(set(term)) != len(term) for term in letters):
        raise ModelError("an equation without its result, or with an index twice in a term")
    read: list[Mask | None] = []
    for term in terms.split(","):
        kept = _any(mask, *(i for i, letter in enumerate(result) if letter not in term), keepdims=False)
        own = [letter for letter in result if letter in term]
        kept = kept.transpose([own.index(letter) for letter in term if letter in own])
        read.append(np.expand_dims(kept, [i for i, letter in enumerate(term) if letter not in own]))
    return read
