"""What pixels the weights that timm publishes take, and for how many of them an export would assume the right ones."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from aerocam.benchmarks.studies.networks.judging import NEAR
from aerocam.export import PRESETS
from aerocam.export.reading.families import family_by


def shares() -> dict[str, int]:
    """Return of how many published weights the mean and deviation would be right, by several rules.

    `weights` are all of them; `imagenet` those that take ImageNet's; `assumed` those that take what an export assumes,
    by the names of the modules and TensorFlow's padding; `possible` those that would be right by the best rule there is
    without knowing which weights they are: the most frequent numbers of what has the same names and shapes throughout.
    """
    import timm
    import torch
    from timm.models import get_pretrained_cfg, list_pretrained

    numbers: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for name in list_pretrained():
        config = get_pretrained_cfg(name)
        numbers[name.partition(".")[0]].append(tuple(255 * x for x in (*config.mean, *config.std)))
    found = Counter(weights=0, imagenet=0, assumed=0)
    by_form: dict[frozenset[tuple[str, tuple[int, ...]]], Counter[tuple[float, ...]]] = defaultdict(Counter)
    for architecture, taken in numbers.items():
        with torch.device("meta"):
            model = timm.create_model(architecture)
        weights = dict(model.named_parameters())
        modules = {name: module for name, module in model.named_modules() if not [*module.children()]}
        leaves = {name for name, module in modules.items() if not isinstance(module, torch.nn.Identity)}
        family, padded = family_by(leaves | weights.keys()), any(_is_padded(module) for module in modules.values())
        preset = family.preset if family is not None else "tf" if padded else "imagenet"
        found["weights"] += len(taken)
        found["imagenet"] += sum(_are_of("imagenet", mine) for mine in taken)
        found["assumed"] += sum(_are_of(preset, mine) for mine in taken)
        form = {(name, tuple(weight.shape)) for name, weight in weights.items()} | {(name, ()) for name in leaves}
        by_form[frozenset(form)].update(taken)
    return dict(found) | {"possible": sum(max(counts.values()) for counts in by_form.values())}


def _is_padded(module: object) -> bool:
    """Return whether a module is a convolution that pads as TensorFlow does."""
    return type(module).__name__ == "Conv2dSame"


def _are_of(preset: str, numbers: tuple[float, ...]) -> bool:
    """Return whether numbers, three means and three deviations in 0 to 255, are a preset's."""
    entries = PRESETS[preset]
    return bool(np.abs(np.subtract((*entries["mean"], *entries["std"]), numbers)).max() <= NEAR)
