"""Static shapes: every rule may rely on them, so what has none is refused here, by name."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.errors import ModelError

PICTURE_CHANNELS = (1, 3)
"""Channels of a grey and of a colour picture."""


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """Return the shape of `value` as plain integers.

    Raises:
        ModelError: The shape is unknown or has a dynamic dimension.
    """
    shape = value.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        found = "unknown" if shape is None else str([dim if isinstance(dim, int) else str(dim) for dim in shape])
        node = value.producer()
        source = "" if node is None else f" (operator {node.op_type}, node {node.name!r})"
        raise ModelError(
            f"tensor {value.name!r}{source}: its shape is {found}, a static one is needed to differentiate through it;"
            " freeze the inputs with `input_shapes`"
        )
    return tuple(int(dim) for dim in shape if isinstance(dim, int))


def is_static(value: ir.Value) -> bool:
    """Return whether every dimension of `value` is a known integer."""
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether an input of this shape is (1, H, W, C), as in TensorFlow; where it may be both, (1, C, H, W).

    Of other channels than a picture's there are fewer than rows, and than columns.
    """
    if len(shape) != 4 or shape[1] in PICTURE_CHANNELS:
        return False
    return shape[3] in PICTURE_CHANNELS or shape[3] < min(shape[1:3])


def is_float(value: ir.Value) -> bool:
    """Return whether `value` holds floating-point numbers, so that a gradient can flow through it."""
    return value.dtype is not None and value.dtype.is_floating_point()


def may_be_image(value: ir.Value) -> bool:
    """Return whether an input may be a picture: floats, or pixels in uint8 that the model preprocesses itself."""
    return is_float(value) or value.dtype == ir.DataType.UINT8
