"""Antialiased resizing against Pillow's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aerocam.runtime.frames.antialiased import AntialiasedResize

GOLDEN = np.load(Path(__file__).parents[2] / "golden/preprocessing/transforms.npz")
RESIZES = [name for name in GOLDEN.files if " to " in name]


def resize_of(name: str, part: slice = slice(None)) -> tuple[AntialiasedResize, np.ndarray]:
    sizes, kernel = name.rsplit(" ", 1)
    source, target = (tuple(map(int, size.split("x"))) for size in sizes.split(" to "))
    top, bottom, _ = part.indices(target[0])
    way = AntialiasedResize(source, target, f"pil-{kernel}", (top, 0, bottom, target[1]))  # type: ignore[arg-type]
    return way, np.random.default_rng(source[0]).integers(0, 256, (*source, 3), np.uint8)


@pytest.mark.runtime
@pytest.mark.parametrize("name", RESIZES)
def test_pillow_s_grey_levels(name: str) -> None:
    way, frame = resize_of(name)
    np.testing.assert_array_equal(way(frame), GOLDEN[name])


@pytest.mark.runtime
def test_a_part_is_that_of_the_whole() -> None:
    name, part = RESIZES[1], slice(5, 20)
    (way, frame), (whole, _) = resize_of(name, part), resize_of(name)
    np.testing.assert_array_equal(way(frame), whole(frame)[part])


@pytest.mark.runtime
def test_floats_and_any_number_of_channels_are_resized_alike_and_not_rounded() -> None:
    way, frame = resize_of(RESIZES[0])
    floats = np.dstack([frame, frame, frame, frame]).astype(np.float32) / 255  # 12 channels: OpenCV transposes 8
    resized = way(floats)
    assert np.abs(resized[..., 3:6] * 255 - GOLDEN[RESIZES[0]]).max() < 1.01
    assert len(np.unique(resized)) > 256
    grey = way(floats[..., 4])
    np.testing.assert_allclose(grey, resized[..., 4], rtol=1e-5)
