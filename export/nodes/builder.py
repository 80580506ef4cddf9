"""`op.Mul(a, b)` appends a node: onnxscript's GraphBuilder, with names of our own and a few compound steps.

Rules use `op` alone. What it adds to ONNX's operators is written in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray
from onnxscript import GraphBuilder

from aerocam.export.nodes.shapes import is_float, static_shape

PREFIX = "aerocam"
"""Scope of every name this package gives inside a graph."""

NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Types of too small a range or precision for squares, long sums and positions in an image."""

BROADCASTING = frozenset(
    {"Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Pow", "Sub"}
)
"""Operators that broadcast a number against a tensor, those that are most often given one."""

LARGEST_SPREAD = 1 << 16
"""Entries of the largest constant that stands for an Expand."""


class Builder:
    """Appends nodes to a graph. Attribute access in capitals is an ONNX operator, as in `op.Add(x, 1.0)`.

    Python numbers and NumPy arrays among the inputs become initializers, numbers of the type of the first float tensor.
    """

    def __init__(self, graph: ir.Graph, part: str = "") -> None:
        """Append to `graph`, which must import an opset of the default domain.

        Args:
            graph: The graph.
            part: A further scope of the names, for what is built: two builders of one graph must have different ones.
        """
        self.graph = graph
        self._builder = GraphBuilder(graph)
        self._scope = f"{PREFIX}_{part}" if part else PREFIX
        self._builder.push_module(self._scope)
        self._nodes: set[ir.Node] = set()
        self._constants: dict[Hashable, ir.Value] = {}

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        """Return an operator's constructor: inputs by position, attributes by keyword, `_outputs=n` for n outputs.

        Raises:
            AttributeError: The name begins in lower case: it is a misspelt method of this class, no operator.
        """
        if not operator[0].isupper():
            raise AttributeError(f"{type(self).__name__} has no attribute {operator!r}")

        def append(*inputs: Any, **attributes: Any) -> Any:
            tensor = next((x for x in inputs if isinstance(x, ir.Value) and is_float(x)), None)
            rank = _rank_of_numbers(tensor) if operator in BROADCASTING else 0
            values = [self._as_value(x, tensor, rank) for x in inputs]
            result = getattr(self._builder.op, operator)(*values, **attributes)
            first = result if isinstance(result, ir.Value) else result[0]
            node = first.producer()
            assert node is not None
            node.metadata_props.clear()  # the builder's own notes on scopes
            self._nodes.add(node)
            return result

        return append

    def _as_value(self, x: Any, like: ir.Value | None, rank: int) -> ir.Value | None:
        if x is None or isinstance(x, ir.Value):
            return x
        if isinstance(x, float) and like is not None and like.dtype is not None:
            return self.constant(np.full((1,) * rank, x), like.dtype.numpy())
        return self.constant(x)

    def constant(self, array: ArrayLike, dtype: Any = None) -> ir.Value:
        """Return an initializer of `array`; equal arrays are stored once. Python ints become int64, floats float32."""
        data = np.asarray(array, dtype)
        if dtype is None and data.dtype == np.float64:
            data = data.astype(np.float32)
        key = (data.dtype.name, data.shape, data.tobytes())
        return self._initializer(key, ir.tensor(np.ascontiguousarray(data).reshape(data.shape)))

    def derived(self, weight: ir.Value, shape: Sequence[int], how: Callable[[NDArray], NDArray]) -> ir.Value:
        """Return an initializer `how(weight)` of `shape`, computed when its numbers are asked for and not kept.

        Equal functions of one weight are stored once.
        """
        source = weight.const_value
        assert source is not None

        def compute() -> ir.TensorProtocol:
            return ir.Tensor(np.ascontiguousarray(how(source.numpy())), dtype=source.dtype)

        return self._initializer((weight, how), ir.LazyTensor(compute, source.dtype, ir.Shape(shape)))

    def _initializer(self, key: Hashable, tensor: ir.TensorProtocol) -> ir.Value:
        if key not in self._constants:
            tensor.name = f"{self._scope}.constant_{len(self._constants)}"
            while tensor.name in self.graph.initializers:
                tensor.name += "_"
            self._constants[key] = self._builder.initializer(tensor, tensor.name, qualify=False)
        return self._constants[key]

    def integers(self, *values: int) -> ir.Value:
        """Return a one-dimensional int64 initializer."""
        return self.constant(np.array(values, np.int64))

    def floats_like(self, value: ir.Value, array: ArrayLike) -> ir.Value:
        """Return an initializer of `array` in the type of `value`."""
        assert value.dtype is not None
        return self.constant(array, value.dtype.numpy())

    def widened(self, value: ir.Value) -> ir.Value:
        """Return `value` in float32 where its type is narrower, otherwise as it is."""
        return self.Cast(value, to=ir.DataType.FLOAT) if value.dtype in NARROW else value

    def single(self, value: ir.Value) -> ir.Value:
        """Return `value` in float32; nothing is appended where it has that type already."""
        return value if value.dtype == ir.DataType.FLOAT else self.Cast(value, to=ir.DataType.FLOAT)

    def cast_like(self, value: ir.Value, other: ir.Value) -> ir.Value:
        """Return `value` in the type of `other`; nothing is appended where it has that type already."""
        return value if value.dtype == other.dtype else self.Cast(value, to=other.dtype)

    def reshape(self, value: ir.Value, *shape: int) -> ir.Value:
        """Return `value` in another shape; nothing is appended where it has that shape already."""
        if value.shape is not None and tuple(value.shape) == shape:
            return value
        return self.Reshape(value, self.integers(*shape))

    def reshape_like(self, value: ir.Value, other: ir.Value) -> ir.Value:
        """Return `value` in the (static) shape of `other`."""
        return self.reshape(value, *static_shape(other))

    def expand(self, value: ir.Value, shape: Sequence[int], factor: float = 1.0) -> ir.Value:
        """Return `value` times `factor`, broadcast to `shape`.

        A Mul with a constant along the axes that grow does it: ONNX Runtime takes half of Expand's time for it.
        """
        have = (1,) * (len(shape) - len(static_shape(value))) + static_shape(value)
        grown = [want if want != got else 1 for want, got in zip(shape, have, strict=True)]
        if np.prod(grown) == 1:
            return self.scale(self.reshape(value, *shape), factor)
        if constant_array(value) is not None or np.prod(grown) > LARGEST_SPREAD:
            return self.Expand(self.scale(value, factor), self.integers(*shape))
        return self.Mul(value, self.floats_like(value, np.full(grown, factor)))

    def copies(self, value: ir.Value, count: int) -> ir.Value:
        """Return `count` copies of `value` along a new axis in front."""
        shape = static_shape(value)
        return self.expand(self.reshape(value, 1, *shape), (count, *shape))

    def scale(self, value: ir.Value, factor: float) -> ir.Value:
        """Return `value` times `factor`; nothing is appended for 1."""
        return value if factor == 1.0 else self.Mul(value, factor)

    def masked(self, value: ir.Value, mask: ir.Value) -> ir.Value:
        """Return `value`, which must be finite, where a mask of truth values holds, else 0.

        A product does it: ONNX Runtime's Where takes six times as long on a CPU.
        """
        return self.Mul(value, self.Cast(mask, to=value.dtype))

    def sum(self, value: ir.Value, axes: Sequence[int], keepdims: bool = True) -> ir.Value:
        """Return the sum over `axes` (ReduceSum has one form from opset 13 on, the other reductions change at 18)."""
        return self.ReduceSum(value, self.integers(*axes), keepdims=int(keepdims))

    def reduce(self, operator: str, value: ir.Value, axes: Sequence[int], keepdims: bool = True) -> ir.Value:
        """Return `value` reduced over `axes` by ReduceMax or the like, whose axes are an input from opset 18 on."""
        if self.graph.opset_imports[""] >= 18:
            return getattr(self, operator)(value, self.integers(*axes), keepdims=int(keepdims))
        return getattr(self, operator)(value, axes=list(axes), keepdims=int(keepdims))

    def sum_to(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Return `value` summed down to `shape`: the adjoint of broadcasting."""
        have = static_shape(value)
        extra = len(have) - len(shape)
        axes = [*range(extra), *(i + extra for i, dim in enumerate(shape) if dim == 1 and have[i + extra] != 1)]
        if not axes:
            return self.expand(value, shape)
        return self.reshape(self.sum(value, axes), *shape)

    def pad(self, value: ir.Value, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> ir.Value:
        """Return `value` padded (negative: cropped) per axis; nothing is appended where all are 0."""
        if not any(before) and not any(after):
            return value
        return self.Pad(value, self.integers(*before, *after), self.floats_like(value, fill))

    def slice_axis(self, value: ir.Value, axis: int, start: int, stop: int, step: int = 1) -> ir.Value:
        """Return `value[..., start:stop:step, ...]` along `axis`."""
        if start == 0 and step == 1 and stop == static_shape(value)[axis]:
            return value
        return self.Slice(value, *(self.integers(number) for number in (start, stop, axis, step)))

    def total(self, values: Sequence[ir.Value]) -> ir.Value:
        """Return the sum of one or more tensors of one shape."""
        if len(values) == 1:
            return values[0]
        return self.Add(*values) if len(values) == 2 else self.Sum(*values)

    def output(self, value: ir.Value, name: str) -> ir.Value:
        """Make `value` a graph output called `name`; one of the model's own keeps its name, through an Identity."""
        result = value if value.producer() in self._nodes and not value.is_graph_output() else self.Identity(value)
        result.name = name
        self.graph.outputs.append(result)
        return result


def constant_array(value: ir.Value | None) -> NDArray[Any] | None:
    """Return the numbers of an initializer, or None where `value` is absent or computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def tensor_table(model: ir.Model) -> dict[str, ir.Value]:
    """Return inputs and computed tensors by name."""
    values = (*model.graph.inputs, *(y for node in model.graph for y in node.outputs))
    return {str(value.name): value for value in values}


def make_input(graph: ir.Graph, value: ir.Value) -> None:
    """Let a tensor come from outside instead of from its node."""
    if value.is_graph_input():
        return
    given = ir.Value(name=value.name, type=value.type, shape=value.shape)
    value.name = f"{value.name}_computed"
    for user, place in list(value.uses()):
        user.replace_input_with(place, given)
    graph.inputs.append(given)


def _rank_of_numbers(tensor: ir.Value | None) -> int:
    """Return the rank to give a number that broadcasts against a tensor.

    ONNX Runtime takes ten times as long for (1, C, 1, 1) and a number without axes as for one with four.
    """
    if tensor is None or tensor.shape is None or len(tensor.shape) < 2 or tensor.shape[-1] != 1:
        return 0
    return len(tensor.shape)
