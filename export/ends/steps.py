"""The fused ends step by step, in NumPy and float64: what the self-check compares the graph with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aerocam.export.ends.frame_in import GRAY_SCALE, GRAY_WEIGHTS
from aerocam.export.ends.interpolation import Resize, resize, resize_floats
from aerocam.export.ends.overlay_out import ALPHA, jet
from aerocam.geometry import Geometry
from aerocam.manifest import Preprocess
from aerocam.methods import EPSILON, find

Floats = NDArray[np.float64]


def tensor_of(frame: NDArray[np.uint8], preprocess: Preprocess) -> Floats:
    """Return a frame, uint8 (H, W, 3) in BGR, as the model's input tensor."""
    picture = frame.astype(np.float64)
    if preprocess.color == "GRAY":
        picture = np.floor(picture @ np.array(GRAY_WEIGHTS)[:, None] / GRAY_SCALE + 0.5)
    geometry = Geometry.of(preprocess, picture.shape[:2])  # type: ignore[arg-type]
    picture = resized(picture, resize(geometry.frame_size, geometry.resized, preprocess.interpolation))
    canvas = np.full((*preprocess.size, picture.shape[2]), float(preprocess.fill))
    top, left, bottom, right = geometry.seen
    above, before = geometry.offset
    canvas[top:bottom, left:right] = picture[top - above : bottom - above, left - before : right - before]
    channels = canvas[..., ::-1] if preprocess.color == "RGB" else canvas
    tensor = ((channels - np.array(preprocess.mean)) / np.array(preprocess.std))[None]
    return tensor if preprocess.layout == "NHWC" else tensor.transpose(0, 3, 1, 2)


def resized(picture: Floats, how: Resize) -> Floats:
    """Return a picture (H, W, C) resized, in whole grey levels."""
    along = np.einsum("wW,HWC->HwC", how.columns, picture, optimize=True)
    if how.linear is None:
        return np.clip(np.rint(np.einsum("hH,HwC->hwC", how.rows, along, optimize=True)), 0, 255)
    sums = np.floor(along * 128)
    taps = zip(*how.linear, strict=True)
    whole = sum(np.floor(sums[places] * weights[:, None, None] / 32) for places, weights in taps)
    return np.floor(whole / 4 + 0.5)


def maps_of(raw: Floats, method: str, size: tuple[int, int] | None = None) -> Floats:
    """Bring raw maps (T, h, w) to [0, 1]: at their own size, or then resized to another and normalised anew."""
    lowest = raw.min(axis=(1, 2), keepdims=True)
    normalised = _normalised(raw - lowest if find(method).normalisation == "span" else np.maximum(raw, 0), method)
    return normalised if size is None else _normalised(_linear(normalised, size), method)


def placed(maps: Floats, geometry: Geometry) -> Floats:
    """Return maps over the tensor as maps over the frame, (T, H, W)."""
    (top, left, bottom, right), (y0, x0, y1, x1) = geometry.seen, geometry.region
    whole = np.zeros((len(maps), *geometry.frame_size))
    whole[:, y0:y1, x0:x1] = _linear(maps[:, top:bottom, left:right], (y1 - y0, x1 - x0))
    return whole


def overlaid(frame: NDArray[np.uint8], maps: Floats, geometry: Geometry) -> Floats:
    """Draw the strongest of maps over the tensor over the frame; return (H, W, 3) in BGR, whole grey levels."""
    (top, left, bottom, right), (y0, x0, y1, x1) = geometry.seen, geometry.region
    levels = np.rint(255 * maps.max(axis=0)[top:bottom, left:right, None])
    levels = resized(levels, resize(levels.shape[:2], (y1 - y0, x1 - x0), "linear"))  # type: ignore[arg-type]
    picture = frame.astype(np.float64)
    picture[y0:y1, x0:x1] = np.rint(ALPHA * jet(levels[..., 0]) + (1 - ALPHA) * picture[y0:y1, x0:x1])
    return picture


def _linear(maps: Floats, size: tuple[int, int]) -> Floats:
    how = resize_floats(maps.shape[1:], size)  # type: ignore[arg-type]
    return how.rows @ maps @ how.columns.T


def _normalised(maps: Floats, method: str) -> Floats:
    peak = maps.max(axis=(1, 2), keepdims=True)
    if find(method).normalisation == "max":
        return maps / np.where(peak > 0, peak, 1)
    low = maps.min(axis=(1, 2), keepdims=True)
    return (maps - low) / (peak - low + EPSILON)
