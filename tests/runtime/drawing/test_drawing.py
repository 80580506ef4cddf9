"""What an overlay draws of targets and regions, and what `save` and the record say of them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.runtime import Explainer, Explanation, find_regions
from aerocam.runtime.drawing.overlay import PALETTE, Annotation, draw_outline, draw_tag, draw_targets
from runtime_fixtures import picture
from tiny_models import model

pytestmark = pytest.mark.runtime

SQUARES = picture((64, 96), (16, 48, 32, 64)) + picture((64, 96), (40, 8, 56, 24), 1)
"""A red square above on the right, a green one below on the left."""


@pytest.fixture(scope="module")
def found() -> Explanation:
    with Explainer(model("stretch")) as explainer:
        return explainer(SQUARES, ["red", "green", "blue"])


def lab(colours: np.ndarray) -> np.ndarray:
    """BGR colours (n, 3) as CIE Lab."""
    return cv2.cvtColor((colours / 255).astype(np.float32)[None], cv2.COLOR_BGR2LAB)[0]


def has(picture: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """Where a picture has exactly this colour."""
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def test_the_palette_is_off_the_scale_and_each_colour_is_its_own() -> None:
    """Lab distances; 2 is what one just sees, 100 is black against white."""
    tints = lab(np.array(PALETTE, np.float64))
    for a, b in combinations(tints, 2):
        assert np.linalg.norm(a - b) > 22
    for name in (cv2.COLORMAP_JET, cv2.COLORMAP_TURBO):
        scale = lab(cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], name)[:, 0].astype(np.float64))
        assert np.linalg.norm(tints[:, None] - scale, axis=2).min() > 20


def test_an_outline_lies_on_the_regions_edge() -> None:
    values = np.zeros((60, 80), np.float32)
    values[20:40, 30:60] = 1
    (region,) = find_regions(values)
    frame = np.full((60, 80, 3), 128, np.uint8)
    draw_outline(frame, region, PALETTE[1])
    edge = np.zeros((60, 80), bool)
    edge[20:40, 30:60] = True
    edge[21:39, 31:59] = False
    np.testing.assert_array_equal(has(frame, PALETTE[1]), edge)
    dark = has(frame, (0, 0, 0))
    assert dark[19, 40]
    assert dark[21, 40]
    assert frame[30, 45].tolist() == [128] * 3


def test_several_targets_have_boxes_and_tags_of_their_own_colour() -> None:
    frame = np.full((200, 300, 3), 128, np.uint8)
    draw_targets(
        frame,
        [Annotation("cat 0.9", PALETTE[0], (20, 60, 100, 150)), Annotation("dog", PALETTE[1], (150, 80, 280, 190))],
    )
    for colour, (x0, y0, x1, y1) in zip(PALETTE, ((20, 60, 100, 150), (150, 80, 280, 190)), strict=False):
        assert has(frame, colour)[y0, x0 + 60 : x1].all()
        assert has(frame, colour)[y0 + 5 : y1, x1].all()
        tag = frame[y0 - 12 : y0 - 2, x0 + 1 : x0 + 30].reshape(-1, 3).astype(int)
        assert tag.min() == 0
        brightest = tag[tag.sum(axis=1).argmax()]  # of letters that are thinner than a px
        np.testing.assert_allclose(brightest / brightest.max(), np.array(colour) / max(colour), atol=0.1)
    assert frame[198, 5].tolist() == [128] * 3  # no caption


def test_tags_do_not_cover_each_other() -> None:
    frame = np.full((200, 300, 3), 128, np.uint8)
    places: list[tuple[float, float, float, float]] = []
    for corner in ((50, 60), (60, 62), (55, 50), (200, 60), (55, 65), (50, 60)):
        places.append(draw_tag(frame, "football", corner, PALETTE[0], places))
    for a, b in combinations(places, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert places[0][:2] == pytest.approx((50, 60 - (places[0][3] - places[0][1])))
    assert places[3][0] == 200


def test_a_detectors_box_goes_before_the_regions() -> None:
    values = np.zeros((200, 300), np.float32)
    values[50:100, 50:100] = 1
    found = find_regions(values)
    alone, boxed = (np.full((200, 300, 3), 128, np.uint8) for _ in range(2))
    draw_targets(alone, [Annotation("a", PALETTE[0], None, found)], text=False)
    draw_targets(boxed, [Annotation("a", PALETTE[0], (20, 20, 150, 150), found)], text=False)
    assert has(alone, PALETTE[0])[50, 50:100].all()
    assert has(alone, PALETTE[0])[99, 50:100].all()
    assert not has(alone, PALETTE[0])[:49].any()
    assert has(boxed, PALETTE[0])[20, 20:151].all()
    assert has(boxed, PALETTE[0])[50, 50:100].all()


def test_regions_of_an_explanation(found: Explanation) -> None:
    """Patches are 4 px of 32 x 48, so 8 px of the frame: the squares are two patches wide."""
    red, green, blue = found.regions()
    assert blue == []
    for region, (top, left, bottom, right) in ((red[0], (16, 48, 32, 64)), (green[0], (40, 8, 56, 24))):
        assert region.box == pytest.approx((left, top, right, bottom), abs=3)
        assert region.mask[top + 2 : bottom - 2, left + 2 : right - 2].all()
        assert region.mask.shape == (64, 96)
    assert found.regions()[0] is red
    np.testing.assert_array_equal(red[0].mask, find_regions(found.map[0])[0].mask)
    assert found.regions(0.9)[0][0].area < red[0].area < found.regions(0.05)[0][0].area
    with pytest.raises(UsageError, match="`regions='otsi'`"):
        found.regions("otsi")  # type: ignore[arg-type]


def test_regions_count_only_what_the_model_sees() -> None:
    with Explainer(model("crop")) as explainer:
        crop = explainer(SQUARES)
    seen = crop.placement.region
    np.testing.assert_array_equal(crop.regions()[0][0].mask, find_regions(crop.map[0], within=seen)[0].mask)


def test_an_overlay_with_regions(found: Explanation) -> None:
    plain = found.overlay(caption=False)
    every = found.overlay(caption=False, regions="otsu")
    alone = found.overlay(caption=False, regions="otsu", target=1)
    np.testing.assert_array_equal(found.overlay(caption=False, regions=None), plain)
    (red,), (green,), _ = found.regions()
    for region, colour, shown in ((red, PALETTE[0], every), (green, PALETTE[1], every), (green, PALETTE[1], alone)):
        x0, y0, x1, y1 = region.box
        assert has(shown, colour)[y0, x0:x1].all()
        assert has(shown, colour)[y1 - 1, x0:x1].all()
        assert has(shown, colour)[y0:y1, x0].all()
        assert has(shown, colour)[y0:y1, x1 - 1].all()
    assert not has(alone, PALETTE[0]).any()
    captioned = found.overlay(regions="otsu")  # blue has no region: it alone is in the caption
    assert (captioned[-5:] != every[-5:]).any()


def test_one_target_has_its_caption_below_with_regions_too(found: Explanation) -> None:
    with Explainer(model("stretch")) as explainer:
        one = explainer(SQUARES, "red")
    strip = one.overlay(regions=0.5)[-6:]
    np.testing.assert_array_equal(strip, one.overlay()[-6:])


def test_save_writes_an_overlay_for_each_target(found: Explanation, tmp_path: Path) -> None:
    paths = found.save(tmp_path, "x", regions=0.5)
    names = ["x.cam.png", "x.cam.1.png", "x.cam.2.png", "x.cam.3.png", "x.cam.json", "x.cam.npy"]
    assert [path.name for path in paths.values()] == names
    assert list(paths) == ["overlay", "overlay.1", "overlay.2", "overlay.3", "record", "raw"]
    np.testing.assert_array_equal(cv2.imread(str(paths["overlay"])), found.overlay(regions=0.5))
    np.testing.assert_array_equal(cv2.imread(str(paths["overlay.2"])), found.overlay(target=1, regions=0.5))
    assert np.load(paths["raw"]).shape == (3, 8, 12)
    record = json.loads(paths["record"].read_text())
    assert record["region_rule"] == 0.5
    assert [len(target["regions"]) for target in record["targets"]] == [1, 1, 0]
    (region,) = record["targets"][1]["regions"]
    (green,) = found.regions(0.5)[1]
    assert (region["box"], region["area"]) == (list(green.box), green.area)
    assert region["polygons"] == green.record()["polygons"]
    x, y = region["polygons"][0][0]
    assert f"[{x}, {y}]" in paths["record"].read_text()  # a point is on one line


def test_a_record_has_regions_only_where_they_are_asked_for(found: Explanation) -> None:
    plain = found.record()
    assert "region_rule" not in plain
    assert all("regions" not in target for target in plain["targets"])


def test_a_detectors_boxes_in_colour() -> None:
    with Explainer(model("detect")) as explainer:
        found = explainer(np.zeros((64, 64, 3), np.uint8), [("red", 5), ("green", 10)])
    shown = found.overlay(caption=False, boxes=True)
    for target, colour in zip(found.targets, PALETTE, strict=False):
        assert target.box is not None
        x0, y0, x1, y1 = (round(value) for value in target.box)
        assert has(shown, colour)[y0 : y1 + 1, x1].all()
        assert has(shown, colour)[y1, x0 : x1 + 1].all()
    np.testing.assert_array_equal(found.overlay(caption=False)[0, 0], shown[0, 0])
    assert not has(found.overlay(caption=False), PALETTE[1]).any()
