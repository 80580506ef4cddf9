"""ONNX's nine light graphs: classifiers of 2012 to 2017 as Caffe2 wrote them, opset 9, IR 3, weights as inputs.

They keep their architectures and carry ConstantOfShape in place of weights; here each weight is drawn, so that no two
channels are alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT_NAMES = tuple(sorted(path.stem for path in FOLDER.glob("light_*.onnx")))

HIDDEN = 4096
"""Width of the hidden layers of AlexNet, VGG and ZFNet: nine tenths of their weights."""

NARROW = 256
"""Width of those layers with random weights: 40 MB where VGG has 575."""


def light_path(name: str) -> Path:
    """Return the path of the file in the onnx package, as shipped."""
    return FOLDER / f"{name}.onnx"


def with_random_weights(name: str, seed: int = 0) -> onnx.ModelProto:
    """Draw a light graph's weights by the part they play: He-normal kernels, batch norms near the identity.

    Weights are initializers and no inputs (IR 4). Hidden layers `HIDDEN` wide are made `NARROW`.
    """
    proto = onnx.load(light_path(name))
    shapes = {tensor.name: tuple(numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    fillers = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "ConstantOfShape"}
    uses: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in proto.graph.node:
        for place, value in enumerate(node.input):
            uses.setdefault(value, (node, place))
    # some graphs reshape a weight before it meets its layer
    for node in proto.graph.node:
        if node.op_type in ("Unsqueeze", "Reshape") and node.input[0] in fillers:
            uses[node.input[0]] = uses[node.output[0]]
    graph = proto.graph
    kept = [node for node in graph.node if node.output[0] not in fillers]
    constants = [tensor for tensor in graph.initializer if tensor.name not in fillers.values()]
    inputs = [item for item in graph.input if item.name not in shapes]
    for field, items in ((graph.node, kept), (graph.initializer, constants), (graph.input, inputs)):
        del field[:]
        field.extend(items)
    residual = any(node.op_type == "Sum" for node in kept)
    rng = np.random.default_rng(seed)
    for value, source in fillers.items():
        node, place = uses[value]
        shape = tuple(NARROW if n == HIDDEN and node.op_type == "Gemm" else int(n) for n in shapes[source])
        drawn = _draw(rng, shape, node, place)
        if residual and node.op_type == "BatchNormalization" and place == 1:
            drawn *= np.float32(0.5)  # or every sum doubles the variance, and the softmax is 0 or 1
        graph.initializer.append(numpy_helper.from_array(drawn, value))
    proto.ir_version = 4
    return proto


def _draw(rng: np.random.Generator, shape: tuple[int, ...], user: onnx.NodeProto, place: int) -> NDArray[np.float32]:
    count = int(np.prod(shape))
    pool = rng.standard_normal(min(count, 1_000_003))
    normal = np.resize(pool, count).reshape(shape)
    if user.op_type in ("Conv", "Gemm") and place == 1:
        drawn = normal * np.sqrt(2 / np.prod(shape[1:]))
    elif (user.op_type == "BatchNormalization" and place in (1, 4)) or user.op_type == "Mul":
        drawn = np.exp(0.2 * normal)
    else:
        drawn = 0.1 * normal
    return drawn.astype(np.float32)
