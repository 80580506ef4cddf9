"""Writes ultralytics.npz: what Ultralytics finds on pages of the zoo, and the model's output that it finds it in.

The letterbox, the decoding, the suppression and the way back to the page are Ultralytics'; of aerocam only the zoo is
used, for the network and the pages. Needs ultralytics, onnxruntime, OpenCV and aerocam's zoo; made with ultralytics
8.4.190 and torch 2.13, by its own suppression (`TorchNMS.nms`, which says that it matches torchvision's):

    python tests/golden/detections/make_ultralytics.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "crosscheck"))
from networks import load_torchvision

load_torchvision()
from ultralytics.data.augment import LetterBox  # noqa: E402
from ultralytics.utils import nms, ops  # noqa: E402

from aerocam.benchmarks import zoo  # noqa: E402
from aerocam.benchmarks.zoo.pages import PAGES, page  # noqa: E402

LEAST = 0.01
"""Of the best class of an anchor whose column is kept: below the confidence of all settings."""

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"conf_thres": 0.25, "iou_thres": 0.7},
    "many": {"conf_thres": 0.02, "iou_thres": 0.9},
    "few": {"conf_thres": 0.02, "iou_thres": 0.1},
    "agnostic": {"conf_thres": 0.02, "iou_thres": 0.5, "agnostic": True},
    "classes": {"conf_thres": 0.02, "iou_thres": 0.5, "classes": [3, 9]},
    "five": {"conf_thres": 0.25, "iou_thres": 0.7, "max_det": 5},
}


def main() -> None:
    """Run the network on each page, and Ultralytics on its output."""
    session = onnxruntime.InferenceSession(str(zoo.yolov8n_doclaynet()), providers=["CPUExecutionProvider"])
    sys.modules.pop("torchvision")  # its operators are not there: Ultralytics then takes its own
    arrays: dict[str, np.ndarray] = {"settings": np.array(json.dumps(SETTINGS))}
    for name in PAGES:
        frame = page(name)
        fitted = LetterBox((1024, 1024), auto=False)(image=frame)
        image = np.ascontiguousarray(fitted[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
        (output,) = session.run(None, {"images": image})
        columns = np.flatnonzero(output[0, 4:].max(axis=0) > LEAST)
        arrays |= {f"{name}.anchors": columns.astype(np.int32), f"{name}.columns": output[0][:, columns]}
        for key, options in SETTINGS.items():
            (found,), (anchors,) = nms.non_max_suppression(torch.from_numpy(output), return_idxs=True, **options)
            in_frame = ops.scale_boxes((1024, 1024), found[:, :4].clone(), frame.shape)
            arrays[f"{name}.{key}"] = np.hstack([in_frame.numpy(), found[:, 4:].numpy(), anchors.numpy()[:, None]])
            print(name, key, len(found))
    np.savez_compressed(Path(__file__).with_name("ultralytics.npz"), **arrays)


if __name__ == "__main__":
    main()
