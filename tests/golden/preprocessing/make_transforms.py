"""Writes transforms.npz: pictures resized by Pillow, and photographs as torchvision's and timm's transforms have them.

Of the photographs, ImageNet's, 64 pixels are kept, and what EfficientNet-Lite0 says of them, by ONNX Runtime. Needs
torchvision, timm and onnxruntime, not aerocam:

    python tests/golden/preprocessing/make_transforms.py .cache/lite0-224.onnx .cache/foolbox-3.3.4
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

STEP = 28
RESIZES = (
    ((61, 97), (32, 40), "bilinear"),
    ((61, 97), (32, 40), "bicubic"),
    ((20, 17), (33, 34), "bilinear"),
    ((20, 97), (33, 34), "bicubic"),
)


def main() -> None:
    """Resize, transform, run the network and write."""
    arrays = {}
    for (height, width), target, kernel in RESIZES:
        frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        resized = Image.fromarray(frame).resize(target[::-1], getattr(Image.Resampling, kernel.upper()))
        arrays[f"{height}x{width} to {target[0]}x{target[1]} {kernel}"] = np.asarray(resized)
    crop = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    timm = create_transform(224, interpolation="bicubic", crop_pct=0.875, mean=(0, 0, 0), std=(1, 1, 1))
    session = onnxruntime.InferenceSession(sys.argv[1])
    paths = sorted(Path(sys.argv[2]).glob("imagenet_*.jpg"))[:10]
    for name in ("bilinear", "bicubic"):
        pixels, best = [], []
        for path in paths:
            picture = Image.open(path).convert("RGB")
            if name == "bilinear":
                levels = np.asarray(crop(picture), np.float32)
            else:
                levels = np.rint(timm(picture).numpy().transpose(1, 2, 0) * 255)
            logits = session.run(None, {"images": ((levels - 127) / 128).transpose(2, 0, 1)[None]})[0][0]
            shares = np.exp(logits - logits.max())
            pixels.append(levels[::STEP, ::STEP].astype(np.uint8))
            best.append((logits.argmax(), shares.max() / shares.sum()))
        arrays |= {f"photographs {name}": np.stack(pixels), f"best {name}": np.array(best)}
    np.savez_compressed(Path(__file__).with_name("transforms.npz"), **arrays)


if __name__ == "__main__":
    main()
