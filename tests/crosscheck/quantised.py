"""A convolution as quantisation-aware training leaves it: input and weight in 8 bits, gradients straight through.

PyTorch's exporters write each rounding as QuantizeLinear and DequantizeLinear. The ranges are drawn too narrow on
purpose, so that some values saturate: there the gradient is zero, in PyTorch and in aerocam's rule.
"""

from __future__ import annotations

import torch
from torch import nn

NARROW = 0.8
"""Share of the range seen in calibration that the 8 bits of an input cover."""

WEIGHT_LEVELS, INPUT_LEVELS = (-128, 127), (0, 255)


class QuantisedConv(nn.Module):
    """A Conv2d whose input has one scale and whose weight has one per output channel."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take the convolution; the range of its input is seen in training mode."""
        super().__init__()
        self.conv = conv
        self.low, self.high = torch.zeros(()), torch.zeros(())
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int32))
        self.register_buffer("scales", torch.ones(conv.out_channels))
        self.register_buffer("zeros", torch.zeros(conv.out_channels, dtype=torch.int32))

    def train(self, mode: bool = True) -> QuantisedConv:
        """Leaving training mode fixes the scales."""
        if self.training and not mode:
            self.scale = NARROW * (self.high - self.low) / (INPUT_LEVELS[1] - INPUT_LEVELS[0])
            self.zero = (-NARROW * self.low / self.scale).round().to(torch.int32)
            self.scales = self.conv.weight.detach().abs().amax((1, 2, 3)) / WEIGHT_LEVELS[1]
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the convolution, of rounded numbers outside training."""
        weight = self.conv.weight
        if self.training:
            self.low, self.high = torch.minimum(self.low, x.min()), torch.maximum(self.high, x.max())
        else:
            x = torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, *INPUT_LEVELS)
            weight = torch.fake_quantize_per_channel_affine(weight, self.scales, self.zeros, 0, *WEIGHT_LEVELS)
        return self.conv._conv_forward(x, weight, self.conv.bias)


def quantised(model: nn.Module) -> nn.Module:
    """The network with every convolution quantised, in place."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(model, name, QuantisedConv(child))
        else:
            quantised(child)
    return model
