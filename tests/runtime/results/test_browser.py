"""What is written works in a browser, Chromium, driven by ChromeDriver's own HTTP interface: video and results page."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.runtime import Explainer, VideoSink
from aerocam.runtime.results.page import ResultsPage
from runtime_fixtures import EVIL, picture, renamed
from tiny_models import model

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
)
PAGE = "<video id=v src='{name}' muted autoplay></video>"
STATE = "const v=document.getElementById('v');return [v.ended, v.error&&v.error.message, v.duration, v.videoWidth]"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DRIVER and BROWSER), reason="needs Chromium and ChromeDriver (Debian: chromium-driver)"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that sends one WebDriver command to a fresh browser."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def send(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    try:
        for _ in range(100):
            try:
                send("GET", "/status")
                break
            except OSError:
                time.sleep(0.1)
        flags = [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]
        options = {"goog:chromeOptions": {"binary": BROWSER, "args": flags}}
        session = "/session/" + send("POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        yield lambda method, path, body=None: send(method, session + path, body)
        send("DELETE", session)
    finally:
        driver.terminate()
        driver.wait(10)


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_written_video_plays_to_its_end(browser: Any, tmp_path: Path, suffix: str) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av", reason="H.264 needs PyAV")
    video = tmp_path / f"flight{suffix}"
    with VideoSink(video, (96, 128), 25.0) as sink:
        for i in range(25):
            sink.write(np.full((96, 128, 3), 10 * i, np.uint8))
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(name=video.name))
    browser("POST", "/url", {"url": page.as_uri()})
    deadline = time.monotonic() + 20
    ended, error, duration, width = False, None, None, None
    while time.monotonic() < deadline and not ended and not error:
        time.sleep(0.2)
        ended, error, duration, width = browser("POST", "/execute/sync", {"script": STATE, "args": []})
    assert error is None
    assert ended
    assert duration == pytest.approx(1.0, abs=0.1)
    assert width == 128


TAB = "\ue004"
LOADED = "return [...document.images].every(one => one.complete && one.naturalWidth > 0)"
CARDS = "return [...document.querySelectorAll('article:not([hidden]) h2')].map(one => one.textContent)"
ORDER = "const s=document.getElementById('sort'); s.value=arguments[0]; s.dispatchEvent(new Event('change'))"
FOCUS = "return document.activeElement.id || document.activeElement.getAttribute('href')"


@pytest.fixture
def page(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A page of five pictures, open from the disk; a function that runs JavaScript in it."""
    monkeypatch.chdir(tmp_path)
    squares = {"b.png": (0, 2, 200), "a.png": (16, 1, 255), "d.png": (32, 1, 90), "c.png": (8, 0, 230)}
    with Explainer(model("stretch")) as explainer, ResultsPage(tmp_path / "my page.html", {"Model": "tiny"}) as page:
        for name, (left, channel, bright) in squares.items():
            frame = picture((64, 96), (16, left, 48, left + 32), channel) // 255 * np.uint8(bright)
            explanation = explainer(frame)
            Path(name).touch()
            page.add(name, explanation, explanation.save(tmp_path / "out", Path(name).stem))
        page.add("evil.png", renamed(explainer(np.zeros((64, 96, 3), np.uint8)), EVIL), {})
        page.fail("bad.png", EVIL)
    browser("POST", "/url", {"url": (tmp_path / "my page.html").as_uri()})
    return lambda script, *arguments: browser("POST", "/execute/sync", {"script": script, "args": list(arguments)})


def keys(browser: Any, text: str) -> None:
    """Type into what has the focus."""
    element = next(iter(browser("GET", "/element/active").values()))
    browser("POST", f"/element/{element}/value", {"text": text})


def test_the_page_opens_from_the_disk(page: Any) -> None:
    assert page("return location.protocol") == "file:"
    assert page(LOADED)
    assert page("return document.images.length") == 10
    assert (
        page("return performance.getEntriesByType('resource').filter(one => !one.name.startsWith('data:')).length") == 0
    )
    assert page("return getComputedStyle(document.body).margin") != "8px"  # the style is applied
    assert page("return document.scripts.length") == 1
    assert EVIL in page("return document.querySelector('.warning').innerText")


def test_filter_by_class_and_order_by_score(page: Any, browser: Any) -> None:
    assert page(CARDS) == ["b.png", "a.png", "d.png", "c.png", "evil.png"]
    keys(browser, TAB)
    assert page(FOCUS) == "filter"  # the keyboard gets there first
    keys(browser, "GREEN")
    assert page(CARDS) == ["a.png", "d.png"]
    assert page("return document.getElementById('shown').textContent") == "2 of 5 pictures"
    page(ORDER, "low")
    assert page(CARDS) == ["d.png", "a.png"]
    keys(browser, " d.p")
    assert page(CARDS) == ["d.png"]
    page("const f=document.getElementById('filter'); f.value='<script>'; f.dispatchEvent(new Event('input'))")
    assert page(CARDS) == ["evil.png"]
    page("const f=document.getElementById('filter'); f.value=''; f.dispatchEvent(new Event('input'))")
    page(ORDER, "high")
    scores = page("return [...document.querySelectorAll('article')].map(one => +one.dataset.score)")
    assert scores == sorted(scores, reverse=True)
    page(ORDER, "warned")
    assert page(CARDS)[:2] == ["evil.png", "b.png"]
    page(ORDER, "run")
    assert page(CARDS) == ["b.png", "a.png", "d.png", "c.png", "evil.png"]


def test_links_lead_to_the_files(page: Any, browser: Any) -> None:
    for _ in range(3):
        keys(browser, TAB)
    assert page(FOCUS) == "b.png"
    keys(browser, TAB)
    assert page(FOCUS) == "out/b.cam.png"
    page("document.activeElement.click()")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not page("return location.pathname").endswith("/out/b.cam.png"):
        time.sleep(0.1)
    assert page("return document.images[0].naturalWidth") == 96


@pytest.mark.parametrize("width", [320, 1600])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_dark_light_narrow_and_wide(page: Any, browser: Any, scheme: str, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})
    paper = page("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"dark": "rgb(22, 22, 24)", "light": "rgb(246, 246, 244)"}[scheme]
    assert page("return document.documentElement.scrollWidth") <= width
    tops = page(
        "return [...document.querySelectorAll('article')].map(one => Math.round(one.getBoundingClientRect().top))"
    )
    assert (len(set(tops)) == 5) == (width == 320)  # one under the other, or side by side
    browser("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})
