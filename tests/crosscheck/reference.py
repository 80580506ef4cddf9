"""PyTorch's side: what each module gives out, and the gradient of the score there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from networks import Network, load_torchvision
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]
SAME_VALUE = 1e-4
"""Largest difference, relative to the largest value, at which a tensor counts as a module's output."""
SAME_GRADIENT = 1e-5


@dataclass
class Output:
    """One output of one module.

    Attributes:
        name: The module's.
        value: What it gave.
        gradient: Of the score with respect to it.
        once: Whether the module is called once only.
    """

    name: str
    value: Array
    gradient: Array
    once: bool


def module_outputs(network: Network, model: nn.Module, picture: torch.Tensor) -> list[Output]:
    """Outputs of every module that the score depends on, in the order of the forward pass.

    Each module's consumers get a copy, so that an operation in place changes neither value nor gradient of the output.
    """
    seen: list[tuple[str, torch.Tensor, Array]] = []

    def hook(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            if not isinstance(output, torch.Tensor) or not output.requires_grad or output.ndim < 3:
                return None
            output.retain_grad()
            seen.append((name, output, output.detach().numpy().copy()))
            return output.clone()

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    network.score(model(picture)).backward()
    for handle in handles:
        handle.remove()
    calls = Counter(name for name, _, _ in seen)
    return [Output(name, x, y.grad.numpy(), calls[name] == 1) for name, y, x in seen if y.grad is not None]


def relative(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest expected value."""
    largest = float(np.abs(expected).max())
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    return difference / largest if largest else (0.0 if difference == 0 else float("inf"))


def matching(outputs: list[Output], value: Array) -> Output | None:
    """The module that gave `value`; None: no module, or several with gradients that differ."""
    same = [y for y in outputs if y.value.shape == value.shape and relative(value, y.value) < SAME_VALUE]
    if not same or not np.abs(same[0].gradient).max():
        return None
    if any(relative(y.gradient, same[0].gradient) > SAME_GRADIENT for y in same):
        return None
    return next((y for y in same if y.once), same[0])


def grad_cam(
    network: Network, model: nn.Module, picture: torch.Tensor, output: Output, folded: tuple[int, ...]
) -> Array:
    """pytorch-grad-cam's map at a module, in [0, 1], over the input; tokens and channels last as it is told to."""
    load_torchvision()  # pytorch-grad-cam imports it
    from pytorch_grad_cam import GradCAM

    if picture.ndim != 4:
        raise ValueError("pytorch-grad-cam's maps are of pictures")
    module = model.get_submodule(output.name)
    transform = None if output.value.shape == folded else lambda y: _channels_first(y, folded)
    with GradCAM(model, [module], reshape_transform=transform) as cam:
        handle = module.register_forward_hook(lambda _, inputs, output: output.clone())  # as in `module_outputs`
        found = cam(picture, [lambda output: network.score(output[None])])
        handle.remove()
    return found


def _channels_first(value: torch.Tensor, folded: tuple[int, ...]) -> torch.Tensor:
    """What a user of pytorch-grad-cam writes by hand: class tokens off, then (1, C, H, W)."""
    _, channels, height, width = folded
    return value.reshape(1, -1, channels)[:, -height * width :].transpose(1, 2).reshape(folded)


def scaled(raw: Array, picture: torch.Tensor) -> Array:
    """A raw map (1, h, w) in the form of `grad_cam`."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    return scale_cam_image(scale_cam_image(np.maximum(raw, 0), tuple(picture.shape[:1:-1])))
