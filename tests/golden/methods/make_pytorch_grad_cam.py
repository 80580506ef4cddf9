"""Make pytorch_grad_cam.npz: what pytorch-grad-cam's own `get_cam_image` gives for stored activations and gradients.

The maps are as they leave the method: before ReLU, normalisation and resize. Two cases come from small networks with
seeded weights, the others are seeded arrays of realistic scale with the awkward values in them. The method `cam`, which
pytorch-grad-cam lacks, is taken from the network itself: its classifier's weight rows times the activations.

Made with Python 3.11, torch 2.13 (CPU), grad-cam 1.5.7, numpy 2.4, scikit-learn 1.9:

    pip install torch numpy scikit-learn && pip install --no-deps grad-cam==1.5.7 ttach
    python tests/golden/methods/make_pytorch_grad_cam.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

PICTURES = ("cv2", "matplotlib", "matplotlib.pyplot", "matplotlib.lines", "PIL", "tqdm", "torchvision")
for unused in (*PICTURES, "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(unused, MagicMock())  # imported by pytorch-grad-cam, not used by what is called here

import numpy as np  # noqa: E402 - after the stand-ins
import pytorch_grad_cam as pgc  # noqa: E402
import torch  # noqa: E402
from pytorch_grad_cam.fem import FEM  # noqa: E402
from torch import nn  # noqa: E402

METHODS = {
    "gradcam": pgc.GradCAM,
    "gradcam++": pgc.GradCAMPlusPlus,
    "xgradcam": pgc.XGradCAM,
    "layercam": pgc.LayerCAM,
    "hirescam": pgc.HiResCAM,
    "gradcamelementwise": pgc.GradCAMElementWise,
    "eigencam": pgc.EigenCAM,
    "eigengradcam": pgc.EigenGradCAM,
    "fem": FEM,
    "kpcacam": pgc.KPCA_CAM,
}
SMOOTHED = ["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcamelementwise"]
"""Also with `eigen_smooth`, under their name and `/eigen_smooth`; FEM takes no notice of it."""
CLASSES = [3, 8]


def network(tail):
    """A convolution as target layer (its output may be negative), then `tail` and a classifier of ten classes."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 24, 3, 2, 1))
    return nn.Sequential(stem, *tail, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10)).eval()


def layer_of(model, images):
    """A, G at the end of the stem and the classifier's rows of `CLASSES`, through pytorch-grad-cam's own machinery."""
    model(images)
    cam = pgc.GradCAM(model, [model[0]])  # it takes its hooks away when it is deleted
    recorded = cam.activations_and_grads
    recorded(images)[range(len(CLASSES)), CLASSES].sum().backward()
    return recorded.activations[0].numpy(), recorded.gradients[0].numpy(), model[-1].weight[CLASSES].detach().numpy()


def arrays(rng, shape, scale, rectify):
    """Seeded A and G; a third of G exactly zero, one channel of A dead."""
    activations = rng.normal(0.2, 1.0, size=shape)
    gradients = scale * (rng.normal(size=shape) + rng.normal(size=(*shape[:2], 1, 1)))
    gradients[rng.random(shape) < 0.33] = 0
    activations[:, 1] = 0
    if rectify:
        activations = np.maximum(activations, 0)
    return activations.astype(np.float32), gradients.astype(np.float32)


def main():
    """Write pytorch_grad_cam.npz beside this file."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = torch.randn(2, 3, 24, 20)
    deep = layer_of(network([nn.SiLU(), nn.Conv2d(24, 12, 3, 1, 1), nn.ReLU()]), images)
    pooled = layer_of(network([]), images)
    cases = {
        "network": deep[:2],
        "classifier": pooled[:2],
        "wide": arrays(rng, (2, 96, 4, 5), 1e-3, True),
        "tall": arrays(rng, (2, 6, 13, 11), 1e-3, True),
        "negative": arrays(rng, (2, 20, 6, 7), 0.3, False),
        "tiny_gradient": arrays(rng, (1, 32, 7, 7), 1e-5, False),
    }
    saved = {"classifier/cam": np.einsum("nc,nchw->nhw", pooled[2], pooled[0])}
    for case, (activations, gradients) in cases.items():
        saved |= {f"{case}/activations": activations, f"{case}/gradients": gradients}
        for name, method in METHODS.items():
            cam = method(nn.Conv2d(1, 1, 1), [])
            given = activations.astype(np.float64) if name == "kpcacam" else activations  # in float32 it is off by 1e-5
            for smooth in (False, True) if name in SMOOTHED else (False,):
                key = f"{case}/{name}/eigen_smooth" if smooth else f"{case}/{name}"
                saved[key] = cam.get_cam_image(None, None, None, given, gradients, eigen_smooth=smooth)
    for key, value in saved.items():
        assert np.isfinite(value).all(), key
        print(f"{key}: {value.dtype} {value.shape}, |largest| {np.abs(value).max():.3g}")
    np.savez_compressed(
        Path(__file__).with_name("pytorch_grad_cam.npz"), **{k: v.astype(np.float32) for k, v in saved.items()}
    )


if __name__ == "__main__":
    main()
