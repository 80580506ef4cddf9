"""SSDLite read without TensorFlow: the converted network against TensorFlow's figures and OpenCV's importer."""

import json
from collections import Counter

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

import checkout
from aerocam.benchmarks import zoo
from aerocam.benchmarks.zoo import frozen_graph, ssdlite, ssdlite_graph
from aerocam.errors import ModelError

GOLDEN = json.loads((checkout.GOLDEN / "zoo/ssdlite.json").read_text())
"""Made by golden/zoo/make_ssdlite.py, with TensorFlow."""

LAST = 24
"""How many entries from the end are in it: all boxes of the coarsest head."""


def run(image, names=("raw_box_encodings", "raw_box_scores")):
    """Outputs, or any tensors, of the converted network."""
    proto = onnx.load(ssdlite.model())
    known = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"images": image})


def pattern():
    """As in golden/zoo/make_ssdlite.py, but channels first."""
    c, y, x = np.ogrid[1:4, :300, :300]
    return (np.sin(0.05 * c * y) * np.cos(0.07 * x + c)).astype(np.float32)[None]


def tensor(frame):
    """The input for a BGR frame (300, 300, 3)."""
    return ((frame[..., ::-1] - np.float32(127.5)) / np.float32(127.5)).transpose(2, 0, 1)[None]


def compare(values, golden, atol):
    """Seeded entries and the last ones, mean and deviation."""
    places = [*np.random.default_rng(0).integers(values.size, size=len(golden["entries"]) - LAST), *range(-LAST, 0)]
    np.testing.assert_allclose(values.ravel()[places], golden["entries"], atol=atol)
    np.testing.assert_allclose([values.mean(), values.std()], [golden["mean"], golden["std"]], atol=atol)


def test_graph_is_as_documented():
    model = onnx.load(ssdlite.model())
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 88,
        "BatchNormalization": 76,
        "Clip": 59,
        "Transpose": 12,
        "Reshape": 12,
        "Add": 12,
        "Concat": 3,
        "Sigmoid": 1,
        **dict.fromkeys(("Split", "Div", "Exp", "Sub"), 1),
        "Mul": 2,
    }
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    shapes = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in model.graph.output}
    assert shapes == {"boxes": [1, 1917, 4], "raw_box_scores": [1, 1917, 2]}


def test_values_are_tensorflows():
    """Measured: at most 1.4e-5 of boxes up to 15.6, 1.7e-6 of probabilities, over eight pictures."""
    names = list(GOLDEN["tensors"])
    for name, found in zip(names, run(pattern(), names), strict=True):
        channels_last = found.transpose(0, 2, 3, 1) if found.ndim == 4 else found
        compare(channels_last, GOLDEN["tensors"][name], 1e-4)


def test_anchors_are_tensorflows():
    compare(ssdlite.anchors(), GOLDEN["anchors"], 1e-6)


def test_boxes_are_decoded_in_the_graph():
    encodings, boxes = run(pattern(), ("raw_box_encodings", "boxes"))
    np.testing.assert_allclose(boxes[0], ssdlite.decode(encodings[0], ssdlite.anchors()), rtol=1e-4, atol=1e-5)


def test_a_person_is_where_tensorflow_finds_her():
    """TensorFlow's post-processing clips boxes to the picture."""
    encodings, scores = run(tensor(zoo.photograph("astronaut")[:300, 90:390]))
    best = scores[0, :, 1].argmax()
    boxes = ssdlite.decode(encodings[0], ssdlite.anchors())
    assert scores[0, best, ssdlite.LABELS.index("person")] == pytest.approx(GOLDEN["person"]["score"], abs=1e-4)
    np.testing.assert_allclose(boxes[best].clip(0, 1), GOLDEN["person"]["box"], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "probability", "box"),
    [
        ("camera", 0.99, (0.13, 0.00, 1.00, 0.59)),
        ("astronaut", 0.92, (0.06, 0.01, 0.99, 0.73)),
        ("coffee", 0.00, None),
        ("chelsea", 0.00, None),
    ],
)
def test_persons_in_photographs(name, probability, box):
    encodings, scores = run(tensor(cv2.resize(zoo.photograph(name), ssdlite.PREPROCESS.size)))
    best = scores[0, :, 1].argmax()
    assert scores[0, best, 1] == pytest.approx(probability, abs=0.03)
    if box is not None:
        np.testing.assert_allclose(ssdlite.decode(encodings[0], ssdlite.anchors())[best], box, atol=0.02)


def test_heads_are_those_of_opencvs_importer():
    """OpenCV reads TensorFlow's file by itself, once the parts that it does not take (loops, NMS) are cut off.

    But the last head: in front of it OpenCV pads a map of 2x2 otherwise than TensorFlow, whose figures are above.
    """
    heads = [f"BoxPredictor_{i}/{kind}Predictor" for i in range(5) for kind in ("BoxEncoding", "Class")]
    graph = frozen_graph.parse(zoo.read(ssdlite.WHEEL, ssdlite.GRAPH), ssdlite.GRAPH)
    nodes, wanted, queue = {node.name: node for node in graph.node}, set(), [f"{head}/BiasAdd" for head in heads]
    while queue:
        if (name := queue.pop()) not in wanted and name != ssdlite_graph.IMAGE:
            wanted.add(name)
            queue += nodes[name].input
    cut = frozen_graph.GraphDef()
    cut.node.add(name=ssdlite_graph.IMAGE, op="Placeholder").attr.add(key="dtype").value.type = 1
    cut.node.extend(node for node in graph.node if node.name in wanted)
    network = cv2.dnn.readNetFromTensorflow(np.frombuffer(cut.SerializeToString(), np.uint8))
    network.setInput(pattern())
    names = [f"{head}/Conv2D" for head in heads]
    for expected, found in zip(network.forward(names), run(pattern(), names), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_model_is_built_once(monkeypatch):
    path = ssdlite.model()
    monkeypatch.setattr(ssdlite, "build", None)
    assert ssdlite.model() == path


# --- the reader


def graph_of(dtype, shape, **numbers):
    """A graph with one Const."""
    graph = frozen_graph.GraphDef()
    node = graph.node.add(name="const", op="Const")
    value = node.attr.add(key="value").value.tensor
    value.dtype = dtype
    for size in shape:
        value.tensor_shape.dim.add(size=size)
    for field, given in numbers.items():
        if field == "tensor_content":
            value.tensor_content = given
        else:
            getattr(value, field).extend(given)
    return graph


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (graph_of(1, (2, 2), tensor_content=np.arange(4, dtype="<f4").tobytes()), np.float32([[0, 1], [2, 3]])),
        (graph_of(1, (3,), float_val=[0.5]), np.float32([0.5, 0.5, 0.5])),
        (graph_of(3, (), int_val=[-7]), np.int32(-7)),
        (graph_of(9, (2,), int64_val=[2**40, -1]), np.int64([2**40, -1])),
    ],
)
def test_constants_are_read(graph, expected):
    found = frozen_graph.read(graph.SerializeToString(), "x.pb")["const"].attributes["value"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_nodes_are_read():
    graph = frozen_graph.GraphDef()
    node = graph.node.add(name="conv", op="Conv2D", input=["x:0", "w", "^first"])
    node.attr.add(key="strides").value.list.i.extend([1, 2, 2, 1])
    node.attr.add(key="padding").value.s = b"SAME"
    node.attr.add(key="epsilon").value.f = 0.5
    node.attr.add(key="is_training").value.b = False
    assert frozen_graph.read(graph.SerializeToString(), "x.pb") == {
        "conv": frozen_graph.Node(
            "conv",
            "Conv2D",
            ("x", "w"),
            {"strides": (1, 2, 2, 1), "padding": b"SAME", "epsilon": 0.5, "is_training": False},
        )
    }


@pytest.mark.parametrize("content", [b"\x0a\xff", b"no graph", b""])
def test_a_file_that_is_no_graph_is_named(content):
    with pytest.raises(ModelError, match=r"x\.pb: .*no.* frozen graph"):
        frozen_graph.parse(content, "x.pb")
