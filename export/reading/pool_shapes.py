"""Shape inference, with pools of `ceil_mode` in a form whose shape onnx infers as ONNX Runtime computes it.

Before opset 22 onnx counts a last window that would start behind the input, in the padding; ONNX Runtime, like PyTorch,
leaves it out. Pads that end where the last window does mean the same to both. `auto_pad` SAME is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
import onnx.shape_inference

from aerocam.errors import ModelError

POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a pool."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """Return how many positions lie from a window's first tap to its last, both counted."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def counted(self) -> int:
        """Return the number of windows that rounding up gives."""
        return -(-(self.size + self.before + self.after - self.reach) // self.stride) + 1

    @property
    def windows(self) -> int:
        """Return the number of windows in ONNX Runtime: the last one starts before the padding behind the input."""
        return self.counted - ((self.counted - 1) * self.stride >= self.size + self.before)

    @property
    def needed(self) -> int:
        """Return the padding behind the input that the last window reaches; negative where it ends before the input."""
        return (self.windows - 1) * self.stride + self.reach - self.size - self.before


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with what onnx infers, after rewriting pools, in place, once the shape of their input is known.

    Raises:
        ModelError: A pool has no form whose shape onnx infers as ONNX Runtime computes it.
    """
    pools = [node for graph in graphs(proto.graph) for node in graph.node if node.op_type in POOLS]
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    while pools:
        shapes = _static_shapes(inferred)
        mended = next((i for i, node in enumerate(pools) if mend_pool(node, shapes)), None)
        if mended is None:
            break
        _forget_behind(proto.graph, {pools[mended].output[0]})
        del pools[: mended + 1]
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return inferred


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all graphs within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from graphs(inner)


def _static_shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes whose dimensions are all known, by name of their tensor."""
    shapes = {}
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.value_info):
            dims = value.type.tensor_type.shape.dim
            if dims and all(dim.dim_value > 0 for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _forget_behind(graph: onnx.GraphProto, names: set[str]) -> None:
    """Drop the shapes written down for `names` and for all that is computed from them, which is added to `names`."""
    for node in graph.node:
        inner = [subgraph for attribute in node.attribute for subgraph in (attribute.g, *attribute.graphs)]
        read = {name for subgraph in inner for part in graphs(subgraph) for node in part.node for name in node.input}
        for subgraph in inner:
            _forget_behind(subgraph, names)
        if not names.isdisjoint([*node.input, *read]):
            names.update(node.output)
    kept = [value for value in graph.value_info if value.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in graph.output:
        if value.name in names:
            value.type.tensor_type.ClearField("shape")


def mend_pool(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Write a pool's pads so that no window starts behind the input, in place; its result stays the same.

    Args:
        node: Any node.
        shapes: The static shapes that are known.

    Returns:
        Whether anything was written.

    Raises:
        ModelError: The pool has no form in which no window starts behind the input.
    """
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type not in POOLS or node.domain not in ("", "ai.onnx") or node.input[0] not in shapes:
        return False
    if not attributes.get("ceil_mode", 0) or attributes.get("auto_pad", b"NOTSET").startswith(b"SAME"):
        return False
    axes = _axes(attributes, shapes[node.input[0]][2:])
    if all(axis.windows == axis.counted for axis in axes):
        return False
    axes, ceil = _without_last(node, axes, bool(attributes.get("count_include_pad", 0)))
    changed = {
        "auto_pad": "NOTSET",
        "ceil_mode": int(ceil),
        "pads": [*(axis.before for axis in axes), *(axis.after for axis in axes)],
    }
    kept = [attribute for attribute in node.attribute if attribute.name not in changed]
    del node.attribute[:]
    node.attribute.extend([*kept, *(onnx.helper.make_attribute(name, value) for name, value in changed.items())])
    return True


def _axes(attributes: Mapping[str, Any], sizes: Sequence[int]) -> list[Axis]:
    """Return the spatial axes of a pool, by its attributes and the sizes of its input."""
    rank = len(sizes)
    ones, none = [1] * rank, [0] * (2 * rank)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    pads = attributes.get("pads", none) if attributes.get("auto_pad", b"NOTSET") == b"NOTSET" else none
    return [
        Axis(*axis)
        for axis in zip(sizes, attributes["kernel_shape"], strides, dilations, pads[:rank], pads[rank:], strict=True)
    ]


def _without_last(node: onnx.NodeProto, axes: list[Axis], counts_pads: bool) -> tuple[list[Axis], bool]:
    """Return the axes with less padding behind, and whether sizes are still rounded up.

    Where windows lie further apart than they reach, rounding up counts the last one without any padding: there sizes
    have to be rounded down, and an axis that has to be rounded up gets the padding that its last window reaches into.

    Raises:
        ModelError: The padding that an axis gets would be averaged, or is more than a runtime takes.
    """
    dropped = [axis.windows < axis.counted for axis in axes]
    ends = [max(axis.needed, 0) if drop else axis.after for axis, drop in zip(axes, dropped, strict=True)]
    up = not any(drop and axis.needed < 0 for axis, drop in zip(axes, dropped, strict=True))
    if not up:
        ends = [max(axis.needed, end) for axis, end in zip(axes, ends, strict=True)]
        wider = [(axis, end) for axis, end in zip(axes, ends, strict=True) if end > axis.after]
        if any(counts_pads or end >= axis.kernel for axis, end in wider):
            raise ModelError(
                f"operator {node.op_type} (node {node.name!r}): with ceil_mode and strides beyond its kernel, its"
                " windows have no form that all opsets read alike; export the model with ceil_mode 0 there"
            )
    return [replace(axis, after=end) for axis, end in zip(axes, ends, strict=True)], up
