"""Adjoint rule of Resize and Upsample: any mode is linear in X and works axis by axis, so each axis is one matrix."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.errors import missing
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape


@adjoint("Resize")
def resize(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = R X along each resized axis: dX = R^T dY.

    Whole-number nearest: sums of blocks, an AveragePool. Otherwise products with constant matrices.
    """
    matrices = axis_matrices(node)
    before, after = static_shape(tensor(node)), static_shape(node.outputs[0])
    none = [None for _ in node.inputs[1:]]
    if not matrices:
        return [dy, *none]
    if min(matrices) >= 2 and all(_is_repeat(matrix) for matrix in matrices.values()):
        blocks = [m // n for n, m in zip(before[2:], after[2:], strict=True)]
        return [op.Mul(op.AveragePool(dy, kernel_shape=blocks, strides=blocks), float(np.prod(blocks))), *none]
    for axis, matrix in matrices.items():
        dy = along_axis(op, dy, axis, matrix.T)
    return [dy, *none]


def axis_matrices(node: ir.Node) -> dict[int, NDArray]:
    """Return the (after, before) matrix of each axis that a Resize changes, by axis.

    Raises:
        UnsupportedOperatorError: What it crops to, or its scales, are computed at run time.
    """
    box = _box(node)
    before, after = static_shape(tensor(node)), static_shape(node.outputs[0])
    if before == after and box is None:  # ONNX Runtime copies X then, whatever the scales
        return {}
    scales = _scales(node)
    resized = [
        axis
        for axis, (n, m) in enumerate(zip(before, after, strict=True))
        if n != m  # 1.1 leaves 5 entries at 5, but not in their places
        or (scales is not None and scales[axis] != 1.0)
        or (box is not None and tuple(box[:, axis]) != (0, 1))
    ]
    return {axis: _axis_matrix(node, axis, before[axis], after[axis], box) for axis in resized}


def _is_repeat(matrix: NDArray) -> bool:
    """Return whether a matrix repeats each input entry the same whole number of times."""
    repeats, rest = divmod(matrix.shape[0], matrix.shape[1])
    return rest == 0 and np.array_equal(matrix, np.repeat(np.eye(matrix.shape[1]), repeats, axis=0))


def along_axis(op: Builder, value: ir.Value, axis: int, matrix: NDArray) -> ir.Value:
    """Return `value` multiplied by `matrix` along `axis`."""
    shape = static_shape(value)
    rows = int(np.prod(shape[:axis], dtype=int))
    columns = int(np.prod(shape[axis + 1 :], dtype=int))
    product = op.MatMul(op.floats_like(value, matrix), op.reshape(value, rows, shape[axis], columns))
    return op.reshape(product, *shape[:axis], matrix.shape[0], *shape[axis + 1 :])


def _box(node: ir.Node) -> NDArray | None:
    """Return where the part that is resized begins and ends, (2, axes) as shares of X; None where all of it is."""
    if node.attributes.get_string("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return None
    roi = constant_array(node.inputs[1])
    if roi is None:
        raise refused(node, "a part to resize that is computed at run time, a constant roi is expected")
    axes = _axes(node)
    box = np.zeros((2, len(static_shape(tensor(node)))))
    box[1] = 1
    box[:, axes] = roi.reshape(2, len(axes))
    return box


def _axis_matrix(node: ir.Node, axis: int, before: int, after: int, box: NDArray | None) -> NDArray:
    """Return the (after, before) matrix of a Resize along one axis, by running the node on every unit vector.

    A vector lies along the last of four axes. The axis before it, along which nothing changes, is resized too: it
    decides the scale where the aspect ratio is kept, and has another length in any case. What lies outside of a box
    is a constant, which a vector of zeros shows.
    """
    copy = ir.to_proto(node)
    scales, sizes = _constant_input(node, 2), _constant_input(node, 3)
    attributes = [
        attribute for attribute in copy.attribute if attribute.name not in ("axes", "keep_aspect_ratio_policy")
    ]
    length = 1
    if _keeps_aspect(node) and sizes is not None:
        axes, shape = _axes(node), static_shape(tensor(node))
        ratios = [size / shape[i] for i, size in zip(axes, sizes, strict=True)]
        deciding = ratios.index(_scale(node, ratios))
        length = shape[axes[deciding]]
        attributes = [attribute for attribute in copy.attribute if attribute.name != "axes"]
        attributes.append(onnx.helper.make_attribute("axes", [2, 3]))
        names, size = ["x", "", "", "size"], np.array([sizes[deciding], sizes[axes.index(axis)]], np.int64)
    elif scales is not None:
        names, size = ["x", "", "size"], np.array([1, 1, 2, scales[_axes(node).index(axis)]], np.float32)
    else:
        names, size = ["x", "", "", "size"], np.array([before + 1, 1, 2, after], np.int64)
    copy.ClearField("input")
    copy.input.extend(names)
    copy.output[:] = ["y"]
    copy.ClearField("attribute")
    copy.attribute.extend(attributes)
    vectors = np.repeat(np.eye(before + 1, before, dtype=np.float32)[:, None, None], length, axis=2)
    roi = None
    if box is not None:
        copy.input[1], roi = "roi", np.array([0, 0, 0, box[0, axis], 1, 1, 1, box[1, axis]], np.float32)
    found = _run(copy, vectors, size, _opset(node), roi)[:, 0, 0]
    return (found[:-1] - found[-1]).T


def _opset(node: ir.Node) -> int:
    """Return the default-domain opset of the node's graph."""
    assert node.graph is not None
    return node.graph.opset_imports[""]


def _run(node: onnx.NodeProto, x: NDArray, size: NDArray, opset: int, roi: NDArray | None) -> NDArray:
    """Run a Resize node on `x`, on all of it or a part, in ONNX Runtime and return its output as float64."""
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", "export", "to differentiate through Resize") from error
    graph = onnx.helper.make_graph(
        [node],
        "resize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(size, "size")]
        + ([onnx.numpy_helper.from_array(roi, "roi")] if roi is not None else []),
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].astype(np.float64)


def _scales(node: ir.Node) -> NDArray | None:
    """Return one scale per axis, or None where the node has sizes and does not keep the aspect ratio."""
    shape, axes, sizes = static_shape(tensor(node)), _axes(node), _constant_input(node, 3)
    scales = _constant_input(node, 2)
    if scales is None and sizes is not None and _keeps_aspect(node):
        scales = np.full(len(axes), _scale(node, [size / shape[i] for i, size in zip(axes, sizes, strict=True)]))
    if scales is None:
        return None
    result = np.ones(len(shape))
    result[axes] = scales
    return result


def _scale(node: ir.Node, ratios: list[float]) -> float:
    """Return the one scale that keeps the aspect ratio."""
    larger = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "not_smaller"
    return max(ratios) if larger else min(ratios)


def _keeps_aspect(node: ir.Node) -> bool:
    return node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"


def _axes(node: ir.Node) -> list[int]:
    """Return the axes that the node's scales and sizes are for, counted from the front."""
    rank = len(static_shape(tensor(node)))
    return [axis % rank for axis in node.attributes.get_ints("axes", tuple(range(rank)))]


def _constant_input(node: ir.Node, index: int) -> NDArray | None:
    """Return input `index`, scales (2) or sizes (3); None where it is absent or empty."""
    value = node.inputs[index] if len(node.inputs) > index else None
    array = constant_array(value)
    if value is not None and array is None and (index == 2 or _keeps_aspect(node)):
        raise refused(node, f"its scales or sizes ({value.name!r}) are computed at run time, constants are expected")
    return array if array is not None and array.size else None
