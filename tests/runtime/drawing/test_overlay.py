"""The overlay, pixel by pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.runtime.drawing.overlay import (
    Annotation,
    ascii_text,
    check_style,
    draw_box,
    draw_caption,
    draw_targets,
    overlay_map,
)
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime


def colours(name: str) -> np.ndarray:
    """The 256 colours of a map, (256, 3) BGR."""
    code = getattr(cv2, f"COLORMAP_{name.upper()}")
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)[:, 0].astype(np.float64)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", ["jet", "turbo", "viridis"])
def test_blend_of_every_pixel(alpha: float, name: str) -> None:
    frame = noise((40, 60))
    saliency = np.random.default_rng(1).random((40, 60), np.float32)
    result = overlay_map(frame, saliency, alpha=alpha, colormap=name)
    expected = alpha * colours(name)[np.rint(255 * saliency).astype(int)] + (1 - alpha) * frame
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 0.5 + 1e-4


def test_default_is_half_jet() -> None:
    frame = np.full((2, 2, 3), 100, np.uint8)
    result = overlay_map(frame, np.array([[0, 1], [0, 1]], np.float32))
    assert result[0, 0].tolist() == [114, 50, 50]  # JET begins at (128, 0, 0), BGR
    assert result[0, 1].tolist() == [50, 50, 114]  # and ends at (0, 0, 128)


def test_the_map_is_resized_to_the_frame() -> None:
    frame = np.zeros((30, 50, 3), np.uint8)
    saliency = np.random.default_rng(2).random((6, 10), np.float32)
    levels = cv2.resize(np.rint(saliency * 255).astype(np.uint8), (50, 30), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(overlay_map(frame, saliency, alpha=1), colours("jet")[levels])


def test_outside_the_region_the_frame_stays() -> None:
    frame = noise((40, 60))
    result = overlay_map(frame, np.ones((5, 5), np.float32), alpha=1, region=(10, 20, 30, 45))
    inside = np.zeros((40, 60), bool)
    inside[10:30, 20:45] = True
    assert (result[inside] == [0, 0, 128]).all()
    np.testing.assert_array_equal(result[~inside], frame[~inside])


def test_brightness_does_not_depend_on_the_rest_of_the_frame() -> None:
    """The usual overlay divides by the brightest pixel, so that a lamp at the edge dims the whole picture."""
    frame = np.full((20, 20, 3), 60, np.uint8)
    saliency = np.full((20, 20), 0.4, np.float32)
    lamp = frame.copy()
    lamp[0, 0] = 255
    np.testing.assert_array_equal(overlay_map(frame, saliency)[5:], overlay_map(lamp, saliency)[5:])


def test_the_frame_is_not_changed() -> None:
    frame = noise((16, 16))
    before = frame.copy()
    overlay_map(frame, np.ones((4, 4), np.float32))
    overlay_map(frame, np.ones((4, 4), np.float32), region=(0, 0, 8, 8))
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_weight_that_cannot_be(alpha: float) -> None:
    with pytest.raises(UsageError, match="expected a weight from 0"):
        check_style(alpha, "jet")


def test_an_unknown_colour_map_has_close_matches() -> None:
    with pytest.raises(UsageError, match="Did you mean 'turbo'"):
        check_style(0.5, "turbos")
    check_style(0.5, "TURBO")


@pytest.mark.parametrize("size", [(720, 1280), (64, 96), (20, 20), (4, 4)])
def test_caption_is_legible_and_only_at_the_bottom(size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 255, np.uint8)  # the worst case: white text on a white frame
    draw_caption(frame, "football helmet 0.16")
    rows = np.nonzero((frame != 255).any(axis=(1, 2)))[0]
    assert rows.max() == size[0] - 1
    if size[0] > 60:
        assert rows.min() > 0.6 * size[0]
        strip = frame[rows.min() :]
        assert strip.min() == 76  # 0.3 * 255
        assert (strip > 200).any()


def test_a_long_caption_fits_in_the_width() -> None:
    frame = np.full((200, 150, 3), 255, np.uint8)
    draw_caption(frame, "a very long class name indeed, with many synonyms, 0.99")
    strip = frame[np.nonzero((frame != 255).any(axis=(1, 2)))[0].min() :]
    assert (strip[:, -2:] == 76).all()  # no text at the right edge


def test_letters_that_opencv_has_not() -> None:
    assert ascii_text("café Ångström 0.5") == "cafe Angstrom 0.5"
    assert ascii_text("猫 0.5") == "? 0.5"


def test_box() -> None:
    frame = np.full((50, 50, 3), 128, np.uint8)
    draw_box(frame, (10.2, 12.4, 30.0, 40.0))
    assert frame[12, 20].tolist() == [255, 255, 255]
    assert frame[11, 20].tolist() == [0, 0, 0]
    assert frame[25, 20].tolist() == [128, 128, 128]


def test_a_rotated_box_and_keypoints_are_drawn_where_they_are() -> None:
    """The polygon in place of the box; of the keypoints those that the model is sure of, or says nothing of."""
    picture = np.zeros((60, 60, 3), np.uint8)
    colour, polygon = (10, 20, 30), ((30.0, 5.0), (55.0, 30.0), (30.0, 55.0), (5.0, 30.0))
    keypoints = ((20.0, 30.0, 0.9), (40.0, 30.0, 0.4), (30.0, 40.0))
    target = Annotation("", colour, (5.0, 5.0, 55.0, 55.0), polygon=polygon, keypoints=keypoints)
    draw_targets(picture, [target], text=False)
    drawn = (picture == colour).all(axis=2)
    assert drawn[[5, 30, 55, 30, 17], [30, 55, 30, 5, 43]].tolist() == [True, True, True, True, False]
    assert drawn[18, 43]  # between the upper and the right corner
    assert not drawn[5, 5]
    assert drawn[[30, 30, 40], [20, 40, 30]].tolist() == [True, False, True]
