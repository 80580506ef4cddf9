"""DiFull and DiPart: networks in which a class of one cell of a mosaic provably cannot depend on the other cells.

Both (arXiv:2303.11884) give every cell a head of its own over the layer before the global pooling. In DiFull each cell
goes through the network alone, and the layer is stitched together of what comes out: not a single number outside the
cell reaches its head. In DiPart the whole mosaic goes through the network, and each head pools its part of the layer:
other cells reach it only where receptive fields cross the border.

One graph has all heads: output (1, n * n * classes), class k of cell c at c * classes + k. So one export serves all
cells, and every method runs on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from aerocam.errors import ModelError
from aerocam.files import write_together

Setting = Literal["difull", "dipart"]
PREFIX = "cells/"
STITCHED, SCORES = f"{PREFIX}stitched", f"{PREFIX}scores"


@dataclass(frozen=True)
class Disconnected:
    """A network with a head per cell.

    Attributes:
        path: The ONNX file, not exported yet.
        layer: The tensor that the heads pool, (1, C, n h, n w): the target layer.
        classes: Of one head.
        cells: Along each side.
    """

    path: Path
    layer: str
    classes: int
    cells: int

    def target(self, cell: int, label: int) -> int:
        """Return the index of a cell's class among all classes of the network."""
        return cell * self.classes + label


def disconnect(model: str | Path, output: str | Path, setting: Setting, cells: int = 2) -> Disconnected:
    """Write a classifier with a head per cell.

    Args:
        model: A classifier with static shapes, batch 1, channels first, one GlobalAveragePool, and logits (1, classes).
            For `difull` at the size of a cell, for `dipart` at that of the mosaic.
        output: Where to write.
        setting: `difull` or `dipart`.
        cells: Along each side of the mosaic.

    Raises:
        ModelError: The model is not of this form.
        WriteError: The file cannot be written.
    """
    proto = shape_inference.infer_shapes(onnx.load(str(model)), strict_mode=True)
    surgery = _Surgery(proto, str(model), cells)
    classes = surgery.classes()
    layer = surgery.split_head(setting == "difull")
    if setting == "difull":
        surgery.fold_input()
    surgery.join_scores(classes)
    finished = surgery.finish(classes)
    output = Path(output)
    write_together({output: finished.SerializeToString()})
    return Disconnected(output, layer, classes, cells)


class _Surgery:
    """Changes one graph in place."""

    def __init__(self, proto: onnx.ModelProto, name: str, cells: int) -> None:
        self._proto, self._graph, self._name, self._cells = proto, proto.graph, name, cells
        initializers = {tensor.name for tensor in self._graph.initializer}
        inputs = [value for value in self._graph.input if value.name not in initializers]
        pools = [node for node in self._graph.node if node.op_type == "GlobalAveragePool"]
        if len(inputs) != 1 or len(self._graph.output) != 1 or len(pools) != 1:
            raise ModelError(
                f"{name}: it has {len(inputs)} inputs, {len(self._graph.output)} outputs and {len(pools)}"
                " GlobalAveragePool nodes, one of each is expected; give a classifier of that form"
            )
        self._input, self._output, self._pool = inputs[0], self._graph.output[0], pools[0]

    def classes(self) -> int:
        """Return the number of classes of the output."""
        shape = self._shape(self._output.name)
        if len(shape) != 2 or shape[0] != 1:
            raise ModelError(f"{self._name}: its output is of shape {shape}, logits (1, classes) are expected")
        return shape[1]

    def split_head(self, stitch: bool) -> str:
        """Let the head run once per cell, on the mean over that cell alone; the name of the layer that it reads."""
        n, layer = self._cells, self._pool.input[0]
        _, channels, height, width = self._shape(layer)
        pooled, nodes = self._pool.output[0], []
        if stitch:
            nodes += self._reshape(layer, f"{PREFIX}grid", (n, n, channels, height, width))
            nodes += self._transpose(f"{PREFIX}grid", f"{PREFIX}rows", (2, 0, 3, 1, 4))
            nodes += self._reshape(f"{PREFIX}rows", f"{PREFIX}joined", (1, channels, n * height, n * width))
            # a pool of single positions changes no value; it says that the axes are channels, rows and columns
            nodes.append(helper.make_node("MaxPool", [f"{PREFIX}joined"], [STITCHED], STITCHED, kernel_shape=[1, 1]))
            layer, height, width = STITCHED, n * height, n * width
        if height % n or width % n:
            raise ModelError(
                f"{self._name}: layer '{layer}' is {height} x {width}, sides that {n} divides are expected; give the"
                " model at another input size"
            )
        means, window = f"{PREFIX}means", [height // n, width // n]
        nodes.append(helper.make_node("AveragePool", [layer], [means], means, kernel_shape=window, strides=window))
        nodes += self._reshape(means, f"{PREFIX}columns", (channels, n * n))
        nodes += self._transpose(f"{PREFIX}columns", f"{PREFIX}batch", (1, 0))
        nodes += self._reshape(f"{PREFIX}batch", pooled, (n * n, channels, 1, 1))
        place = list(self._graph.node).index(self._pool)
        self._graph.node.remove(self._pool)
        self._insert(place, nodes)
        return str(layer)

    def fold_input(self) -> None:
        """Let the mosaic's cells go through the network side by side, as a batch."""
        n, name = self._cells, self._input.name
        _, channels, height, width = self._shape(name)
        tiles = f"{PREFIX}tiles"
        self._rename("input", name, tiles)
        nodes = self._reshape(name, f"{PREFIX}blocks", (channels, n, height, n, width))
        nodes += self._transpose(f"{PREFIX}blocks", f"{PREFIX}apart", (1, 3, 0, 2, 4))
        nodes += self._reshape(f"{PREFIX}apart", tiles, (n * n, channels, height, width))
        self._insert(0, nodes)
        self._set_shape(self._input, (1, channels, n * height, n * width))

    def join_scores(self, classes: int) -> None:
        """Join the scores of all cells to one row."""
        name = self._output.name
        self._rename("output", name, SCORES)
        joined = (1, self._cells**2 * classes)
        self._graph.node.extend(self._reshape(SCORES, name, joined))
        self._set_shape(self._output, joined)

    def finish(self, classes: int) -> onnx.ModelProto:
        """Return the changed model, with its shapes inferred anew."""
        del self._graph.value_info[:]
        onnx.checker.check_model(self._proto)
        try:
            self._proto = shape_inference.infer_shapes(self._proto, strict_mode=True)
            self._graph = self._proto.graph
            shape = str(self._shape(SCORES))
        except shape_inference.InferenceError as error:
            shape = str(error).strip().splitlines()[-1]
        if shape != str((self._cells**2, classes)):
            raise ModelError(
                f"{self._name}: it cannot be run on several cells at once (scores: {shape}), a batch of any size is"
                " expected between its input and its scores; export it with a dynamic batch, then fix that to 1"
            )
        return self._proto

    def _insert(self, place: int, nodes: Sequence[onnx.NodeProto]) -> None:
        for offset, node in enumerate(nodes):
            self._graph.node.insert(place + offset, node)

    def _rename(self, field: Literal["input", "output"], old: str, new: str) -> None:
        """Give a tensor another name where nodes read it, or where they write it."""
        for node in self._graph.node:
            names = getattr(node, field)
            names[:] = [new if name == old else name for name in names]

    def _reshape(self, source: str, result: str, shape: tuple[int, ...]) -> list[onnx.NodeProto]:
        self._graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{result}.shape"))
        return [helper.make_node("Reshape", [source, f"{result}.shape"], [result], f"{PREFIX}to {result}")]

    def _transpose(self, source: str, result: str, order: tuple[int, ...]) -> list[onnx.NodeProto]:
        return [helper.make_node("Transpose", [source], [result], result, perm=order)]

    def _shape(self, name: str) -> tuple[int, ...]:
        for value in (*self._graph.input, *self._graph.value_info, *self._graph.output):
            if value.name == name:
                return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        raise ModelError(f"{self._name}: the shape of '{name}' is unknown, a model with static shapes is expected")

    @staticmethod
    def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))
