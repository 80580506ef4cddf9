"""Detectors without what is done to their boxes afterwards, and the logit of one of their boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FINISHED = 6
"""Columns of a list of finished boxes: box, score, class."""


class Pair(nn.Module):
    """A detector of torchvision as it is deployed: boxes (1, anchors, 4) in px, and scores (1, anchors, classes)."""

    def __init__(self, model: Any, activation: nn.Module) -> None:
        """Take its parts; `activation` makes scores of logits."""
        super().__init__()
        self.backbone, self.head, self.anchors = model.backbone, model.head, model.anchor_generator
        self.coder, self.activation = model.box_coder, activation

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded, not suppressed."""
        from torchvision.models.detection.image_list import ImageList

        features = list(self.backbone(image).values())
        found = self.head(features)
        (anchors,) = self.anchors(ImageList(image[:1], [tuple(image.shape[-2:])]), features)
        boxes = self.coder.decode_single(found["bbox_regression"][0], anchors)
        return boxes[None], self.activation(found["cls_logits"])


class Finished(nn.Module):
    """A detector of Ultralytics' that gives a list of finished boxes, (1, boxes, 6)."""

    def __init__(self, model: Any) -> None:
        """Choose the head that needs no suppression."""
        super().__init__()
        self.model = model
        model.model[-1].end2end = True

    def forward(self, image: torch.Tensor) -> Any:
        """The list; while training, whatever the model gives."""
        found = self.model(image)
        return found[0] if isinstance(found, tuple) else found


def box_logit(outputs: Any, label: int, anchor: int) -> torch.Tensor:
    """The logit of a class at an anchor, from probabilities in any of the layouts that are compared."""
    if isinstance(outputs, tuple):
        return torch.logit(outputs[1][0, anchor, label])
    if outputs.shape[-1] == FINISHED:
        return torch.logit(outputs[0, anchor, 4])
    return torch.logit(outputs[0, 4 + label, anchor])
