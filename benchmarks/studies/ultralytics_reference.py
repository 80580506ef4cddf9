"""Write a network by one version of Ultralytics, and what its own predict finds by that file in pictures.

A program of its own: the version is the one that Python finds, and of aerocam nothing is imported. The weights are
random, as no trained ones can be had; batch normalisation is calibrated on the pictures, and the last layers of the
head are set up so that every picture has enough objects of enough classes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_VERBOSE": "False", "YOLO_AUTOINSTALL": "False", "YOLO_OFFLINE": "True"}

import cv2
import numpy as np
import torch
from torch import nn

CLASSES, KEYPOINTS = 6, (5, 3)


def main() -> None:
    """Do the jobs of a file: each writes `model.onnx`, if it is absent, and a reference; else `failed.txt` says why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=Path, help="JSON: pictures, and jobs, see the page")
    given = json.loads(parser.parse_args().jobs.read_text())
    _take_old_exporter()
    pictures = [cv2.imread(path) for path in given["pictures"]]
    for job in given["jobs"]:
        folder = Path(job["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)  # versions before 8.0.40 write where they are
        file = folder / "model.onnx"
        try:
            if not file.exists():
                write(job["name"], job["size"], job["options"], pictures, folder, job.get("weights"))
            with contextlib.nullcontext() if job.get("fused", True) else unfused():
                found = predict(file, pictures, job["size"], folder)
            np.savez_compressed(folder / job["reference"], **found)
        except (Exception, SystemExit) as error:
            (folder / "failed.txt").write_text(f"{type(error).__name__}: {error}")
        print(folder, "failed" if (folder / "failed.txt").exists() else "done", flush=True)


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Let ONNX Runtime fuse nothing: float16 is rounded behind every operator, whatever else leaves the graph."""
    import onnxruntime

    session = onnxruntime.InferenceSession

    def plain(file: Any, sess_options: Any = None, **given: Any) -> Any:
        options = sess_options or onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return session(file, options, **given)

    onnxruntime.InferenceSession = plain
    try:
        yield
    finally:
        onnxruntime.InferenceSession = session


def write(
    name: str, size: Sequence[int], options: dict[str, Any], pictures: Sequence[Any], folder: Path, weights: str | None
) -> Path:
    """Export trained weights, or a network of this architecture; return the file."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    if weights is not None:
        copy = shutil.copy(weights, folder)
        return _export(YOLO(copy), size, options, folder)
    model = YOLO(str(_architecture(name, folder)))
    network = model.model.eval()
    if hasattr(network.model[-1], "kpt_shape"):  # early versions have it from training alone
        network.kpt_shape = network.model[-1].kpt_shape
    with torch.no_grad():
        _calibrate(network, [_tensor(picture, size) for picture in pictures])
    return _export(model, size, options, folder)


def _export(model: Any, size: Sequence[int], options: dict[str, Any], folder: Path) -> Path:
    imgsz = size[0] if len(set(size)) == 1 else list(size)
    written = model.export(format="onnx", imgsz=imgsz, device="cpu", **options)
    file = Path(written) if written else next(folder.glob("*.onnx"))
    target = folder / "model.onnx"
    if file.resolve() != target.resolve():
        shutil.move(file, target)
    return target


def _take_old_exporter() -> None:
    """Let `torch.onnx.export` take the exporter that all of these versions were made for, unless it is told."""
    export = torch.onnx.export

    @functools.wraps(export)
    def patched(*args: Any, **options: Any) -> Any:
        return export(*args, **({"dynamo": False} | options))

    torch.onnx.export = patched


def _architecture(name: str, folder: Path) -> Path:
    """Write the architecture with `CLASSES` classes; return its file."""
    import ultralytics
    import yaml

    scale = next(i for i, letter in enumerate(name.replace("yolo", "", 1)) if letter in "nsmlx") + len("yolo")
    plain = name[:scale] + name[scale + 1 :]
    root = Path(ultralytics.__file__).parent
    for stem in (plain, name):
        for found in sorted(root.rglob(f"{stem}.yaml")):
            text = yaml.safe_load(found.read_text())
            text |= {"nc": CLASSES} | ({"kpt_shape": list(KEYPOINTS)} if "kpt_shape" in text else {})
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(text))
            return file
    sys.exit(f"Ultralytics {ultralytics.__version__} has no {name}")


def _tensor(picture: Any, size: Sequence[int]) -> torch.Tensor:
    """Return a picture as predict gives it to the network: (1, 3, H, W) in RGB, 0 to 1, grey around it."""
    (height, width), (rows, columns) = picture.shape[:2], (size[0], size[-1])
    scale = min(rows / height, columns / width)
    resized = cv2.resize(picture, (round(width * scale), round(height * scale)))
    tensor = np.full((rows, columns, 3), 114, np.uint8)
    top, left = (rows - resized.shape[0]) // 2, (columns - resized.shape[1]) // 2
    tensor[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return torch.from_numpy(np.ascontiguousarray(tensor[..., ::-1].transpose(2, 0, 1)[None])).float() / 255


def _calibrate(network: nn.Module, batch: Sequence[torch.Tensor]) -> None:
    """Set the statistics of batch normalisation by the pictures, then scale the last layers of the head."""
    pictures = torch.cat(list(batch))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    network(pictures)
    for norm in norms:
        norm.eval()
    head = network.model[-1]
    if not hasattr(head, "cv2"):  # a classifier
        head.linear.weight.mul_(30 / CLASSES)
        return
    for kind, gain in (("cv2", 1.0), ("cv3", 0.0), ("cv4", 2.0)):
        for prefix in ("", "one2one_"):
            for last in _last_layers(getattr(head, prefix + kind, None)):
                _set_up(network, pictures, last, gain)
                if kind == "cv2":  # sides of some cells: by a distribution over 16 bins each, or as they are
                    last.bias += -torch.arange(16.0).repeat(4) / 2 if len(last.bias) == 64 else 3.0


def _last_layers(branches: Any) -> Iterator[nn.Conv2d]:
    for branch in branches or ():
        layers = [module for module in branch.modules() if isinstance(module, nn.Conv2d)]
        if layers:
            yield layers[-1]


def _set_up(network: nn.Module, pictures: torch.Tensor, layer: nn.Conv2d, gain: float) -> None:
    """Give each channel of a layer a deviation of `gain` and a mean of 0; 0: teach it classes, see `_learn`."""
    inputs: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))
    network(pictures)
    handle.remove()
    if not gain:
        _learn(layer, inputs[-1])
        return
    values = nn.functional.conv2d(inputs[-1], layer.weight, groups=layer.groups).transpose(0, 1).flatten(1)
    factor = gain / values.std(1).clamp_min(1e-6)
    layer.weight.mul_(factor[:, None, None, None])
    if layer.bias is not None:
        layer.bias.copy_(-values.mean(1) * factor)


def _learn(layer: nn.Conv2d, features: torch.Tensor) -> None:
    """Teach a layer to answer, for each class, at some places drawn at random of every picture in (B, C, H, W)."""
    batch, channels, height, width = features.shape
    classes = len(layer.weight)
    columns = features.permute(0, 2, 3, 1).reshape(-1, channels)
    mean, deviation = columns.mean(0), columns.std(0).clamp_min(1e-6)
    normal = (columns - mean) / deviation
    wanted = torch.zeros(batch, height * width, classes)
    for i in range(batch):
        places = torch.randperm(height * width)[: 2 * classes]
        wanted[i, places, torch.arange(len(places)) % classes] = 1
    with torch.enable_grad():
        rows = torch.zeros(channels, classes, requires_grad=True)
        bias = torch.full((classes,), -4.0, requires_grad=True)
        steps = torch.optim.Adam([rows, bias], lr=0.1)
        for _ in range(200):
            steps.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                normal @ rows + bias, wanted.flatten(0, 1), pos_weight=torch.tensor(20.0)
            )
            loss.backward()
            steps.step()
    weight = (rows / deviation[:, None]).T.detach()
    layer.weight.copy_(weight[:, :, None, None])
    if layer.bias is not None:
        layer.bias.copy_(bias.detach() - weight @ mean)


def predict(file: Path, pictures: Sequence[Any], size: Sequence[int], folder: Path) -> dict[str, Any]:
    """Return what Ultralytics' own predict finds by a file, picture by picture."""
    from ultralytics import YOLO
    from ultralytics import __version__ as version

    found: dict[str, Any] = {"version": np.array(version)}
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(str(file), load_external_data=False).metadata_props}
    task = metadata.get("task", "detect")
    model = YOLO(str(file), task=task)
    imgsz = size[0] if len(set(size)) == 1 else list(size)
    for i, picture in enumerate(pictures):
        path = folder / f"picture{i}.png"
        cv2.imwrite(str(path), picture)
        options = {"imgsz": imgsz, "conf": 0.25, "iou": 0.7, "rect": False, "device": "cpu", "verbose": False}
        result = model(str(path), **options)[0]
        for kind in ("boxes", "obb", "keypoints", "masks", "probs"):
            value = getattr(result, kind, None)
            if value is None:
                continue
            data = value if isinstance(value, torch.Tensor) else value.data
            found[f"{i}.{kind}"] = data.cpu().numpy()
        path.unlink()
    return found


if __name__ == "__main__":
    main()
