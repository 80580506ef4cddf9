"""Reads TensorFlow's frozen graphs (`frozen_inference_graph.pb`) without TensorFlow.

The file is one protocol buffer, a GraphDef. Its messages are declared here, as far as they are needed, to a pool of
their own: TensorFlow may be loaded beside. Imported only where the packages of the `export` extra are installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aerocam.errors import ModelError

MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "GraphDef": {"node": (1, "NodeDef*")},
    "NodeDef": {"name": (1, "string"), "op": (2, "string"), "input": (3, "string*"), "attr": (5, "Entry*")},
    "Entry": {"key": (1, "string"), "value": (2, "AttrValue")},
    "AttrValue": {
        "list": (1, "ListValue"), "s": (2, "bytes"), "i": (3, "int64"), "f": (4, "float"), "b": (5, "bool"),
        "type": (6, "int32"), "tensor": (8, "TensorProto"),
    },
    "ListValue": {"s": (2, "bytes*"), "i": (3, "int64*"), "f": (4, "float*")},
    "TensorProto": {
        "dtype": (1, "int32"), "tensor_shape": (2, "TensorShapeProto"), "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"), "int_val": (7, "int32*"), "int64_val": (10, "int64*"),
    },
    "TensorShapeProto": {"dim": (2, "Dim*")},
    "Dim": {"size": (1, "int64")},
}  # fmt: skip
"""Fields of TensorFlow's messages: number and type, `*` where repeated. A map is its repeated entries."""

NUMBERS = {1: ("<f4", "float_val"), 3: ("<i4", "int_val"), 9: ("<i8", "int64_val")}
"""TensorFlow's DataType: NumPy's name, and the field that holds the numbers where `tensor_content` does not."""

Attribute: TypeAlias = "NDArray[Any] | tuple[Any, ...] | bytes | int | float | bool"


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: Unique in the graph.
        op: TensorFlow's operator.
        inputs: Names of the nodes that it reads, without `:0`; control inputs are left out.
        attributes: By name; a tensor as array, or None where its numbers are of a kind that is not read.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute | None]


def _declare() -> Any:
    """Declare the class of GraphDef messages."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="frozen_graph.proto", package="frozen", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "AttrValue":
            message.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            label = types.LABEL_REPEATED if kind.endswith("*") else types.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            kind = kind.rstrip("*")
            if kind in MESSAGES:
                added.type, added.type_name = types.TYPE_MESSAGE, f".frozen.{kind}"
            else:
                added.type = getattr(types, f"TYPE_{kind.upper()}")
            if name == "AttrValue":
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("frozen.GraphDef"))


GraphDef = _declare()
"""The message of a whole file. Fields that are not declared are kept when it is written again."""


def parse(content: bytes, name: str) -> Any:
    """Parse the file as a `GraphDef` message.

    Args:
        content: Of the file.
        name: Of the file, for the error message.

    Raises:
        ModelError: The bytes are truncated, or are no frozen graph.
    """
    try:
        graph = GraphDef.FromString(content)
    except DecodeError as error:
        raise ModelError(f"{name}: truncated or not a frozen graph ({error}); fetch the file again") from error
    if not graph.node:
        raise ModelError(f"{name}: no frozen graph, it has no nodes; give a frozen_inference_graph.pb")
    return graph


def read(content: bytes, name: str) -> dict[str, Node]:
    """Read the graph's nodes by name, in the file's order.

    Args and errors are those of `parse`.
    """
    return {node.name: _node(node) for node in parse(content, name).node}


def _node(node: Any) -> Node:
    inputs = tuple(name.removesuffix(":0") for name in node.input if not name.startswith("^"))
    return Node(node.name, node.op, inputs, {entry.key: _attribute(entry.value) for entry in node.attr})


def _attribute(value: Any) -> Attribute | None:
    kind = value.WhichOneof("value")
    if kind == "list":
        return tuple(value.list.i) or tuple(value.list.f) or tuple(value.list.s)
    if kind == "tensor":
        return _array(value.tensor)
    return getattr(value, kind) if kind else None


def _array(tensor: Any) -> NDArray[Any] | None:
    """Return a tensor's numbers; a single one stands for all."""
    if tensor.dtype not in NUMBERS:
        return None
    dtype, field = NUMBERS[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    numbers = np.array(getattr(tensor, field) or [0], dtype)
    return np.full(shape, numbers[0]) if numbers.size == 1 else numbers.reshape(shape)
