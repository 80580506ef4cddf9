"""The page of all results and the contact sheets: what is on them, escaped, and written whole or not at all."""

from __future__ import annotations

import base64
import dataclasses
import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import UsageError, WriteError
from aerocam.runtime import Explainer, Explanation
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.results import sheet as results_sheet
from aerocam.runtime.results.page import SIDE, ResultsPage
from aerocam.runtime.results.page_parts import SCRIPT, STYLE
from aerocam.runtime.results.sheet import TILE, ResultsSheet
from runtime_fixtures import EVIL, noise, picture, renamed
from tiny_models import model

pytestmark = pytest.mark.runtime

RED = picture((64, 96), (16, 48, 32, 64))
VOID = {"meta", "img", "input", "br"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """A page as a list of its tags with their attributes, and its text; every tag must be closed in its place."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", [""]
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1] not in ("style", "script") else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def found() -> Explanation:
    with Explainer(model("stretch")) as explainer:
        return explainer(RED, ["red", "darkness"])


def test_what_is_on_the_page(found: Explanation, tmp_path: Path) -> None:
    files = found.save(tmp_path / "out", "red")
    Path("pictures").mkdir()
    Path("pictures/red one.png").touch()
    with ResultsPage(tmp_path / "page.html", {"Model": "tiny.onnx", "Method": "gradcam"}, Look(regions="otsu")) as page:
        page.add("pictures/red one.png", found, files)
        page.fail("bad.png", "it is not a picture")
        assert not (tmp_path / "page.html").exists()
    read = Page(tmp_path / "page.html")
    for text in (
        "aerocam: tiny.onnx",
        "gradcam",
        "1 explained, 1 not, 0 with a warning",
        "bad.png: it is not a picture",
    ):
        assert text in read.text
    assert "red 0.261" in read.text
    (region,) = found.regions()[0]
    assert f"region {', '.join(map(str, region.box))} ({region.area / (64 * 96):.1%})" in read.text
    assert read.text.count("no region") == 1
    assert [one["value"] for one in read.all("meter")] == [f"{one.score:.4f}" for one in found.classes]
    (card,) = read.all("article")
    assert (card["data-number"], card["data-warnings"]) == ("0", "0")
    assert float(card["data-score"] or 0) == pytest.approx(found.target.score, abs=1e-6)
    assert card["data-text"] == "pictures/red one.png red darkness red"
    assert [image["alt"] for image in read.all("img")] == [
        "Picture pictures/red one.png",
        "gradcam map for red over pictures/red one.png",
        "gradcam map for darkness over pictures/red one.png",
    ]
    links = [link["href"] for link in read.all("a")]
    ends = ["cam.png", "cam.1.png", "cam.2.png", "cam.json", "cam.npy"]
    assert links == [
        "pictures/red%20one.png",
        "out/red.cam.1.png",
        "out/red.cam.2.png",
        *(f"out/red.{e}" for e in ends),
    ]


def test_the_pictures_are_in_the_page(found: Explanation, tmp_path: Path) -> None:
    placement = dataclasses.replace(found.placement, frame_size=(640, 960))
    seen = dataclasses.replace(found.prediction, frame=cv2.resize(RED, (960, 640)), placement=placement)
    big = dataclasses.replace(found, prediction=seen)
    for name, explanation, size in (("small", found, (64, 96)), ("big", big, (round(SIDE * 2 / 3), SIDE))):
        with ResultsPage(tmp_path / "page.html", {}) as page:
            page.add(name, explanation, {})
        original, overlay, _ = Page(tmp_path / "page.html").all("img")
        assert (original["height"], original["width"]) == tuple(map(str, size))
        for image, expected in ((original, explanation.frame), (overlay, explanation.overlay(target=0, caption=False))):
            kind, _, data = (image["src"] or "").partition(",")
            assert kind == "data:image/jpeg;base64"
            decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
            assert decoded.shape[:2] == size
            wanted = cv2.resize(expected, size[::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(decoded.astype(int) - wanted).mean() < 6  # what JPEG loses


def test_names_are_text_and_nothing_else(found: Explanation, tmp_path: Path) -> None:
    with ResultsPage(tmp_path / "page.html", {"Model": EVIL, EVIL: EVIL}) as page:
        page.add(f"{EVIL}.png", renamed(found, EVIL), {"overlay": tmp_path / f"{EVIL.replace('/', '')}.png"})
        page.fail(EVIL, EVIL)
    read = Page(tmp_path / "page.html")
    assert len(read.all("script")) == 1
    assert read.text.count(EVIL) >= 10
    assert all(EVIL in (image["alt"] or "") for image in read.all("img"))
    assert (tmp_path / "page.html").read_text().count("<script>") == 1


def test_the_page_needs_no_network(found: Explanation, tmp_path: Path) -> None:
    with ResultsPage(tmp_path / "page.html", {}) as page:
        page.add("x.png", found, {})
    content = (tmp_path / "page.html").read_text()
    (policy,) = (one["content"] for one in Page(tmp_path / "page.html").all("meta") if one.get("http-equiv"))
    assert (policy or "").startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert not re.findall(r"(?:src|href)=\"(?:https?:|//)", content)
    assert "url(" not in STYLE
    assert "fetch" not in SCRIPT


def test_text_has_contrast() -> None:
    """WCAG 2: 4.5 to 1 for text, on both grounds, in both modes."""

    def luminance(colour: str) -> float:
        digits = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = re.findall(r"--(\w+): #(\w+);", STYLE)
    for mode in (dict(pairs[:7]), dict(pairs[7:])):
        assert len(mode) == 7
        for ground in ("paper", "card"):
            for ink in ("ink", "faint", "link", "alarm"):
                dark, light = sorted((luminance(mode[ground]), luminance(mode[ink])))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (mode, ground, ink)


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    with Explainer(model("nan")) as explainer, ResultsPage(tmp_path / "page.html", {}) as page:
        page.add("nan.png", explainer(RED), {})
    read = Page(tmp_path / "page.html")
    assert "not finite" in read.text
    assert "Warning: the explained score is not finite" in read.text
    assert read.all("article")[0]["data-score"] == "-1"
    assert {one["value"] for one in read.all("meter")} == {"0.0000"}


def test_a_gray_frame_and_a_detectors_box(tmp_path: Path) -> None:
    with Explainer(model("gray")) as gray, Explainer(model("detect")) as detect:
        one, two = gray(noise((40, 40))[:, :, 0]), detect(np.zeros((64, 64, 3), np.uint8), ("red", 5))
    with ResultsPage(tmp_path / "page.html", {}) as page, ResultsSheet(tmp_path / "sheet.png", ["top class"]) as sheet:
        for taker in (page, sheet):
            taker.add("gray.png", one, {})
            taker.add("two.png", two, {})
    assert two.target.box is not None
    assert "box " + ", ".join(f"{value:.0f}" for value in two.target.box) in Page(tmp_path / "page.html").text
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (6 + 26 + 186, 6 + 4 * 246, 3)


def test_an_odd_file_name(found: Explanation, tmp_path: Path) -> None:
    Path("caf\udce9 #1?.png").touch()
    with ResultsPage(tmp_path / "page.html", {}) as page:
        page.add("caf\udce9 #1?.png", found, {})
        page.add("away.png", found, {})
    read = Page(tmp_path / "page.html")
    assert [link["href"] for link in read.all("a")] == ["caf%E9%20%231%3F.png"]  # none to a file that is not there
    assert "caf? #1?.png" in read.text


def test_no_page_and_no_sheet_after_an_error(found: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), ResultsPage(tmp_path / "a.html", {}) as page:  # noqa: PT012
        page.add("x.png", found, {})
        raise ValueError("x")
    with pytest.raises(ValueError, match="x"), ResultsSheet(tmp_path / "a.png", ["a", "b"]) as sheet:  # noqa: PT012
        sheet.add("x.png", found, {})
        raise ValueError("x")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(WriteError, match="cannot write it"), ResultsPage(tmp_path / "folder.html", {}) as page:
        page.add("x.png", found, {})
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


def test_a_page_of_nothing(tmp_path: Path) -> None:
    with ResultsPage(tmp_path / "page.html", {}) as page:
        page.fail("-", "not a picture")
    read = Page(tmp_path / "page.html")
    assert "standard input: not a picture" in read.text
    assert "0 explained, 1 not, 0 with a warning" in read.text


def test_a_sheet(found: Explanation, tmp_path: Path) -> None:
    """Two targets, three tiles a picture; the tiles are the picture and the overlays, the texts at their bottoms."""
    with ResultsSheet(tmp_path / "sheets/all.png", ["red", "darkness"], Look(0.3, "turbo", regions=0.5)) as sheet:
        sheet.add("photos/red.png", found, {})
    (path,) = sheet.written
    shown = cv2.imread(str(path))
    assert shown.shape == (6 + 26 + 186, 6 + 3 * 246, 3)
    top, height = 32 + (180 - 160) // 2, 160
    pictures = [RED, *(found.overlay(0.3, "turbo", False, i, regions=0.5) for i in range(2))]
    for i, expected in enumerate(pictures):
        tile = shown[top : top + height, 6 + 246 * i : 246 + 246 * i]
        large = cv2.resize(expected, (240, height), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(tile[:120], large[:120])
        assert (tile[-12:] != large[-12:]).any()


def test_a_full_sheet_is_followed_by_another(
    found: Explanation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(results_sheet, "PICTURES", 4)
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)  # the command line switches it off
    caplog.set_level("INFO", "aerocam")
    with ResultsSheet("all.jpg", ["red", "darkness"]) as sheet:
        for number in range(9):
            sheet.add(f"{number}.png", found, {})
            assert len(sheet._tiles) <= 4
    assert [path.name for path in sheet.written] == ["all.jpg", "all-2.jpg", "all-3.jpg"]
    assert "contact sheet: all.jpg to all-3.jpg" in caplog.messages
    sizes = [cv2.imread(str(path)).shape[:2] for path in sheet.written]
    across = [6 + 3 * 246 * count for count in (2, 2, 1)]
    assert sizes == [(32 + rows * 186, width) for rows, width in zip((2, 2, 1), across, strict=True)]
    assert TILE == (180, 240)


@pytest.mark.parametrize("name", ["sheet", "sheet.xyz", "sheet.html"])
def test_a_sheet_in_no_known_format(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a picture such as sheet\.png"):
        ResultsSheet(tmp_path / name, ["a"])
