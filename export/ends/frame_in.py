"""A camera's frame as the model's input: resize, colour order and normalisation in the graph.

Whole grey levels come out of the resize, as from OpenCV in uint8. The first node is a Cast: TensorRT takes nothing else
of a uint8 input, and ONNX Runtime needs 0.06 ms for it at 224x224.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam.export.ends.interpolation import resize
from aerocam.export.ends.resampling import resample, select
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.geometry import Geometry
from aerocam.manifest import FRAME, Preprocess

GRAY_WEIGHTS = (3735.0, 19235.0, 9798.0)
"""Of blue, green and red in OpenCV's grey, in 1 / `GRAY_SCALE`."""

GRAY_SCALE = 32768.0


def frame_in(model: ir.Model, preprocess: Preprocess) -> ir.Value:
    """Let the graph take a frame of `preprocess.frame` instead of the tensor.

    Args:
        model: The model; its input `preprocess.input` becomes a tensor within, of the same name.
        preprocess: The manifest's preprocessing, with a frame.

    Returns:
        The frame in float32, (H, W, 3) in BGR.

    Raises:
        UsageError: The frame is too narrow for the centre crop.
    """
    assert preprocess.frame is not None
    image = next(value for value in model.graph.inputs if value.name == preprocess.input)
    frame = ir.Value(name=FRAME, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape((*preprocess.frame, 3)))
    model.graph.inputs[model.graph.inputs.index(image)] = frame
    op = Builder(model.graph, "frame")
    pixels = op.Cast(frame, to=ir.DataType.FLOAT)
    tensor = op.cast_like(input_tensor(op, pixels, preprocess), image)
    for user, index in list(image.uses()):
        user.replace_input_with(index, tensor)
    image.name, tensor.name = None, image.name
    passes.TopologicalSortPass()(model)
    return pixels


def input_tensor(op: Builder, pixels: ir.Value, preprocess: Preprocess) -> ir.Value:
    """Return a frame, float32 (H, W, 3) in BGR, as the model's input tensor, float32 in the shape of `preprocess`."""
    assert preprocess.frame is not None
    if preprocess.color == "GRAY":
        pixels = _gray(op, pixels)
    geometry = Geometry.of(preprocess, preprocess.frame)
    top, left, bottom, right = geometry.seen
    (above, before), (rows, columns) = geometry.offset, preprocess.size
    whole = resize(preprocess.frame, geometry.resized, preprocess.interpolation)
    planes = resample(op, pixels, whole.part(top - above, left - before, bottom - above, right - before))
    if preprocess.color == "RGB":
        planes = select(op, planes, np.array([2, 1, 0]), axis=0)
    planes = op.pad(planes, (0, top, left), (0, rows - bottom, columns - right), float(preprocess.fill))
    batch = _normalised(op, op.reshape(planes, 1, *static_shape(planes)), preprocess)
    if preprocess.layout == "NCHW" or preprocess.color == "GRAY":
        return op.reshape(batch, *preprocess.shape)
    return op.Transpose(batch, perm=[0, 2, 3, 1])


def _gray(op: Builder, pixels: ir.Value) -> ir.Value:
    """Return pixels (H, W, 3) in BGR as grey levels (H, W, 1), rounded as OpenCV does; sums are exact in float32."""
    weighted = op.Mul(op.Transpose(pixels, perm=[2, 0, 1]), np.array(GRAY_WEIGHTS, np.float32).reshape(3, 1, 1))
    sums = op.sum(weighted, [0], keepdims=False)
    gray = op.Floor(op.Add(op.Mul(sums, 1 / GRAY_SCALE), 0.5))
    return op.reshape(gray, *static_shape(pixels)[:2], 1)


def _normalised(op: Builder, planes: ir.Value, preprocess: Preprocess) -> ir.Value:
    """Return (x - mean) / std per channel of (1, C, H, W).

    As a batch normalisation with statistics 0 and 1: one pass over the picture, where Mul and Add are two.
    """
    mean, std = np.array(preprocess.mean, np.float64), np.array(preprocess.std, np.float64)
    zeros, ones = np.zeros(len(mean), np.float32), np.ones(len(mean), np.float32)
    scale, bias = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
    return op.BatchNormalization(planes, scale, bias, zeros, ones, epsilon=0.0)
