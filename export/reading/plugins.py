"""Suppression of boxes by TensorRT's plugins: ONNX Runtime has none of them, so a model is read as far as they reach.

What a plugin reads, boxes and class scores, become outputs in the place of its own; the runtime suppresses by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from aerocam.decisions import Decision
from aerocam.decoding import decode
from aerocam.errors import ModelError
from aerocam.foreign import parse_json
from aerocam.manifest import BoxForm

PLUGINS = frozenset({"EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "TRTBatchedNMS"})
"""Operators, in whatever domain, that read boxes and scores, in this order."""

BOXES_AND_SCORES = 2
"""Their inputs; one that decodes boxes has the anchors too."""

KEY = "aerocam_suppression"
"""Of the metadata that say what was cut off."""


@dataclass(frozen=True)
class Suppression:
    """A plugin that was cut off.

    Attributes:
        operator: Its name.
        boxes: Name of the tensor with the boxes (1, anchors, 4).
        scores: Name of the tensor with the class scores (1, anchors, classes).
        form: What the four numbers of a box are, as far as the plugin says.
        background: The class that means nothing is there; None where there is none.
    """

    operator: str
    boxes: str
    scores: str
    form: BoxForm | None = None
    background: int | None = None

    def decision(self) -> Decision:
        """Return the decision to cut it off."""
        now = f"{self.operator} is cut off; {self.boxes!r} and {self.scores!r}, which it reads, are outputs instead"
        return Decision("suppression", now, "a plugin of TensorRT's, which ONNX Runtime does not have", "score_output")


def cut_suppression(proto: onnx.ModelProto) -> None:
    """Cut off a plugin that suppresses boxes, with all that reads it, and say so in the metadata.

    Raises:
        ModelError: The plugin decodes the boxes itself, from anchors.
    """
    node = next((node for node in proto.graph.node if node.op_type in PLUGINS), None)
    if node is None:
        return
    if len(node.input) > BOXES_AND_SCORES:
        raise ModelError(
            f"operator {node.op_type} (node {node.name!r}): it decodes boxes itself, from the anchors"
            f" {node.input[BOXES_AND_SCORES]!r}, and is to be cut off; let the graph decode them in front of it"
        )
    lost, kept = set(node.output), []
    for other in proto.graph.node:
        if other is not node and lost.isdisjoint(other.input):
            kept.append(other)
        else:
            lost.update(other.output)
    outputs = [value for value in proto.graph.output if value.name not in lost]
    types = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    boxes, scores = node.input[:2]
    copies = [onnx.NodeProto.FromString(other.SerializeToString()) for other in kept]
    said = Suppression(node.op_type, boxes, scores, *_said(node))
    if len(_shape(types, boxes)) == 4:  # (1, anchors, 1, 4): one box for all classes
        said = Suppression(said.operator, f"{boxes}_of_all", scores, said.form, said.background)
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0, -1, 4]), f"{boxes}_shape"))
        copies.append(helper.make_node("Reshape", [boxes, f"{boxes}_shape"], [said.boxes], name=said.boxes))
    del proto.graph.node[:], proto.graph.output[:]
    proto.graph.node.extend(copies)
    named = {value.name for value in outputs}
    for name, source in ((said.boxes, boxes), (said.scores, scores)):
        if name not in named:
            kind = types[source].type.tensor_type.elem_type if source in types else onnx.TensorProto.FLOAT
            outputs.append(helper.make_tensor_value_info(name, kind or onnx.TensorProto.FLOAT, None))
    proto.graph.output.extend(outputs)
    proto.metadata_props.add(key=KEY, value=json.dumps(asdict(said)))


def _said(node: onnx.NodeProto) -> tuple[BoxForm | None, int | None]:
    """Return what a plugin's attributes say of the form of boxes and of the background."""
    said: dict[str, Any] = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    background = int(said.get("background_class", said.get("backgroundLabelId", said.get("background_label_id", -1))))
    form: BoxForm | None = None
    if "box_coding" in said:
        form = "cxcywh" if said["box_coding"] == 1 else "xyxy"
    return form, background if background >= 0 else None


def _shape(types: Mapping[str, onnx.ValueInfoProto], name: str) -> list[Any]:
    return list(types[name].type.tensor_type.shape.dim) if name in types else []


def read_suppression(metadata: Mapping[str, str]) -> Suppression | None:
    """Return what was cut off a model, None for nothing.

    Raises:
        ModelError: The metadata are not as `cut_suppression` writes them.
    """
    if KEY not in metadata:
        return None
    try:
        return decode(Suppression, parse_json(metadata[KEY]), KEY)
    except ValueError as error:
        raise ModelError(f"the model's metadata has {KEY} that is not JSON ({error}); remove it") from error
