"""Families of networks, by the names of their modules and weights alone."""

from __future__ import annotations

import pytest

from aerocam.export.reading.families import family_by

PATCHES = ["patch_embed.proj", "blocks.0.attn.qkv.weight", "blocks.11.mlp.fc2"]

FAMILIES = {
    "ViT": ("tf", [*PATCHES, "norm"]),
    "ViT in a wrapper": ("tf", ["", *(f"model.{name}" for name in PATCHES)]),
    "ViT with registers and the mean as its pool": ("tf", [*PATCHES, "blocks.0.ls1", "fc_norm"]),
    "BEiT": ("tf", [*PATCHES, "blocks.0.gamma_1", "fc_norm"]),
    "DINOv3": ("imagenet", [*PATCHES, "blocks.0.gamma_1", "norm"]),
    "SAM's Hiera": ("imagenet", [*PATCHES, "blocks.2.proj"]),
    "EVA-02": ("clip", [*PATCHES, "blocks.0.mlp.fc1_g.weight", "norm"]),
    "CLIP of timm": ("clip", [*PATCHES, "norm_pre", "norm"]),
    "CLIP of open_clip": ("clip", ["visual.ln_pre.weight", "visual.transformer.resblocks.0.attn.in_proj_weight"]),
    "CLIP of transformers": ("clip", ["vision_model.pre_layrnorm", "vision_model.encoder.layers.0.self_attn.q_proj"]),
    "CLIP's ResNet": ("clip", ["visual.attnpool.positional_embedding", "visual.layer4.2.conv1"]),
    "DPT": ("tf", ["dpt.embeddings.patch_embeddings.projection"]),
    "Xception": ("tf", ["blocks.3.stack.conv1.conv_dw"]),
    "Inception v3 of timm": ("tf", ["Mixed_7c.branch1x1.bn.act"]),
    "TResNet": ("unit", ["body.layer1.0.conv1.conv"]),
    "Inception v3 of torchvision": (None, ["Mixed_7c.branch1x1.conv"]),
    "Swin": (None, ["patch_embed.proj", "layers.0.blocks.0.attn.qkv", "norm"]),
    "XCiT": (None, ["patch_embed.proj.0.0", "blocks.0.attn.qkv", "norm"]),
    "DaViT": (None, ["stages.3.blocks.0.1.channel_block.attn.qkv", "norm_pre"]),
    "LeViT": (None, ["stem.conv2.linear", "stages.0.blocks.0.attn.qkv"]),
    "ViT of torchvision": (None, ["conv_proj", "encoder.layers.encoder_layer_0.self_attention"]),
    "DeiT of transformers": (None, ["deit.embeddings.patch_embeddings.projection"]),
    "ResNet": (None, ["layer4.1.conv2", "head.fc"]),
}


@pytest.mark.parametrize("network", FAMILIES)
def test_by_names(network: str) -> None:
    preset, names = FAMILIES[network]
    family = family_by(names)
    assert (family.preset if family else None) == preset
