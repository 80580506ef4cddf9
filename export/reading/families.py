"""What family a network is of, by the names of its modules, and the pixels that published weights of it take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from aerocam.export.reading.modules import module_path
from aerocam.manifest import ResizeRule


@dataclass(frozen=True)
class Family:
    """Networks whose weights take other pixels than most of their kind do, or whose like do and these do not.

    Attributes:
        name: Its name, in the plural.
        marks: Patterns (regular expressions); each begins the path of a module or a weight of such a network.
        preset: The preprocessing's name.
        resize: How its library brings frames to the size, if not as the preset does.
    """

    name: str
    marks: tuple[str, ...]
    preset: str
    resize: ResizeRule | None = None


PATCHES, BLOCK = r"patch_embed\.proj$", r"blocks\.\d+\.attn"
"""Of timm's transformers that keep one grid of patches."""

FAMILIES = (
    Family(
        "CLIP's transformers", (r"(vision_model\.)?(pre_layrnorm|ln_pre|norm_pre)\b", r".*\d+\.(self_)?attn"), "clip"
    ),
    Family("CLIP's convolutional networks", (r"(attnpool\.|head\.k$)", r"(stages\.\d|layer4)\."), "clip"),
    Family("ViTamin", (r"patch_embed\.backbone\.pool",), "clip"),
    Family("Hiera", (PATCHES, BLOCK, r"blocks\.\d+\.proj$"), "imagenet"),
    Family("DeiT III, CaiT and DINO", (PATCHES, BLOCK, r"blocks\.\d+\.(ls1$|gamma_1)", r"norm$"), "imagenet"),
    Family("EVA-02 and AIMv2", (PATCHES, BLOCK, r"blocks\.\d+\.mlp\.fc1_g"), "clip"),
    Family("ViT, BEiT and SigLIP of timm", (PATCHES, BLOCK), "tf"),
    Family("mixers", (r"blocks\.\d+\.mlp_tokens",), "tf"),
    Family("CoAtNet and MaxViT of timm", (r"stem\.conv2$", r"stages\.\d+\.blocks\.\d+\.attn"), "tf"),
    Family("ResNet v2 and BiT of timm", (r"stages\.\d+\.blocks\.\d+\.downsample\.conv",), "tf"),
    Family("Inceptions of timm", (r"(Mixed_7c\..+\.bn\.act$|mixed_5b\.|features\.\d+\.branch\d)",), "tf"),
    Family("Xceptions of timm", (r"(blocks\.\d+\.stack\.|block1\.rep)",), "tf"),
    Family("MobileViT of timm", (r"stages\.\d+\.\d+\.conv_proj",), "unit"),
    Family("TResNet", (r"body\.layer1\.",), "unit"),
    Family("ViT, BEiT and DPT of transformers", (r"(vit|beit|dpt)\.embeddings\.",), "tf", "stretch"),
    Family("SigLIP of transformers", (r"(vision_model\.)?head\.attention",), "tf", "stretch"),
    Family("GLPN of transformers", (r"glpn\.encoder\.",), "unit"),
)
"""Families in the order in which they are looked for.

They are those of timm whose published weights mostly take other pixels than ImageNet's mean and deviation, with those
that would else be taken for one of these; and those of transformers whose image processors have other numbers.
"""


def family_of(model: ir.Model) -> Family | None:
    """Return the family of a model, None where its names are of none."""
    return family_by({*(module_path(node) for node in model.graph), *map(str, model.graph.initializers)})


def family_by(names: Iterable[str]) -> Family | None:
    """Return the first family whose marks are all among the names of modules and weights."""
    text = "\n".join(names)
    for family in FAMILIES:
        if all(re.search(rf"^(model\.)?(visual\.)?{mark}", text, re.MULTILINE) for mark in family.marks):
            return family
    return None
