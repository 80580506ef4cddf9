"""What NVIDIA's parser and builder have to take: every head on four networks, plain exports of all the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx

import real_models
from aerocam.benchmarks import zoo
from aerocam.export import CAM_HEADS, export_model
from aerocam.export.heads import TAIL_HEADS
from vision_transformer import vision_transformer


@dataclass(frozen=True)
class Graph:
    """An export.

    Attributes:
        network: `vit`, or a name of `real_models`.
        layer: The target layer, or `auto`.
        head: The fused method; None: activations and gradients leave the graph.
        options: Others of `export_model`.
        refused: What the export says where there can be no such file; empty where there is one.
    """

    network: str
    layer: str
    head: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    refused: str = ""

    def __str__(self) -> str:
        """A name for tables and tests."""
        what = self.head or "tensors"
        more = "".join(f" {name}={value}" for name, value in self.options)
        return f"{self.network} {self.layer} {what}{more}"

    @property
    def often(self) -> bool:
        """Whether every run of the tests builds it; the other heads at YOLOv8n's outer scales, the page alone."""
        return self.layer not in (SCALES[0], SCALES[2]) or self.head in OFTEN

    @property
    def leaves(self) -> str:
        """What the table says of it beside network and layer."""
        return (self.head or "activations, gradients") + "".join(f", {name} {value}" for name, value in self.options)

    def export(self, folder: Path) -> Path:
        """Write the exported model into `folder`; without the self-check, which other tests run."""
        shapes = real_models.INPUT_SHAPES.get(self.network)
        known = {"preprocess": zoo.lite0.PREPROCESS} if self.network.startswith("lite0") else {}
        done = export_model(
            source(self.network, folder),
            folder / "model.cam.onnx",
            layers=self.layer,
            head=self.head,
            input_shapes=shapes,
            check=False,
            **known,  # type: ignore[arg-type]
            **dict(self.options),
        )
        return done.path


def source(network: str, folder: Path) -> Path:
    """The network's file."""
    if network == "ssdlite":
        return zoo.ssdlite.model()
    if network != "vit":
        return real_models.write(network, folder)
    onnx.save(vision_transformer(), folder / "vit.onnx")
    return folder / "vit.onnx"


SCALES = tuple(f"/model.{number}/cv2/act/Mul_output_0" for number in (15, 18, 21))
"""What YOLOv8n's head reads: its three last layers."""

EVERY_HEAD = (
    ("lite0", "auto"),
    ("ssdlite", "expanded_conv_13/expand/Relu6"),
    *(("yolov8n", scale) for scale in SCALES),
    ("vit", "auto"),
)
"""Networks and layers at which each head is fused."""

OFTEN = (None, "gradcam", "cfcam")
"""What is built at every scale on every run: the tensors, a weighted sum, and what clusters."""

REFUSED = {
    "cam": ("the gradient varies over the map", {"ssdlite", "yolov8n", "vit"}),
    "finercam": ("a classifier with at least two is expected", {"ssdlite", "yolov8n"}),
    "reciprocam": ("at most 256 MB are allowed", {"ssdlite", "yolov8n"}),
    "ablationcam": ("at most 256 MB are allowed", {"ssdlite"}),
}
"""Heads that an export refuses: why, and at which networks."""


def refusal(network: str, head: str | None) -> str:
    """Why there is no such head; empty where there is one."""
    reason, networks = REFUSED.get(head or "", ("", ()))
    return reason if network in networks else ""


@cache
def graphs() -> tuple[Graph, ...]:
    """All of them."""
    heads = (None, *sorted([*CAM_HEADS, *TAIL_HEADS]))
    found = [
        Graph(network, layer, head, refused=refusal(network, head)) for network, layer in EVERY_HEAD for head in heads
    ]
    found += [Graph("ssdlite", "auto"), Graph("yolov8n", "auto")]
    found += [Graph(name, "auto") for name in real_models.NETWORKS if name.startswith("light_")]
    found += [Graph(name, "auto") for name in ("ppocr-v4-det", "ppocr-v6-det", "ppocr-v2-cls")]
    found += [Graph(name, "auto") for name in ("lite0-half", "lite0-int8")]
    ends = (("frame", (480, 640)), ("map_form", "frame"), ("overlay", True))
    found += [
        Graph("lite0", "auto", "gradcam", ends),
        Graph("lite0", "auto", "gradcam", (("eigen_smooth", True),)),
        Graph("lite0", "auto", "layercam", (("targets", 5),)),
        Graph("lite0", "blocks.10/add", None, (("packaging", "split"), ("batch", 4))),
        Graph("lite0", "images", None, (("guided", True),)),
    ]
    return tuple(found)
