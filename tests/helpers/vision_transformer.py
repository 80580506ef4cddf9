"""A small vision transformer with random weights, node by node as PyTorch's exporter writes them at opset 17.

Patches by a convolution, a class token, positions, blocks of attention and a GELU layer, the class token's scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIZE, PATCH, WIDTH, HEADS, BLOCKS, CLASSES = 96, 16, 64, 4, 3, 10
TOKENS = (SIZE // PATCH) ** 2 + 1


class _Graph:
    """Nodes and weights, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(11)

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node that gives `output`."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """A weight with these values."""
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def drawn(self, name: str, *shape: int) -> str:
        """A weight with random values, scaled by how many go into one sum."""
        return self.constant(name, self.rng.standard_normal(shape) / np.sqrt(max(shape[0], 1)))

    def linear(self, x: str, name: str, rows: int, columns: int) -> str:
        """Rows times weights, plus a bias, over the last axis."""
        product = self.op("MatMul", [x, self.drawn(f"{name}.weight", rows, columns)], f"{name}/MatMul")
        return self.op("Add", [product, self.drawn(f"{name}.bias", columns)], f"{name}/Add")

    def norm(self, x: str, name: str) -> str:
        """LayerNormalization with weights near the identity."""
        scale = self.constant(f"{name}.weight", 1 + 0.1 * self.rng.standard_normal(WIDTH))
        return self.op("LayerNormalization", [x, scale, self.drawn(f"{name}.bias", WIDTH)], name, axis=-1)

    def attention(self, x: str, name: str) -> str:
        """Multi-head attention, in single operators."""
        split = self.constant(f"{name}.split", [1, TOKENS, HEADS, WIDTH // HEADS], np.int64)
        parts = {}
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            rows = self.linear(x, f"{name}/{part}", WIDTH, WIDTH)
            heads = self.op("Reshape", [rows, split], f"{name}/{part}/Reshape")
            parts[part] = self.op("Transpose", [heads], f"{name}/{part}/Transpose", perm=order)
        products = self.op("MatMul", [parts["q"], parts["k"]], f"{name}/scores")
        root = self.constant(f"{name}.root", np.sqrt(WIDTH / HEADS))
        weights = self.op("Softmax", [self.op("Div", [products, root], f"{name}/Div")], f"{name}/Softmax", axis=-1)
        mixed = self.op("MatMul", [weights, parts["v"]], f"{name}/mixed")
        back = self.op("Transpose", [mixed], f"{name}/Transpose", perm=[0, 2, 1, 3])
        whole = self.constant(f"{name}.whole", [1, TOKENS, WIDTH], np.int64)
        return self.linear(self.op("Reshape", [back, whole], f"{name}/Reshape"), f"{name}/out", WIDTH, WIDTH)

    def gelu(self, x: str, name: str) -> str:
        """The GELU x / 2 (1 + erf(x / √2)), in single operators."""
        part = self.op("Div", [x, self.constant(f"{name}.root", np.sqrt(2))], f"{name}/Div")
        one = self.op("Add", [self.op("Erf", [part], f"{name}/Erf"), self.constant(f"{name}.one", 1)], f"{name}/Add")
        product = self.op("Mul", [x, one], f"{name}/Mul")
        return self.op("Mul", [product, self.constant(f"{name}.half", 0.5)], f"{name}/half")

    def block(self, x: str, name: str) -> str:
        """Attention, then two layers with a GELU between them, each added to what went in."""
        x = self.op("Add", [x, self.attention(self.norm(x, f"{name}/norm1"), f"{name}/attention")], f"{name}/Add")
        hidden = self.linear(self.norm(x, f"{name}/norm2"), f"{name}/up", WIDTH, 4 * WIDTH)
        down = self.linear(self.gelu(hidden, f"{name}/gelu"), f"{name}/down", 4 * WIDTH, WIDTH)
        return self.op("Add", [x, down], f"{name}/Add_1")


def vision_transformer() -> onnx.ModelProto:
    """`images`, float32 (1, 3, 96, 96), to `logits`, float32 (1, 10); 0.8 MB."""
    graph = _Graph()
    kernel = graph.constant("patch.weight", graph.rng.standard_normal((WIDTH, 3, PATCH, PATCH)) / 28)
    grid = graph.op("Conv", ["images", kernel], "patch", strides=[PATCH, PATCH], kernel_shape=[PATCH, PATCH])
    rows = graph.op("Reshape", [grid, graph.constant("flat", [1, WIDTH, -1], np.int64)], "patch/Reshape")
    patches = graph.op("Transpose", [rows], "patch/Transpose", perm=[0, 2, 1])
    x = graph.op("Concat", [graph.drawn("cls", 1, 1, WIDTH), patches], "tokens", axis=1)
    x = graph.op("Add", [x, graph.drawn("positions", 1, TOKENS, WIDTH)], "tokens/Add")
    for number in range(BLOCKS):
        x = graph.block(x, f"block{number}")
    first = graph.constant("first", 0, np.int64)
    token = graph.op("Gather", [graph.norm(x, "norm"), first], "token", axis=1)
    weights = [graph.drawn("head.weight", CLASSES, WIDTH), graph.drawn("head.bias", CLASSES)]
    graph.op("Gemm", [token, *weights], "logits", transB=1)
    described = helper.make_graph(
        graph.nodes,
        "vision transformer",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, CLASSES])],
        graph.weights,
    )
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
