"""An encoder of aerial tiles with its trained weights, out of the arrays that its package ships."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from aerocam.benchmarks.studies.networks.truth import HALVES, Network, Place, Truth
from aerocam.benchmarks.zoo.wheels import read

POOL = 4
"""Rows and columns that the last stage is pooled to."""


def encoder() -> Any:
    """Return the encoder: ResNet-18 without the first stride and pool, 256 numbers of length 1."""
    import torch
    from torchvision.models import resnet18

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bb = resnet18(num_classes=1)
            self.bb.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
            self.bb.maxpool = self.bb.avgpool = self.bb.fc = torch.nn.Identity()
            self.pool = torch.nn.AdaptiveAvgPool2d(POOL)
            self.fc = torch.nn.Linear(512 * POOL * POOL, 256)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.bb.bn1(self.bb.conv1(image)))
            for stage in (self.bb.layer1, self.bb.layer2, self.bb.layer3, self.bb.layer4):
                x = stage(x)
            return torch.nn.functional.normalize(self.fc(self.pool(x).flatten(1)))

    arrays = np.load(io.BytesIO(read("geoembed", "geoembed/weights/v3.npz")))
    model = Encoder()
    state = {_renamed(name): torch.from_numpy(arrays[name]) for name in arrays if "." in name}
    state["fc.weight"] = state["fc.weight"].T
    model.load_state_dict(state, strict=False)
    return model


def _renamed(name: str) -> str:
    """Return torchvision's name of a weight."""
    return name.replace("stem.0", "conv1").replace("stem.1", "bn1").replace("short.", "downsample.")


NETWORKS = {
    "geoembed v3": Network(
        encoder,
        Truth((Place("pool", (POOL, POOL)),), "embed", 0, 256, None, None, numbers=HALVES, resize=("stretch",)),
        ((1, 3, 128, 128),),
        is_trained=True,
    )
}
