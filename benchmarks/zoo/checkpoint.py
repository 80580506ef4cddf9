"""Reads PyTorch's legacy checkpoint format (`torch.save` before 1.6) without PyTorch, and safely.

Such a file is a row of pickles (a magic number, the protocol's version, facts about the machine, the object itself, the
keys of its storages), followed by the storages: an int64 count and the raw numbers of each. A pickle can call anything
that it can name, so the reader lets it name only what a dictionary of tensors needs; every such name stands for a
harmless object of this module, never for the thing itself.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from aerocam.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
"""NumPy's name for the numbers in each of PyTorch's storage classes."""


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that follows the pickles."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; counts and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Admits an ordered dictionary, tensors, parameters and storages, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for; functions are made anew, as the pickle may set attributes."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        raise ModelError(f"it asks for {module}.{name}, expected tensors only; do not trust this file")

    def persistent_load(self, pid: Any) -> _Storage:
        """Resolve a reference to a storage: ("storage", class, key, device, count, view)."""
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or dtype not in STORAGES.values() or view is not None:
            raise ModelError(f"it refers to {kind!r} with view {view!r}, expected a whole storage")
        return _Storage(str(key), dtype, int(count))


def load_state_dict(content: bytes, name: str) -> dict[str, NDArray[Any]]:
    """Read a state dictionary: parameter name to array.

    Args:
        content: Of the checkpoint file.
        name: Of the file, for the error message.

    Returns:
        Arrays that own their memory, in the file's order.

    Raises:
        ModelError: Another format, a truncated file, or a pickle that names something other than tensors.
    """
    if content[:2] == b"PK":
        raise ModelError(
            f"{name}: a zip archive, expected PyTorch's legacy format; save it with"
            " torch.save(state, file, _use_new_zipfile_serialization=False)"
        )
    try:
        return _parse(io.BytesIO(content))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ModelError(
            f"{name}: truncated or not a PyTorch checkpoint ({type(error).__name__}: {error}); fetch the file again"
        ) from error


def _parse(stream: io.BytesIO) -> dict[str, NDArray[Any]]:
    """Parse the file, part by part."""
    magic, protocol = _Unpickler(stream).load(), _Unpickler(stream).load()
    if (magic, protocol) != (MAGIC, PROTOCOL):
        raise ModelError(f"it begins with {magic!r}, {protocol!r}; expected PyTorch's {MAGIC:#x}, {PROTOCOL}")
    machine = _Unpickler(stream).load()
    if not machine["little_endian"]:
        raise ModelError("its numbers are big-endian; save it on a little-endian machine")
    state = _Unpickler(stream).load()
    if not isinstance(state, Mapping) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ModelError("it holds something other than a dictionary of tensors; save model.state_dict()")
    wanted = {tensor.storage.key: tensor.storage for tensor in state.values()}
    storages = {key: _read_storage(stream, wanted[key]) for key in _Unpickler(stream).load()}
    return {str(key): _view(storages[tensor.storage.key], tensor) for key, tensor in state.items()}


def _read_storage(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    """Read the numbers of the file's next storage."""
    count = int.from_bytes(stream.read(8), "little", signed=True)
    size = np.dtype(storage.dtype).itemsize * storage.count
    raw = stream.read(size) if count == storage.count >= 0 else b""
    if count != storage.count or len(raw) != size:
        raise ModelError(
            f"storage {storage.key} has {count} numbers in {len(raw)} bytes, expected {storage.count} in {size};"
            " the file is truncated or damaged: fetch it again"
        )
    return np.frombuffer(raw, storage.dtype)


def _view(numbers: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """Copy the part of its storage that a tensor is a view of."""
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    count = math.prod(shape)
    sound = len(shape) == len(strides) and min((*shape, *strides, offset), default=0) >= 0
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=False))
    if not sound or count > numbers.size or (count and last >= numbers.size):
        raise ModelError(
            f"a tensor of shape {shape}, strides {strides}, offset {offset} does not fit its {numbers.size} numbers;"
            " the file is damaged: fetch it again"
        )
    start = numbers[offset:] if count else numbers[:0]
    return as_strided(start, shape, [step * numbers.itemsize for step in strides], writeable=False).copy()
