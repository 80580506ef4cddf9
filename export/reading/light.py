"""Models whose large weights stand beside them.

onnx's own functions (shape inference, conversion, the checker) serialise and parse a whole model to look at its nodes.
They are given the model with references in place of its large weights, which are in memory at most once, and not before
somebody needs their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.reading.wire import LARGE, NUMBERS

ELSEWHERE = "aerocam_weights"
"""Where a reference says that its data are: nowhere on the disk."""

PLACE = "aerocam_place"
"""Key in the `meta` of a tensor that lies in a file: that file and the offset."""


@dataclass(frozen=True)
class LightModel:
    """A model and its large weights.

    Attributes:
        proto: The model, its large weights references without data.
        weights: These weights by name.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, ir.TensorProtocol]

    @classmethod
    def of(cls, model: ir.Model) -> LightModel:
        """The form in which onnx is given `model`."""
        kept = {value: value.const_value for value in model.graph.initializers.values() if _is_large(value.const_value)}
        try:
            for value, tensor in kept.items():
                value.const_value = _reference(str(value.name), tensor)  # type: ignore[arg-type]
            proto = ir.to_proto(model)
        finally:
            for value, tensor in kept.items():
                value.const_value = tensor
        return cls(proto, {str(value.name): tensor for value, tensor in kept.items()})  # type: ignore[misc]

    def whole(self) -> ir.Model:
        """The model with its weights."""
        model = ir.from_proto(self.proto)
        for name, value in model.graph.initializers.items():
            if name in self.weights:
                value.const_value = self.weights[name]
        return model


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    return tensor is not None and tensor.nbytes >= LARGE and int(tensor.dtype) in NUMBERS


def _reference(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    shape, properties = ir.Shape(tensor.shape.numpy()), dict(tensor.metadata_props)
    return ir.ExternalTensor(
        ELSEWHERE, 0, tensor.nbytes, tensor.dtype,
        shape=shape, name=name, doc_string=tensor.doc_string, metadata_props=properties,
    )  # fmt: skip


def refer(tensor: onnx.TensorProto) -> None:
    """Make a reference of a tensor without data, in place."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=ELSEWHERE)


def without_data(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Name, type, shape and notes of a tensor or of a reference."""
    plain = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if tensor.HasField("doc_string"):
        plain.doc_string = tensor.doc_string
    plain.metadata_props.extend(tensor.metadata_props)
    return plain


def tensor_in_file(path: Path, offset: int, tensor: onnx.TensorProto) -> ir.TensorProtocol:
    """A tensor whose data are read anew whenever they are asked for.

    Args:
        path: The file.
        offset: Where its data begin.
        tensor: Name, type, shape and notes.
    """
    path, name, dtype = path.resolve(), tensor.name, ir.DataType(tensor.data_type)
    shape = tuple(tensor.dims)
    count = int(np.prod(shape, dtype=int))

    def read() -> ir.TensorProtocol:
        try:
            array = np.fromfile(path, dtype.numpy().newbyteorder("<"), count, offset=offset)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read any more ({error.strerror}); was it moved?") from error
        if array.size != count:
            raise ModelError(f"{path}: it became shorter while it was read; export it again")
        return ir.Tensor(array.reshape(shape), dtype=dtype, name=name)

    notes = {item.key: item.value for item in tensor.metadata_props}
    found = ir.LazyTensor(
        read, dtype, ir.Shape(shape), name=name, doc_string=tensor.doc_string or None, metadata_props=notes
    )
    found.meta[PLACE] = (path, offset)
    return found


def data_of(weight: ir.TensorProtocol) -> memoryview:
    """The bytes of a weight, as ONNX stores them."""
    array = weight.numpy()
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
