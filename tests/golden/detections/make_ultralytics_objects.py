"""Writes ultralytics_objects.npz: rotated boxes, masks and keypoints as Ultralytics makes them of a model's output.

The outputs are drawn at random, the suppression, the decoding and the way back to the frame are Ultralytics'. Needs
ultralytics; made with ultralytics 8.4.190 and torch 2.14:

    python tests/golden/detections/make_ultralytics_objects.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ultralytics.utils import nms, ops

FRAME, TENSOR = (100, 200, 3), (64, 96)
CLASSES, ANCHORS = 3, 60


def table(extras: np.ndarray, seed: int) -> np.ndarray:
    """(1, 4 + classes + extras, anchors): boxes of some places, so that they overlap, and few sure classes."""
    draw = np.random.default_rng(seed)
    places = draw.uniform(10, 50, (8, 2))[draw.integers(0, 8, ANCHORS)] * [1.8, 1.2]
    boxes = np.concatenate([places + draw.normal(0, 2, (ANCHORS, 2)), draw.uniform(6, 40, (ANCHORS, 2))], axis=1)
    shares = draw.uniform(0, 1, (ANCHORS, CLASSES)) ** 2
    return np.concatenate([boxes, shares, extras], axis=1).T[None].astype(np.float32)


def found(output: np.ndarray, **options: object) -> tuple[torch.Tensor, np.ndarray]:
    """What is left after the suppression, and the anchors that it comes from."""
    kept, places = nms.non_max_suppression(
        torch.from_numpy(output.copy()), 0.25, 0.5, nc=CLASSES, return_idxs=True, **options
    )
    return kept[0], places[0].numpy()


def main() -> None:
    """Write the file."""
    draw = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    arrays["obb.y"] = table(draw.uniform(-np.pi / 4, 3 * np.pi / 4, (ANCHORS, 1)), 1)
    rows, arrays["obb.anchors"] = found(arrays["obb.y"], rotated=True)
    rotated = torch.cat([rows[:, :4], rows[:, -1:]], dim=1)
    rotated[:, :4] = ops.scale_boxes(TENSOR, rotated[:, :4], FRAME, xywh=True)
    arrays["obb.polygons"] = ops.xywhr2xyxyxyxy(rotated).numpy()
    arrays["obb.scores"], arrays["obb.labels"] = rows[:, 4].numpy(), rows[:, 5].numpy()

    coefficients = draw.normal(0, 1, (ANCHORS, 5))
    coefficients[::6] = 0  # an empty mask
    arrays["segment.y"] = table(coefficients, 2)
    arrays["segment.prototypes"] = draw.normal(0.1, 1, (1, 5, 16, 24)).astype(np.float32)
    rows, arrays["segment.anchors"] = found(arrays["segment.y"])
    masks = ops.process_mask(
        torch.from_numpy(arrays["segment.prototypes"][0]), rows[:, 6:], rows[:, :4], TENSOR, upsample=True
    )
    arrays["segment.masks"] = np.packbits(masks.numpy().astype(bool), axis=-1)

    arrays["pose.y"] = table(draw.uniform(-10, 90, (ANCHORS, 2 * 3)), 3)
    rows, arrays["pose.anchors"] = found(arrays["pose.y"])
    points = rows[:, 6:].view(-1, 2, 3)
    arrays["pose.keypoints"] = ops.scale_coords(TENSOR, points, FRAME).numpy()
    for name, array in arrays.items():
        print(name, array.shape)
    np.savez_compressed(Path(__file__).with_name("ultralytics_objects.npz"), **arrays)


if __name__ == "__main__":
    main()
