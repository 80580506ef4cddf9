"""timm's networks with random weights; preprocessing by the configuration of their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aerocam.benchmarks.studies.networks.truth import (
    CLIP,
    EMBEDDED,
    HALVES,
    IMAGENET,
    UNIT,
    Network,
    Numbers,
    Place,
    Truth,
)


def network(name: str, **options: Any) -> Callable[[], Any]:
    """Return what makes a network by its name in timm."""

    def build() -> Any:
        import timm

        return timm.create_model(name, pretrained=False, **options)

    return build


def multilabel(name: str, classes: int) -> Callable[[], Any]:
    """Return what makes a network whose classes do not exclude each other, each as rare as one in twenty.

    Its biases are what training with a sigmoid per class brings them to at once: the log-odds of the share.
    """

    def build() -> Any:
        import torch

        model = network(name, num_classes=classes)()
        torch.nn.init.constant_(model.get_classifier().bias, -2.94)
        return model

    return build


def classifier(
    name: str, module: str, size: int, side: int = 224, numbers: Numbers = IMAGENET, classes: int = 1000
) -> tuple[str, Network]:
    """Return name and network of a classifier whose right layer is a square of `size` at the end of `module`."""
    truth = Truth((Place(module, (size, size)),), classes=classes, numbers=numbers)
    return f"timm {name}", Network(network(name), truth, ((1, 3, side, side),))


def embedding(name: str, module: str, size: int, side: int, numbers: int, pixels: Numbers = IMAGENET) -> Network:
    """Return a network without a classifier, which gives out its features."""
    truth = Truth((Place(module, (size, size)),), "embed", 0, numbers, None, None, numbers=pixels, resize=EMBEDDED)
    return Network(network(name, num_classes=0), truth, ((1, 3, side, side),))


RESNET18 = Truth((Place(r"^layer4", (2, 2)),), classes=14)

NETWORKS = dict(
    [
        classifier("vit_tiny_patch16_224", r"^blocks\.11\.norm1", 14, numbers=HALVES),
        classifier("deit_tiny_patch16_224", r"^blocks\.11\.norm1", 14),
        classifier("deit3_small_patch16_224", r"^blocks\.11\.norm1", 14),
        classifier("beit_base_patch16_224", r"^(blocks\.11|fc_norm|$)", 14, numbers=HALVES),
        classifier("swin_tiny_patch4_window7_224", r"^(layers\.3|norm)", 7),
        classifier("swinv2_tiny_window8_256", r"^(layers\.3|norm)", 8, 256),
        classifier("hiera_tiny_224", r"^(blocks\.1[1-9]|head)", 7),
        classifier("efficientnet_lite0", r"^(conv_head|bn2)", 2, 64),
        classifier("tf_efficientnet_lite0", r"^(conv_head|bn2)", 2, 64, HALVES),
        classifier("tf_mobilenetv3_small_100", r"^(blocks\.5|conv_head)", 2, 64, HALVES),
        classifier("tf_efficientnetv2_b0", r"^(conv_head|bn2)", 2, 64),
        classifier("mobilenetv4_conv_small", r"^(blocks\.4|conv_head)", 2, 64),
        classifier("mixer_s32_224", r"^(blocks\.7|norm)", 7, numbers=HALVES),
        classifier("mobilevit_s", r"^(stages\.4|final_conv)", 8, 256, UNIT),
        classifier("mvitv2_tiny", r"^(stages\.3|norm)", 7),
        classifier("pvt_v2_b0", r"^stages\.3", 7),
        classifier("focalnet_tiny_srf", r"^(layers\.3|norm)", 7),
        classifier("davit_tiny", r"^(stages\.3|norm_pre|head)", 7),
        classifier("edgenext_small", r"^(stages\.3|head)", 8, 256),
        classifier("fastvit_t8", r"^final_conv", 8, 256),
        classifier("efficientvit_b0", r"^(stages\.3|head\.in_conv)", 7),
        classifier("cait_xxs24_224", r"^(blocks\.23|blocks_token_only|norm)", 14),
        classifier("xcit_nano_12_p16_224", r"^(blocks\.11|cls_attn_blocks)", 14),
        classifier("poolformer_s12", r"^(stages\.3|norm|head)", 7),
        classifier("crossvit_9_240", r"^blocks\.2", 20, 240),
        classifier("levit_128s", r"^(stages\.2|head)", 4),
        classifier("pit_ti_224", r"^transformers\.2", 7),
        classifier("gcvit_xxtiny", r"^(stages\.3|norm|head)", 7),
        classifier("hgnetv2_b0", r"^(stages\.3|head)", 7),
        classifier("inception_v3", r"^Mixed_7c", 8, 299, HALVES),
        classifier("mambaout_femto", r"^(stages\.3|head)", 7),
        classifier("tiny_vit_5m_224", r"^(stages\.3|head)", 7, classes=21841),
        classifier("convmixer_768_32", r"^blocks\.31", 32),
        classifier("regnety_002", r"^(s4|final_conv)", 7),
        classifier("coatnet_nano_rw_224", r"^(stages\.3|norm|head)", 7, numbers=HALVES),
        classifier("resnetv2_50x1_bit", r"^(stages\.3|norm)", 2, 64, HALVES),
        classifier("repvgg_a0", r"^(stages\.3|final_conv)", 2, 64),
        classifier("ghostnet_100", r"^(conv_head|blocks\.9|act2)", 2, 64),
        classifier("convnextv2_atto", r"^(stages\.3|head)", 2, 64),
    ]
) | {
    "timm resnet18, 14 labels": Network(multilabel("resnet18", 14), replace(RESNET18, link="sigmoid")),
    "timm resnet18, 14 classes": Network(network("resnet18", num_classes=14), RESNET18),
    "timm resnet18, embedding": embedding("resnet18", r"^layer4", 2, 64, 512),
    "timm vit_base_patch16_siglip_224": embedding(
        "vit_base_patch16_siglip_224", r"^(norm|blocks\.11|attn_pool)", 14, 224, 768, HALVES
    ),
    "timm vit_small_patch14_reg4_dinov2, 224 px": Network(
        network("vit_small_patch14_reg4_dinov2", img_size=224),
        Truth((Place(r"^blocks\.11\.norm1", (16, 16)),), "embed", 0, 384, None, None, resize=EMBEDDED),
        ((1, 3, 224, 224),),
    ),
    "timm resnet50_clip": Network(
        network("resnet50_clip"),
        Truth((Place(r"^(stages\.3|head)", (7, 7)),), "embed", 0, 1024, None, None, numbers=CLIP, resize=EMBEDDED),
        ((1, 3, 224, 224),),
    ),
}
