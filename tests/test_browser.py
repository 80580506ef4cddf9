"""Written video plays in a browser: Chromium, driven by ChromeDriver's own HTTP interface, shows every frame."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam.runtime import VideoSink

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
