"""The networks that are compared: architectures with seeded random weights, nothing is downloaded."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from detectors import Finished, Pair, box_logit
from quantised import quantised
from torch import nn

BATCHES = 4
"""Random batches of four from which the batch norms take their statistics."""

CLASSES = 20


def load_torchvision() -> Any:
    """`torchvision.models`; without its compiled operators where they do not fit this build of torch."""
    try:
        import torchvision
    except RuntimeError:  # PyPI's wheel is for CUDA; these architectures need none of its operators
        global _operators
        _operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision.models


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        build: Makes it, with whatever weights.
        shape: Of its input; small where the architecture allows.
        smooth: No kinks (ReLU, hard swish): gradients must agree to rounding.
        task: As `export_model` takes it.
        target: Class, or (class, anchor) to detect.
        refused: Why it, or a layer of it, is refused today; "": a refusal is a failure.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 3, 64, 64)
    smooth: bool = False
    task: str = "classify"
    target: tuple[int, ...] = (3,)
    refused: str = ""

    def model(self) -> nn.Module:
        """The network in eval mode, the same at every call: no two channels alike, activations of sane size."""
        torch.manual_seed(0)
        model = self.build()
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        _draw_constants(model)
        _calibrate(model, self.shape)
        return model.eval()

    def picture(self) -> torch.Tensor:
        """The input."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1))

    def score(self, outputs: Any) -> torch.Tensor:
        """The logit that is differentiated; for a map of logits, the class's mean where it is predicted."""
        if self.task == "detect":
            return box_logit(outputs, *self.target)
        logits = outputs[0, self.target[0]]
        if self.task == "segment":
            mask = outputs[0].argmax(0) == self.target[0]
            return logits[mask].mean() if mask.any() else logits.max()
        return logits


def _draw_constants(model: nn.Module) -> None:
    """Draw what initialisations leave constant: gains, biases, layer scales, heads of zeros."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.min() == parameter.max():
                if parameter.flatten()[0] == 1:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.normal_(0, 0.1)


def _calibrate(model: nn.Module, shape: tuple[int, ...]) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    model.train()
    with torch.no_grad():
        for _ in range(BATCHES):
            model(torch.randn(4, *shape[1:]))
    for norm in norms:
        norm.momentum = 0.1


class Picked(nn.Module):
    """A network of which one output is kept, averaged over positions if asked."""

    def __init__(self, model: nn.Module, pick: Callable[[Any], torch.Tensor], mean: tuple[int, ...] = ()) -> None:
        """Keep `pick(outputs)`."""
        super().__init__()
        self.model, self.pick, self.mean = model, pick, mean

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The kept output."""
        kept = self.pick(self.model(image))
        return kept.mean(self.mean) if self.mean else kept


class SsdScores(nn.Module):
    """Class logits of an SSD, averaged over the anchors of all scales."""

    def __init__(self, model: Any) -> None:
        """Take backbone and head."""
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(1, classes)."""
        return self.head(list(self.backbone(image).values()))["cls_logits"].mean(1)


class SegNet(nn.Module):
    """Two pools whose positions the decoder takes back."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        widths = (3, 16, 32)
        self.down = nn.ModuleList(_block(nn.Conv2d, nn.BatchNorm2d, a, b) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_block(nn.Conv2d, nn.BatchNorm2d, a, b) for a, b in ((32, 16), (16, 16)))
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.scores = nn.Conv2d(16, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, classes, H, W)."""
        kept = []
        for block in self.down:
            x, indices = self.pool(block(x))
            kept.append(indices)
        for block in self.up:
            x = block(self.unpool(x, kept.pop()))
        return self.scores(x)


class ResNet1d(nn.Module):
    """Three residual blocks over a signal."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.stem = _block(nn.Conv1d, nn.BatchNorm1d, 2, 32)
        self.blocks = nn.ModuleList(_block(nn.Conv1d, nn.BatchNorm1d, 32, 32) for _ in range(3))
        self.pool = nn.MaxPool1d(2)
        self.scores = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, classes)."""
        x = self.stem(x)
        for block in self.blocks:
            x = self.pool(x + block(x))
        return self.scores(x.mean(-1))


def _block(conv: Any, norm: Any, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, 3, padding=1), norm(outputs), nn.ReLU())


def torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A classifier of torchvision by its path below `torchvision.models`."""

    def build() -> nn.Module:
        place = load_torchvision()
        for part in name.split("."):
            place = getattr(place, part)
        return place(**{"weights": None, "num_classes": CLASSES} | options)

    return build


def _mobilenet_int8() -> nn.Module:
    return quantised(torchvision("mobilenet_v2")())


def _vgg() -> nn.Module:
    model = torchvision("vgg11")()
    model.classifier = nn.Sequential(nn.Linear(512 * 49, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    return model


def _inception() -> nn.Module:
    return torchvision("inception_v3", init_weights=False, aux_logits=False)()


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        load_torchvision()
        import timm

        return timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)

    return build


def _ultralytics(name: str, finished: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        os.environ |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
        os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="crosscheck-"))
        load_torchvision()
        from ultralytics.nn.tasks import DetectionModel

        model = DetectionModel(name, verbose=False)
        return Finished(model) if finished else Picked(model, lambda y: y[0] if isinstance(y, tuple) else y)

    return build


def _segmentation(name: str, mean: tuple[int, ...] = ()) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = torchvision(f"segmentation.{name}", weights_backbone=None)()
        return Picked(model, lambda y: y["out"], mean)

    return build


def _ssdlite() -> nn.Module:
    return SsdScores(torchvision("detection.ssdlite320_mobilenet_v3_large", weights_backbone=None)())


def _retinanet() -> nn.Module:
    return Pair(torchvision("detection.retinanet_resnet50_fpn", weights_backbone=None)(), nn.Sigmoid())


POSITIONS = (2, 3)
UNPOOL = "one of PyTorch's exporters cannot write MaxUnpool2d"

NETWORKS: dict[str, Network] = {
    "resnet18": Network(torchvision("resnet18")),
    "densenet121": Network(torchvision("densenet121")),
    "mobilenet_v2_int8": Network(_mobilenet_int8),
    "mobilenet_v3_small": Network(torchvision("mobilenet_v3_small")),
    "efficientnet_b0": Network(torchvision("efficientnet_b0"), smooth=True),
    "convnext_tiny": Network(torchvision("convnext_tiny"), smooth=True),
    "regnet_y_400mf": Network(torchvision("regnet_y_400mf")),
    "shufflenet_v2_x1_0": Network(torchvision("shufflenet_v2_x1_0")),
    "squeezenet1_1": Network(torchvision("squeezenet1_1")),
    "vgg11": Network(_vgg, (1, 3, 224, 224)),
    "inception_v3": Network(_inception, (1, 3, 96, 96)),
    "vit_b_16": Network(torchvision("vit_b_16", image_size=64), smooth=True),
    "deit_tiny": Network(_timm("deit_tiny_patch16_224"), (1, 3, 224, 224), smooth=True),
    "swin_t": Network(torchvision("swin_t"), smooth=True),
    "deeplabv3_mobilenet": Network(_segmentation("deeplabv3_mobilenet_v3_large"), task="segment"),
    "deeplabv3_mobilenet_mean": Network(_segmentation("deeplabv3_mobilenet_v3_large", POSITIONS)),
    "lraspp": Network(_segmentation("lraspp_mobilenet_v3_large"), task="segment"),
    "lraspp_mean": Network(_segmentation("lraspp_mobilenet_v3_large", POSITIONS)),
    "segnet": Network(SegNet, task="segment", refused=UNPOOL),
    "segnet_mean": Network(lambda: Picked(SegNet(), lambda y: y, POSITIONS), refused=UNPOOL),
    "ssdlite_mean": Network(_ssdlite, (1, 3, 96, 96)),
    "r3d_18": Network(torchvision("video.r3d_18"), (1, 3, 8, 32, 32)),
    "mc3_18": Network(torchvision("video.mc3_18"), (1, 3, 8, 32, 32)),
    "resnet1d": Network(ResNet1d, (1, 2, 128)),
    "yolov8n": Network(_ultralytics("yolov8n.yaml"), smooth=True, task="detect", target=(3, 70)),
    "yolo11n": Network(_ultralytics("yolo11n.yaml"), smooth=True, task="detect", target=(3, 70)),
    "yolov10n": Network(_ultralytics("yolov10n.yaml", True), (1, 3, 160, 160), True, "detect", (3, 0)),
    "retinanet": Network(_retinanet, (1, 3, 128, 128), task="detect", target=(3, 70)),
}
