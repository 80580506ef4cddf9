"""torchvision's networks with random weights; preprocessing by the transforms of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerocam.benchmarks.studies.networks.truth import HALVES, STRETCH_OR_FIT, UNIT, Network, Place, Truth

SQUARE_320 = ((1, 3, 320, 320),)


def network(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a network by its name in torchvision, no part of it trained."""

    def build() -> Any:
        from torchvision import models

        backbone = {} if name not in WITH_BACKBONES else {"weights_backbone": None}
        return models.get_model(name, weights=None, **backbone, **options)

    return build


WITH_BACKBONES = {
    "deeplabv3_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcn_resnet50",
    "fcos_resnet50_fpn",
    "lraspp_mobilenet_v3_large",
    "retinanet_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
}


def vision_transformer() -> Any:
    """Return ViT as torchvision writes it, of four layers."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=64, patch_size=16, num_layers=4, num_heads=3, hidden_dim=192, mlp_dim=768)


def decoded(name: str, activation: str) -> Callable[[], Any]:
    """Return what makes a detector as it is deployed: pictures normalised before it, boxes decoded, none suppressed.

    Args:
        name: In torchvision.
        activation: `softmax` or `sigmoid`, of the classes; `geometric`: with the centreness of FCOS.
    """

    def build() -> Any:
        import torch
        from torchvision.models.detection.image_list import ImageList

        class Decoded(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = network(name)()

            def forward(self, image: torch.Tensor) -> Any:
                features = list(self.model.backbone(image).values())
                found = self.model.head(features)
                (anchors,) = self.model.anchor_generator(ImageList(image, [tuple(image.shape[-2:])]), features)
                if activation == "geometric":
                    scores = torch.sqrt(torch.sigmoid(found["cls_logits"]) * torch.sigmoid(found["bbox_ctrness"]))
                    boxes = self.model.box_coder.decode(found["bbox_regression"][0], anchors)
                else:
                    scores = found["cls_logits"]
                    scores = scores.softmax(-1) if activation == "softmax" else scores.sigmoid()
                    boxes = self.model.box_coder.decode_single(found["bbox_regression"][0], anchors)
                return boxes[None], scores

        return Decoded()

    return build


def classifier(name: str, module: str, size: int = 2, side: int = 64, **options: Any) -> Network:
    """Return a classifier of ImageNet whose right layer is a square of `size` at the end of `module`."""
    return Network(network(name, **options), Truth((Place(module, (size, size)),)), ((1, 3, side, side),))


def segmenter(name: str, module: str, size: int, **options: Any) -> Network:
    """Return a segmenter of 21 classes, the first of several outputs if it has them."""
    truth = Truth((Place(module, (size, size)),), "segment", classes=21, resize=("stretch",))
    return Network(network(name, **options), truth, ((1, 3, 128, 128),))


def pyramid(module: str, *sizes: int) -> tuple[Place, ...]:
    """Return one place per scale."""
    return tuple(Place(module, (size, size)) for size in sizes)


FPN = pyramid(r"backbone\.fpn", 40, 20, 10, 5, 3)

NETWORKS = {
    "torchvision resnet18": classifier("resnet18", r"^layer4"),
    "torchvision mobilenet_v3_small": classifier("mobilenet_v3_small", r"^features\.12"),
    "torchvision efficientnet_b0": classifier("efficientnet_b0", r"^features\.8"),
    "torchvision convnext_tiny": classifier("convnext_tiny", r"^features\.7"),
    "torchvision densenet121": classifier("densenet121", r"^(features\.(norm5|denseblock4)|$)"),
    "torchvision regnet_y_400mf": classifier("regnet_y_400mf", r"^trunk_output\.block4"),
    "torchvision shufflenet_v2_x0_5": classifier("shufflenet_v2_x0_5", r"^conv5"),
    "torchvision squeezenet1_1": classifier("squeezenet1_1", r"^(features\.12|classifier)", 3),
    "torchvision googlenet": classifier(
        "googlenet", r"^inception5b", aux_logits=True, transform_input=True, init_weights=False
    ),
    "torchvision inception_v3": classifier(
        "inception_v3", r"^Mixed_7c", 2, 128, transform_input=True, init_weights=False
    ),
    "torchvision mnasnet0_5": classifier("mnasnet0_5", r"^layers\.16"),
    "torchvision vit, 4 layers": Network(
        vision_transformer, Truth((Place(r"encoder_layer_3\.(ln_1|self_attention)", (4, 4)),)), ((1, 3, 64, 64),)
    ),
    "torchvision swin_t": classifier("swin_t", r"^(features\.7|norm|permute)", 7, 224),
    "torchvision swin_v2_t": classifier("swin_v2_t", r"^(features\.7|norm|permute)", 8, 256),
    "torchvision maxvit_t": classifier("maxvit_t", r"^blocks\.3", 7, 224),
    "torchvision r3d_18": Network(
        network("r3d_18"),
        Truth((Place(r"^layer4", (2, 4, 4)),), classes=400, numbers=None, resize=()),
        ((1, 3, 16, 64, 64),),
    ),
    "torchvision deeplabv3_mobilenet_v3_large": segmenter(
        "deeplabv3_mobilenet_v3_large", r"classifier", 8, aux_loss=True
    ),
    "torchvision fcn_resnet50": segmenter("fcn_resnet50", r"classifier", 16, aux_loss=True),
    "torchvision lraspp_mobilenet_v3_large": segmenter("lraspp_mobilenet_v3_large", r"(classifier|backbone)", 16),
    "torchvision retinanet_resnet50_fpn, decoded": Network(
        decoded("retinanet_resnet50_fpn", "sigmoid"),
        Truth(FPN, "detect", 1, 91, None, "none", "xyxy pixel", resize=STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision fcos_resnet50_fpn, decoded": Network(
        decoded("fcos_resnet50_fpn", "geometric"),
        Truth(FPN, "detect", 1, 91, None, "none", "xyxy pixel", resize=STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision ssdlite320, decoded": Network(
        decoded("ssdlite320_mobilenet_v3_large", "softmax"),
        Truth(pyramid(r"backbone", 20, 10, 5, 3, 2), "detect", 1, 91, 0, "none", "xyxy pixel", HALVES, STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision ssdlite320_mobilenet_v3_large": Network(
        network("ssdlite320_mobilenet_v3_large"),
        Truth(pyramid(r"backbone", 20, 10, 5, 3, 2), "detect", None, 91, 0, "none", "xyxy pixel", UNIT, STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision retinanet_resnet50_fpn": Network(
        network("retinanet_resnet50_fpn", min_size=320, max_size=320),
        Truth(FPN, "detect", None, 91, None, "none", "xyxy pixel", UNIT, STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision fcos_resnet50_fpn": Network(
        network("fcos_resnet50_fpn", min_size=320, max_size=320),
        Truth(FPN, "detect", None, 91, None, "none", "xyxy pixel", UNIT, STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision fasterrcnn_mobilenet_v3_large_320_fpn": Network(
        network("fasterrcnn_mobilenet_v3_large_320_fpn"),
        Truth(FPN[:1], "detect", None, 91, 0, "none", "xyxy pixel", UNIT, STRETCH_OR_FIT),
        SQUARE_320,
    ),
    "torchvision raft_small": Network(
        network("raft_small"),
        Truth((Place(r"", (16, 16)),), "regress", 0, 2, None, None, "", HALVES, ("stretch",)),
        ((1, 3, 128, 128), (1, 3, 128, 128)),
    ),
}
