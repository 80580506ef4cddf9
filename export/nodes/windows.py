"""Sliding windows: strides, pads, dilations and kernel of a Conv or a pool, with ONNX's defaults resolved.

`auto_pad` and `ceil_mode` need no case of their own: what a window covers follows from the static sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from aerocam.export.nodes.shapes import static_shape


@dataclass(frozen=True)
class Window:
    """One spatial axis of a Conv or a pool. Tap t of output o reads input `o * stride + t * dilation - pad`."""

    size_in: int
    size_out: int
    kernel: int
    stride: int
    dilation: int
    pad: int

    @property
    def reach(self) -> int:
        """Return how many input positions lie from a window's first tap to its last, both counted."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def covered(self) -> int:
        """Return the length of the padded axis that the windows cover."""
        return (self.size_out - 1) * self.stride + self.reach

    @property
    def pad_after(self) -> int:
        """Return the padding behind the input that the windows reach; negative: input that none reaches."""
        return self.covered - self.pad - self.size_in


def windows(node: ir.Node, kernel: tuple[int, ...] | None = None) -> list[Window]:
    """Return the windows of a Conv or pool node, one per spatial axis.

    Args:
        node: The node; input 0 and output 0 have static shapes (N, C, spatial ...).
        kernel: Kernel size per axis where the node's `kernel_shape` may be absent (Conv: from the weight).
    """
    x, y = static_shape(node.inputs[0])[2:], static_shape(node.outputs[0])[2:]  # type: ignore[arg-type]
    rank = len(x)
    sizes = tuple(node.attributes.get_ints("kernel_shape", kernel or ()))
    strides = tuple(node.attributes.get_ints("strides", (1,) * rank))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * rank))
    pads = _pads(node, x, y, sizes, strides, dilations)
    return [Window(*axis) for axis in zip(x, y, sizes, strides, dilations, pads, strict=True)]


def transposed_windows(node: ir.Node) -> list[Window]:
    """Return the windows of the Conv that a ConvTranspose is the adjoint of: its input is Y, its output is X.

    With `output_shape` or an automatic `auto_pad` the pads follow from the sizes; an odd one goes in front, but behind
    for SAME_UPPER.
    """
    x, y, kernel = (static_shape(value)[2:] for value in (*node.inputs[:1], *node.outputs[:1], node.inputs[1]))  # type: ignore[arg-type]
    rank = len(x)
    strides = tuple(node.attributes.get_ints("strides", (1,) * rank))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * rank))
    extra = tuple(node.attributes.get_ints("output_padding", (0,) * rank))
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if "output_shape" in node.attributes or auto_pad.startswith("SAME"):
        axes = zip(x, y, kernel, strides, dilations, extra, strict=True)
        totals = [max((n - 1) * s + e + (k - 1) * d + 1 - m, 0) for n, m, k, s, d, e in axes]
        pads = [(total + (auto_pad != "SAME_UPPER")) // 2 for total in totals]
    else:
        pads = list(node.attributes.get_ints("pads", (0,) * rank))[:rank] if auto_pad == "NOTSET" else [0] * rank
    return [Window(*axis) for axis in zip(y, x, kernel, strides, dilations, pads, strict=True)]


def _pads(node: ir.Node, *axes: tuple[int, ...]) -> list[int]:
    """Return the padding before the input, per axis."""
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((y - 1) * s + (k - 1) * d + 1 - x, 0) for x, y, k, s, d in zip(*axes, strict=True)]
        return [(total + (auto_pad == "SAME_LOWER")) // 2 for total in totals]
    if auto_pad == "VALID":
        return [0] * len(axes[0])
    return list(node.attributes.get_ints("pads", (0,) * (2 * len(axes[0]))))[: len(axes[0])]
