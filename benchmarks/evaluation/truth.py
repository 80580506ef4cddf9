"""What is known of a picture, moved to the model's input tensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Truth
from aerocam.benchmarks.evaluation.metrics.grid import cell_window
from aerocam.benchmarks.evaluation.pictures import Sample
from aerocam.errors import MediaError, UsageError, did_you_mean
from aerocam.geometry import Box
from aerocam.manifest import Manifest
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.pictures import MOST_PIXELS, read_picture
from aerocam.runtime.frames.preprocess import Placement


def placed(sample: Sample, place: Placement, max_pixels: int = MOST_PIXELS) -> Truth:
    """Move a sample's boxes and mask to the input tensor; those outside of what the model sees are dropped.

    A target with a mask and no boxes has the box around its mask; one of a mosaic, with neither, has its cell as both.

    Raises:
        MediaError: The mask cannot be read, has another size than the picture, or more levels than two.
        UsageError: The cells of a mosaic are not equal parts of what the model sees.
    """
    if sample.cells:
        _check_cells(sample.cells, place)
    boxes = tuple(place.to_tensor(box) for box in sample.boxes)
    boxes = tuple(box for box in boxes if box[0] < box[2] and box[1] < box[3])
    mask = _mask(sample, place, max_pixels) if sample.mask else None
    if sample.cells and not sample.boxes and not sample.mask:
        mask = np.zeros(place.tensor_size, np.bool_)
        mask[cell_window(mask.shape, sample.cells, sample.cell)] = True
    if mask is not None and not sample.boxes:
        boxes = (_around(mask),)
    return Truth(boxes, mask, sample.cells, sample.cell)


def _check_cells(cells: int, place: Placement) -> None:
    """Check that the borders between cells are where `grid.cell_window` looks for them, to a px.

    Raises:
        UsageError: The borders lie elsewhere: the picture is cropped or padded.
    """
    sides = zip(place.resized, place.tensor_size, place.offset, strict=True)
    apart = [abs(k * (size - whole) / cells + start) for size, whole, start in sides for k in range(1, cells)]
    if max(apart, default=0) > 1:
        raise UsageError(
            f"mosaic: cropped or padded to the model's input its cells are {max(apart):.0f} px from where they are"
            " expected; export the model with --resize stretch"
        )


def _around(mask: NDArray[np.bool_]) -> Box:
    """Return the box around a mask that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _mask(sample: Sample, place: Placement, max_pixels: int) -> NDArray[np.bool_] | None:
    """Return the mask over the tensor: of a tensor px at least half is object; None if the model sees none of it."""
    picture = read_picture(sample.mask, max_pixels=max_pixels)
    there = picture.any(axis=2)
    if (picture[there] != picture[there][:1]).any():
        raise MediaError(
            f"{sample.mask}: found a mask of more than two levels, expected black and one other; save it as PNG, in two"
            " levels, as cv2.threshold makes them"
        )
    shares = there.astype(np.float32)
    if shares.shape != place.frame_size:
        (height, width), (h, w) = place.frame_size, shares.shape
        raise MediaError(f"{sample.mask}: the mask is {w}x{h} px, {width}x{height} as the picture is expected")
    resized = cv2.resize(shares, (place.resized[1], place.resized[0]), interpolation=cv2.INTER_AREA) >= 0.5
    whole = np.zeros(place.tensor_size, np.bool_)
    (top, left), (y0, x0, y1, x1) = place.offset, place.seen
    whole[y0:y1, x0:x1] = resized[y0 - top : y1 - top, x0 - left : x1 - left]
    return whole if whole.any() else None


def classes_of(sample: Sample, manifest: Manifest, probabilities: NDArray[np.float32]) -> tuple[int, int]:
    """Return the target and a second plausible class: the second label, else the best other class; -1 if there is none.

    Raises:
        UsageError: The model does not have a label.
    """
    labelled = [_index(label, manifest) for label in sample.labels]
    order = [int(one) for one in np.argsort(-probabilities, kind="stable")]
    target = labelled[0] if labelled else order[0]
    others = [one for one in [*labelled[1:], *order] if one != target]
    return target, others[0] if others else -1


def _index(label: int | str, manifest: Manifest) -> int:
    """Return the index of a class by index or name."""
    classes = manifest.score.classes
    if isinstance(label, int):
        if not 0 <= label < classes:
            raise UsageError(f"label {label}: the model has classes 0 to {classes - 1}; correct the label")
        return label
    indices = [index for index, name in enumerate(manifest.labels) if name == label]
    if len(indices) == 1:
        return indices[0]
    if indices:
        raise UsageError(f"label '{label}': classes {indices} of the model have this name; give the index")
    if not manifest.labels:
        raise UsageError(f"label '{label}': the model carries no class names; give the index")
    raise UsageError(f"label '{label}': the model has no such class. {did_you_mean(label, manifest.labels)}")
