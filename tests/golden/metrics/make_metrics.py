"""Make metrics.npz: metrics by pytorch-grad-cam, torch-cam, captum and Quantus on the same few arrays.

The model has one hidden layer, seeded weights and seven classes; a map of class t on picture x is the positive part of
the sum over channels of x times the class's weights, scaled to [0, 1]. `smooth` are maps without equal values, for what
the other packages do not define on ties. What is drawn at random is drawn by NumPy from seed 0 as the metrics do, so
that both see the same noise; ROAD's imputer is run without its noise.

Made with Python 3.11, torch 2.13 (CPU), grad-cam 1.5.7, torchcam 0.5.0, captum 0.9.0, quantus 0.6.0, scipy 1.17:

    pip install torch captum==0.9.0 quantus==0.6.0 torchcam==0.5.0 grad-cam==1.5.7
    python tests/golden/metrics/make_metrics.py
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

for unused in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(unused, MagicMock())  # imported by pytorch-grad-cam, not used by what is called here

import numpy as np  # noqa: E402 - after the stand-ins
import quantus  # noqa: E402
import torch  # noqa: E402
from captum.metrics import infidelity, sensitivity_max  # noqa: E402
from pytorch_grad_cam.metrics.arcc import Coherency, Complexity  # noqa: E402
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence  # noqa: E402
from pytorch_grad_cam.metrics.perturbation_confidence import RemoveLeastRelevantFirst, RemoveMostRelevantFirst  # noqa: E402
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, PerturbationConfidenceMetric  # noqa: E402
from scipy import ndimage  # noqa: E402
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric  # noqa: E402

PICTURES, CHANNELS, HEIGHT, WIDTH, CLASSES = 4, 3, 17, 15, 7
SIZE = (CHANNELS, HEIGHT, WIDTH)
PERCENTILES = (15, 35, 55, 85)
RADIUS, SAMPLES, SIGMA, SIDE = 0.02, 10, 0.2, 5


class Network(torch.nn.Module):
    """Softmax is left to who asks."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = (torch.nn.Parameter(torch.tensor(x), requires_grad=False) for x in (first, second))

    def forward(self, x):
        return torch.tanh(x.flatten(1) @ self.first.T) @ self.second.T


def positive(x, weights, targets):
    """The method: maps (n, H, W) of pictures (n, C, H, W)."""
    found = np.maximum((x * weights[targets]).sum(axis=1), 0)
    found -= found.min(axis=(1, 2), keepdims=True)
    return (found / (found.max(axis=(1, 2), keepdims=True) + np.float32(1e-7))).astype(np.float32)


class Extractor:
    """What torch-cam asks for a map; it is there already."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __call__(self, *given, **named):
        return [torch.tensor(self.maps)]

    def fuse_cams(self, maps):
        return maps[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


def blur(x):
    """RISE's baseline."""
    kernel = np.zeros((11, 11))
    kernel[5, 5] = 1
    kernel = ndimage.gaussian_filter(kernel, 5)
    weight = torch.zeros(CHANNELS, CHANNELS, 11, 11)
    for channel in range(CHANNELS):
        weight[channel, channel] = torch.tensor(kernel, dtype=torch.float32)
    return torch.nn.functional.conv2d(x, weight, padding=5)


def shifted(near, given):
    """What captum asks to perturb pictures by; with one argument, else it is given the radius as well."""
    return given + near


def squares(x):
    """What is taken away, (SAMPLES, C, H, W)."""
    rng = np.random.default_rng(0)
    tops, lefts = rng.integers(HEIGHT - SIDE + 1, size=SAMPLES), rng.integers(WIDTH - SIDE + 1, size=SAMPLES)
    made = np.zeros((SAMPLES, *SIZE), np.float32)
    for one, top, left in zip(made, tops, lefts, strict=True):
        one[:, top : top + SIDE, left : left + SIDE] = x[:, top : top + SIDE, left : left + SIDE]
    return made


def by_pytorch_grad_cam(model, x, maps, smooth, mixed, targets, explain):
    def probability(output, index):
        return torch.softmax(output, dim=-1)[index]

    asked = [partial(probability, index=int(target)) for target in targets]
    tensor = torch.tensor(x)
    found = {
        "pgc/drop": DropInConfidence()(tensor, mixed, asked, model),
        "pgc/increase": IncreaseInConfidence()(tensor, mixed, asked, model),
        "pgc/complexity": Complexity()(maps),
        "pgc/coherency": Coherency()(
            tensor, maps, asked, model, lambda input_tensor, targets: explain(input_tensor.numpy())
        ),
    }
    for name, remove in (("morf", RemoveMostRelevantFirst), ("lerf", RemoveLeastRelevantFirst)):
        rows = []
        for percentile in PERCENTILES:
            metric = PerturbationConfidenceMetric(remove(percentile, NoisyLinearImputer(noise=0.0)))
            change, imputed = metric(tensor, smooth, asked, model, return_visualization=True)
            rows.append(change)
            found[f"pgc/imputed/{name}/{percentile}"] = imputed[0].numpy()
        found[f"pgc/{name}"] = np.array(rows).T
    return found


def by_torch_cam(model, x, maps, mixed, targets):
    softmax = partial(torch.softmax, dim=-1)
    found = {name: [] for name in ("drop", "increase", "deletion", "insertion", "deletion-blur", "insertion-blur")}
    for one, map_, other, target in zip(x, maps, mixed, targets, strict=True):
        metric = ClassificationMetric(Extractor(model, other[None]), softmax)
        metric.update(torch.tensor(one[None]), int(target))
        found["drop"].append(metric.summary()["avg_drop"])
        found["increase"].append(metric.summary()["conf_increase"])
        for suffix, baseline in (("", None), ("-blur", blur)):
            curve = DeletionInsertionMetric(Extractor(model, map_[None]), softmax, steps=9, baseline=baseline)
            curve.update(torch.tensor(one[None]), int(target))
            found[f"deletion{suffix}"].append(curve.summary()["deletion_auc"])
            found[f"insertion{suffix}"].append(curve.summary()["insertion_auc"])
    return {f"torchcam/{name}": np.array(values) for name, values in found.items()}


def by_captum(model, x, maps, targets, method):
    found = {name: [] for name in ("sensitivity", "gaussian", "gaussian-scaled", "square", "square-scaled")}

    def probabilities(given):
        return torch.softmax(model(given), dim=-1)

    for one, map_, target in zip(x, maps, targets, strict=True):
        tensor, target = torch.tensor(one[None]), int(target)
        near = np.random.default_rng(0).uniform(-RADIUS, RADIUS, (SAMPLES, *SIZE)).astype(np.float32)
        near = torch.tensor(near)

        def explain(given, target=target):
            pictures = given[0] if isinstance(given, tuple) else given
            return (torch.tensor(method(pictures.numpy(), np.full(len(pictures), target))),)

        sensitivity = sensitivity_max(explain, tensor, partial(shifted, near), RADIUS, SAMPLES)
        found["sensitivity"].append(float(sensitivity))
        noise = SIGMA * np.random.default_rng(0).standard_normal((SAMPLES, *SIZE), np.float32)
        shown = torch.tensor(np.broadcast_to(map_, SIZE)[None].copy())
        for name, taken in (("gaussian", torch.tensor(noise)), ("square", torch.tensor(squares(one)))):
            for suffix, scaled in (("", False), ("-scaled", True)):
                value = infidelity(
                    probabilities,
                    lambda given, taken=taken: (taken, given - taken),
                    tensor,
                    shown,
                    target=target,
                    n_perturb_samples=SAMPLES,
                    normalize=scaled,
                )
                found[name + suffix].append(float(value))
    return {f"captum/{name}": np.array(values) for name, values in found.items()}


def by_quantus(model, x, smooth, targets, method, masks):
    given = {"model": model, "x_batch": x, "y_batch": targets, "a_batch": smooth[:, None], "s_batch": masks[:, None]}
    quiet = {"disable_warnings": True, "display_progressbar": False}
    found = {
        "quantus/pointing": quantus.PointingGame(**quiet)(**given),
        "quantus/rank": quantus.RelevanceRankAccuracy(**quiet)(**given),
        "quantus/mass": quantus.RelevanceMassAccuracy(**quiet)(**given),
    }
    near = iter([])

    def perturb(arr, indices, **named):
        return arr + next(near).reshape(len(arr), -1)

    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (SAMPLES, *SIZE)).astype(np.float32)
    near = iter(np.repeat(noise[:, None], len(x), axis=1))
    sensitivity = quantus.MaxSensitivity(
        nr_samples=SAMPLES, perturb_func=perturb, normalise=False, abs=False, lower_bound=0.2, **quiet
    )
    maps = method(x, targets)[:, None]

    def explain(model, inputs, targets, **named):
        return method(np.asarray(inputs), np.asarray(targets))[:, None]

    found["quantus/sensitivity"] = sensitivity(
        model=model, x_batch=x, y_batch=targets, a_batch=maps, explain_func=explain
    )
    return {name: np.array(values, float) for name, values in found.items()}


def main() -> None:
    rng = np.random.default_rng(3)
    first = (rng.standard_normal((12, CHANNELS * HEIGHT * WIDTH)) / 8).astype(np.float32)
    second = rng.standard_normal((CLASSES, 12)).astype(np.float32)
    x = ndimage.gaussian_filter(rng.standard_normal((PICTURES, *SIZE)), (0, 0, 1, 1)).astype(np.float32) * 3
    model = Network(first, second).eval()
    targets = model(torch.tensor(x)).argmax(dim=1).numpy()
    targets[-1] = (targets[-1] + 1) % CLASSES
    method = partial(_method, weights=(second @ first).reshape(CLASSES, *SIZE))
    maps = method(x, targets)
    smooth = ndimage.gaussian_filter(rng.standard_normal((PICTURES, HEIGHT, WIDTH)), (0, 2, 2))
    smooth -= smooth.min(axis=(1, 2), keepdims=True)
    smooth = (smooth / smooth.max(axis=(1, 2), keepdims=True)).astype(np.float32)
    mixed = np.where(np.arange(PICTURES)[:, None, None] % 2, smooth, maps)  # with these some scores rise, some fall
    masks = ndimage.gaussian_filter(rng.standard_normal((PICTURES, HEIGHT, WIDTH)), (0, 2, 2)) > 0.05
    masks[0] |= smooth[0] > 0.95
    arrays = {
        "first": first,
        "second": second,
        "x": x,
        "targets": targets,
        "maps": maps,
        "smooth": smooth,
        "mixed": mixed,
    }
    arrays |= {"masks": masks} | by_torch_cam(model, x, maps, mixed, targets)
    arrays |= by_captum(model, x, maps, targets, method)
    arrays |= by_pytorch_grad_cam(model, x, maps, smooth, mixed, targets, partial(method, targets=targets))
    arrays |= by_quantus(model, x, smooth, targets, method, masks)
    np.savez_compressed(Path(__file__).parent / "metrics.npz", **arrays)
    for name in sorted(arrays):
        if "/" in name and "imputed" not in name:
            print(name, np.round(arrays[name], 5).tolist())


def _method(x, targets, weights):
    return positive(x, weights, targets)


if __name__ == "__main__":
    main()
