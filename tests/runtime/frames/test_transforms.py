"""Preprocessing of photographs against torchvision's and timm's transforms, and what a real network says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from aerocam.benchmarks.zoo import labelled, lite0
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.preprocess import Preprocessor

GOLDEN = np.load(Path(__file__).parents[2] / "golden/preprocessing/transforms.npz")


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_ten_photographs_as_torchvision_and_timm_have_them(kernel: str) -> None:
    rule = Preprocess("x", (224, 224), "RGB", "crop", 256, f"pil-{kernel}", (127.0,) * 3, (128.0,) * 3)  # type: ignore[arg-type]
    session, preprocess = onnxruntime.InferenceSession(lite0.model()), Preprocessor(rule)
    for place, (best, share) in enumerate(GOLDEN[f"best {kernel}"]):
        tensor, _ = preprocess(labelled.labelled_photograph(f"imagenet-{place:02d}"))
        levels = tensor[0].transpose(1, 2, 0)[::28, ::28] * 128 + 127
        assert np.abs(levels - GOLDEN[f"photographs {kernel}"][place]).max() < 1.01
        logits = session.run(None, {"images": tensor})[0][0]
        shares = np.exp(logits - logits.max())
        assert logits.argmax() == best
        assert abs(shares.max() / shares.sum() - share) < 0.01
