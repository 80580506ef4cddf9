"""Make smoothing.npz: what pytorch-grad-cam gives for the network of make_captum.py with its smoothings, and FinerCAM.

Maps are final, float32 (24, 24), at the layer that the ONNX file calls `features`; the network computes in float64.
`finercam` is also given as it leaves the method, before ReLU and resize, for its own top class and for class 3.

Made with Python 3.11, torch 2.13 (CPU), grad-cam 1.5.7, ttach 0.0.3, captum 0.9.0:

    pip install torch onnx onnxruntime captum==0.9.0 opencv-python-headless
    pip install --no-deps grad-cam==1.5.7 ttach
    python tests/golden/input/make_smoothing.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock, patch

from make_captum import MEAN, STD, TARGET, Network

UNUSED = ("matplotlib", "matplotlib.pyplot", "matplotlib.lines", "torchvision", "torchvision.transforms")
for unused in (*UNUSED, "torchvision.transforms.functional"):
    sys.modules.setdefault(unused, MagicMock())  # imported by pytorch-grad-cam, not used by what is called here

import numpy as np  # noqa: E402 - after the stand-ins
import pytorch_grad_cam as pgc  # noqa: E402
import torch  # noqa: E402
from pytorch_grad_cam.finer_cam import FinerCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection  # noqa: E402

OTHER = 3
"""A class that is not the top one."""

METHODS = {"gradcam": pgc.GradCAM, "gradcam++": pgc.GradCAMPlusPlus, "eigencam": pgc.EigenCAM}


def oriented(weighted):
    """pytorch-grad-cam's projection with the sign of the sum; its own sign, LAPACK's, turns some maps inside out."""
    found = get_2d_projection(weighted)
    covariance = (found * weighted.sum(axis=1)).sum(axis=(1, 2), keepdims=True)
    return np.where(covariance < 0, -found, found)


def main():
    """Write smoothing.npz beside this file."""
    torch.manual_seed(1)
    network = Network().eval()
    frame = np.random.default_rng(2).integers(0, 256, (24, 24, 3), np.uint8)
    x = torch.from_numpy(((frame.transpose(2, 0, 1)[None] - MEAN) / STD).astype(np.float32)).double()
    network.double()
    layers = [network.relus[1]]
    saved = {}
    for name, method in METHODS.items():
        with method(network, layers) as cam:
            targets = [ClassifierOutputTarget(TARGET)]
            saved[name] = cam(x, targets)[0]
            saved[f"{name}/aug"] = cam(x, targets, aug_smooth=True)[0]
            if name != "eigencam":
                with patch("pytorch_grad_cam.base_cam.get_2d_projection", oriented):
                    saved[f"{name}/aug/eigen"] = cam(x, targets, aug_smooth=True, eigen_smooth=True)[0]
    for target in (None, OTHER):
        finer = FinerCAM(network, layers)
        raw = {}
        single = finer.base_cam.get_cam_image
        finer.base_cam.get_cam_image = lambda *a, single=single, raw=raw: raw.setdefault("map", single(*a))
        saved[f"finercam/{target}"] = finer(x, target_idx=target)[0]
        saved[f"finercam/{target}/raw"] = raw["map"][0]
        del finer
    logits = network(x).detach().numpy()
    print("logits", logits.round(4))
    for key, value in saved.items():
        print(f"{key}: {value.shape}, largest {np.abs(value).max():.4g}")
    np.savez_compressed(
        Path(__file__).with_name("smoothing.npz"), **{key: np.float32(value) for key, value in saved.items()}
    )


if __name__ == "__main__":
    main()
