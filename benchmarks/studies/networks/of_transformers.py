"""Transformers' networks with random weights, small ones; preprocessing by the processors of their kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerocam.benchmarks.studies.networks.truth import (
    CLIP,
    EMBEDDED,
    HALVES,
    IMAGENET,
    STRETCH_OR_FIT,
    UNIT,
    Network,
    Place,
    Truth,
)

LAST = r"layers?\.3\.(layernorm_before|norm1|layer_norm1)"
SMALL = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 768}


def network(kind: str, config: Callable[[Any], Any], *outputs: str) -> Callable[[], Any]:
    """Return what makes a network that gives out some of its fields.

    Args:
        kind: Name of its class.
        config: Makes its configuration, given the package.
        outputs: Names of the fields.
    """

    def build() -> Any:
        import torch
        import transformers

        class Fields(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = getattr(transformers, kind)(config(transformers))

            def forward(self, image: torch.Tensor, words: torch.Tensor | None = None) -> Any:
                further = {} if words is None else {"input_ids": words}
                found = self.model(pixel_values=image, **further)
                fields = tuple(getattr(found, name) for name in outputs)
                return fields if len(fields) > 1 else fields[0]

        return Fields()

    return build


def detector(
    kind: str, config: Callable[[Any], Any], places: tuple[Place, ...], truth: dict[str, Any], side: int
) -> Network:
    """Return a detector with queries: logits and boxes as shares."""
    right = Truth(places, "detect", 0, boxes="cxcywh share", **truth)
    return Network(network(kind, config, "logits", "pred_boxes"), right, ((1, 3, side, side),))


def segformer_places(side: int) -> tuple[Place, ...]:
    """Return where the features of SegFormer's decoder are: at a quarter."""
    return (Place(r"decode_head", (side // 4, side // 4)),)


def clip_config(package: Any) -> Any:
    """Return two towers of three layers."""
    config = package.CLIPConfig()
    config.vision_config.num_hidden_layers = config.text_config.num_hidden_layers = 3
    config.vision_config.hidden_size, config.vision_config.intermediate_size = 192, 768
    config.vision_config.num_attention_heads, config.vision_config.patch_size = 3, 16
    return config


def depth_config(package: Any) -> Any:
    """Return Depth Anything on a small DINOv2."""
    backbone = package.Dinov2Config(**DINO, out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False)
    return package.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=192,
        neck_hidden_sizes=[24, 48, 96, 192],
        fusion_hidden_size=32,
        patch_size=14,
    )


DINO = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": 224, "patch_size": 14}
QUERIES = {"num_labels": 5, "num_queries": 50, "decoder_layers": 2}
PYRAMID = tuple(Place(r"(encoder|decoder_input_proj)", (size, size)) for size in (40, 20, 10))

NETWORKS = {
    "transformers ViT": Network(
        network("ViTForImageClassification", lambda t: t.ViTConfig(**SMALL, image_size=224, num_labels=1000), "logits"),
        Truth((Place(LAST, (14, 14)),), numbers=HALVES, resize=("stretch",)),
        ((1, 3, 224, 224),),
    ),
    "transformers ResNet": Network(
        network(
            "ResNetForImageClassification",
            lambda t: t.ResNetConfig(
                num_labels=1000, depths=[2, 2, 2, 2], layer_type="basic", hidden_sizes=[64, 128, 256, 512]
            ),
            "logits",
        ),
        Truth((Place(r"encoder\.stages\.3", (2, 2)),)),
    ),
    "transformers Dinov2": Network(
        network("Dinov2Model", lambda t: t.Dinov2Config(**DINO), "pooler_output"),
        Truth((Place(LAST, (16, 16)),), "embed", 0, 192, None, None, resize=EMBEDDED),
        ((1, 3, 224, 224),),
    ),
    "transformers CLIP, vision": Network(
        network(
            "CLIPVisionModelWithProjection",
            lambda t: t.CLIPVisionConfig(**SMALL, image_size=224, patch_size=16),
            "image_embeds",
        ),
        Truth((Place(LAST, (14, 14)),), "embed", 0, 512, None, None, numbers=CLIP, resize=EMBEDDED),
        ((1, 3, 224, 224),),
    ),
    "transformers CLIP, both towers": Network(
        network("CLIPModel", clip_config, "logits_per_image"),
        Truth((Place(r"layers\.2\.layer_norm1", (14, 14)),), classes=4, numbers=CLIP),
        ((1, 3, 224, 224),),
        words=77,
    ),
    "transformers SegFormer": Network(
        network("SegformerForSemanticSegmentation", lambda t: t.SegformerConfig(num_labels=19), "logits"),
        Truth(segformer_places(128), "segment", classes=19, resize=("stretch",)),
        ((1, 3, 128, 128),),
    ),
    "transformers DETR": detector(
        "DetrForObjectDetection",
        lambda t: t.DetrConfig(
            num_labels=5, num_queries=20, decoder_layers=2, encoder_layers=2, use_pretrained_backbone=False
        ),
        (Place(r"encoder", (7, 7)),),
        {"classes": 5, "background": 5, "link": "softmax", "numbers": IMAGENET, "resize": STRETCH_OR_FIT},
        224,
    ),
    "transformers YOLOS": detector(
        "YolosForObjectDetection",
        lambda t: t.YolosConfig(**SMALL, image_size=[224, 224], num_detection_tokens=20, num_labels=5),
        (Place(r"layer\.3\.layernorm_before", (14, 14)),),
        {"classes": 5, "background": 5, "link": "softmax", "numbers": IMAGENET, "resize": STRETCH_OR_FIT},
        224,
    ),
    "transformers RT-DETR": detector(
        "RTDetrForObjectDetection",
        lambda t: t.RTDetrConfig(**QUERIES, anchor_image_size=None),
        PYRAMID,
        {"classes": 5, "link": "sigmoid", "numbers": UNIT, "resize": ("stretch",)},
        320,
    ),
    "transformers D-FINE": detector(
        "DFineForObjectDetection",
        lambda t: t.DFineConfig(**QUERIES, decoder_in_channels=[256, 256, 256], encoder_hidden_dim=256),
        PYRAMID,
        {"classes": 5, "link": "sigmoid", "numbers": UNIT, "resize": ("stretch",)},
        320,
    ),
    "transformers Depth Anything": Network(
        network("DepthAnythingForDepthEstimation", depth_config, "predicted_depth"),
        Truth((Place(r"head", (224, 224)),), "regress", 0, 1, None, None, resize=("stretch",)),
        ((1, 3, 224, 224),),
    ),
    "transformers GLPN": Network(
        network("GLPNForDepthEstimation", lambda t: t.GLPNConfig(), "predicted_depth"),
        Truth((Place(r"head", (128, 128)),), "regress", 0, 1, None, None, numbers=UNIT, resize=("stretch",)),
        ((1, 3, 128, 128),),
    ),
}
