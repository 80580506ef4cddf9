"""Frames to tensors against an independent computation, and the way back from tensor to frame."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.preprocess import Placement, Preprocessor
from runtime_fixtures import noise, picture

pytestmark = pytest.mark.runtime

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def rule(size: tuple[int, int], resize: str = "stretch", **fields: object) -> Preprocess:
    return Preprocess("images", size, resize=resize, **fields)  # type: ignore[arg-type]


def normalised(rgb: np.ndarray, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> np.ndarray:
    """(x - mean) / std pixel by pixel, HWC to NCHW."""
    tensor = (rgb.astype(np.float64) - np.array(mean)) / np.array(std)
    return tensor.transpose(2, 0, 1)[None].astype(np.float32)


def test_without_resize_each_pixel_is_normalised_in_rgb() -> None:
    frame = noise((24, 40))
    tensor, _ = Preprocessor(rule((24, 40), mean=MEAN, std=STD))(frame)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, normalised(frame[:, :, ::-1]))


def test_one_pixel_by_hand() -> None:
    frame = np.full((2, 2, 3), (10, 20, 30), np.uint8)  # B, G, R
    tensor, _ = Preprocessor(rule((2, 2), mean=(1, 2, 3), std=(10, 20, 50)))(frame)
    np.testing.assert_allclose(tensor[0, :, 1, 1], [(30 - 1) / 10, (20 - 2) / 20, (10 - 3) / 50], rtol=1e-6)


def test_bgr_order() -> None:
    frame = noise((24, 40))
    tensor, _ = Preprocessor(rule((24, 40), color="BGR", mean=MEAN, std=STD))(frame)
    np.testing.assert_array_equal(tensor, normalised(frame))


@pytest.mark.parametrize("name", ["nearest", "linear", "cubic", "area"])
def test_stretch_interpolates_as_named(name: str) -> None:
    frame = noise((61, 97))
    tensor, place = Preprocessor(rule((32, 40), mean=MEAN, std=STD, interpolation=name))(frame)
    resized = cv2.resize(frame, (40, 32), interpolation=getattr(cv2, f"INTER_{name.upper()}"))
    np.testing.assert_array_equal(tensor, normalised(resized[:, :, ::-1]))
    assert place.region == (0, 0, 61, 97)


@pytest.mark.parametrize(
    ("frame_size", "resized", "offset"),
    [
        ((480, 640), (256, 341), (16, 58)),  # (341 - 224) / 2 = 58.5, rounded to even
        ((640, 480), (341, 256), (58, 16)),
        ((301, 257), (299, 256), (38, 16)),  # 256 * 301 // 257 = 299; 37.5 -> 38
        ((256, 256), (256, 256), (16, 16)),
    ],
)
def test_crop_as_torchvision(frame_size: tuple[int, int], resized: tuple[int, int], offset: tuple[int, int]) -> None:
    frame = noise(frame_size)
    settings = rule((224, 224), "crop", short_side=256, interpolation="cubic", mean=(127,) * 3, std=(128,) * 3)
    tensor, place = Preprocessor(settings)(frame)
    whole = cv2.resize(frame, resized[::-1], interpolation=cv2.INTER_CUBIC) if resized != frame_size else frame
    part = whole[offset[0] : offset[0] + 224, offset[1] : offset[1] + 224]
    np.testing.assert_array_equal(tensor, normalised(part[:, :, ::-1], (127,) * 3, (128,) * 3))
    assert (place.resized, place.offset) == (resized, (-offset[0], -offset[1]))


def test_a_frame_too_narrow_for_the_crop_is_refused() -> None:
    with pytest.raises(UsageError, match=r"frame of 100x100 px: .* 40x40, smaller than the centre crop of 48x32"):
        Preprocessor(rule((32, 48), "crop", short_side=40))(noise((100, 100)))


@pytest.mark.parametrize(
    ("frame_size", "inner", "offset"),
    [
        ((480, 640), (480, 640), (80, 0)),
        ((720, 1280), (360, 640), (140, 0)),
        ((1280, 719), (640, 360), (0, 140)),  # 359.5 -> 360
        ((333, 500), (426, 640), (107, 0)),
        ((335, 500), (429, 640), (105, 0)),  # 211 left: round(105.4) = 105 above, 106 below
    ],
)
def test_letterbox_as_ultralytics(frame_size: tuple[int, int], inner: tuple[int, int], offset: tuple[int, int]) -> None:
    frame = noise(frame_size)
    tensor, place = Preprocessor(rule((640, 640), "letterbox"))(frame)
    canvas = np.full((640, 640, 3), 114, np.uint8)
    small = cv2.resize(frame, inner[::-1], interpolation=cv2.INTER_LINEAR) if inner != frame_size else frame
    canvas[offset[0] : offset[0] + inner[0], offset[1] : offset[1] + inner[1]] = small
    np.testing.assert_array_equal(tensor, normalised(canvas[:, :, ::-1], (0,) * 3, (255,) * 3))
    assert place.region == (0, 0, *frame_size)


def test_gray_takes_gray_and_colour() -> None:
    frame = noise((32, 48))
    settings = rule((32, 48), color="GRAY", mean=(5.0,), std=(9.0,))
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    expected = ((gray.astype(np.float64) - 5) / 9).astype(np.float32)[None, None]
    preprocess = Preprocessor(settings)
    for given in (frame, gray, gray[:, :, None]):
        np.testing.assert_array_equal(preprocess(given)[0], expected)


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8), np.uint8), r"got uint8 \(8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), r"got float32 \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"got uint8 \(0, 8, 3\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"got uint8 \(1, 8, 8, 3\)"),
    ],
)
def test_a_wrong_frame_is_refused(frame: np.ndarray, found: str) -> None:
    with pytest.raises(UsageError, match=rf"{found}, expected uint8 or uint16 \(H, W, 3\) in BGR; "):
        Preprocessor(rule((8, 8)))(frame)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_no_trace_of_the_frame_before(resize: str) -> None:
    settings = rule((32, 48), resize, short_side=48)
    reused = Preprocessor(settings)
    for seed, size in enumerate([(90, 120), (90, 120), (100, 70), (64, 200)]):
        frame = noise(size, seed)
        if resize == "crop" and size == (100, 70):
            frame = noise((71, 111), seed)
        np.testing.assert_array_equal(reused(frame)[0], Preprocessor(settings)(frame)[0])


def test_the_frame_is_not_changed() -> None:
    frame = noise((50, 60))
    before = frame.copy()
    Preprocessor(rule((32, 32), "letterbox"))(frame)
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(333, 501), (501, 333), (97, 211)])
def test_a_peak_goes_back_to_its_pixel(resize: str, size: tuple[int, int]) -> None:
    """Put a spot in the frame, find it in the tensor, and put a map with that peak back into the frame."""
    settings = rule((64, 64), resize, short_side=72, interpolation="area", fill=0)
    row, column = size[0] // 2 - 11, size[1] // 2 + 17
    tensor, place = Preprocessor(settings)(picture(size, (row - 6, column - 6, row + 7, column + 7)))
    back = place.place(tensor[0, 0].copy())
    assert back.shape == size
    rows, columns = np.nonzero(back > 0.5 * back.max())
    tolerance = max(size) / 64  # one pixel of the tensor
    assert abs(rows.mean() - row) < tolerance / 2
    assert abs(columns.mean() - column) < tolerance / 2
    weights = back / back.sum()
    assert abs((weights.sum(axis=1) * np.arange(size[0])).sum() - row) < 0.75
    assert abs((weights.sum(axis=0) * np.arange(size[1])).sum() - column) < 0.75


def test_outside_the_crop_the_map_is_zero() -> None:
    place = Placement.of(rule((224, 224), "crop", short_side=256), (720, 1280))
    # 1280 * 256 // 720 = 455; left = round(115.5) = 116; 116 * 1280 / 455 = 326.3, 340 * 1280 / 455 = 956.5
    assert place.region == (45, 326, 675, 956)
    back = place.place(np.ones((224, 224), np.float32))
    assert back[45:675, 326:956].min() == 1
    assert back.sum() == 630 * 630


def test_letterbox_padding_is_cut_away() -> None:
    place = Placement.of(rule((64, 64), "letterbox"), (90, 180))
    tensor_map = np.ones((64, 64), np.float32)
    tensor_map[16:48] = 0.25
    assert (place.place(tensor_map) == 0.25).all()


def test_boxes_go_back_and_are_cut_to_the_frame() -> None:
    place = Placement.of(rule((640, 640), "letterbox"), (720, 1280))
    assert place.to_frame((100.0, 200.0, 300.0, 400.0)) == (200.0, 120.0, 600.0, 520.0)
    assert place.to_frame((-5.0, 100.0, 700.0, 600.0)) == (0.0, 0.0, 1280.0, 720.0)
    crop = Placement.of(rule((224, 224), "crop", short_side=256), (512, 1024))
    assert crop.to_frame((0.0, 0.0, 224.0, 112.0)) == (288.0, 32.0, 736.0, 256.0)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
def test_channels_last_are_the_same_numbers(color: str, resize: str) -> None:
    count = 1 if color == "GRAY" else 3
    settings = rule((32, 48), resize, short_side=48, color=color, mean=MEAN[:count], std=STD[:count])
    first, last = Preprocessor(settings), Preprocessor(dataclasses.replace(settings, layout="NHWC"))
    for seed, size in enumerate([(90, 120), (71, 111)]):
        frame = noise(size, seed)
        (expected, place), (found, same_place) = first(frame), last(frame)
        assert found.shape == (1, 32, 48, count)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))
        assert place == same_place


def test_channels_last_by_hand() -> None:
    frame = np.full((2, 2, 3), (10, 20, 30), np.uint8)  # B, G, R
    tensor, _ = Preprocessor(rule((2, 2), mean=(1, 2, 3), std=(10, 20, 50), layout="NHWC"))(frame)
    np.testing.assert_allclose(tensor[0, 1, 0], [(30 - 1) / 10, (20 - 2) / 20, (10 - 3) / 50], rtol=1e-6)
