"""A camera on this machine: Motion JPEG over HTTP, with a script of faults."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

Script = Sequence[Sequence["np.ndarray | bytes | threading.Event"]]
"""What each connection gives, the last one for all that follow: pictures, bytes of bad ones, events waited for."""

PADDING = b"\xff\xfe\x10\x00" + bytes(0xFFE)
"""A comment in a JPEG: FFmpeg wants some kilobytes before it says what a stream is."""


def numbered(number: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A grey picture whose grey level is its number, 8 levels apart."""
    return np.full((*size, 3), 8 * number, np.uint8)


def number_of(pixels: np.ndarray) -> int:
    """The number that `numbered` drew."""
    return round(pixels.mean() / 8)


@contextlib.contextmanager
def camera(script: Script) -> Iterator[str]:
    """Yield the camera's address. It sends at once what a connection's part of the script has, then closes."""
    parts = iter(script)
    last: list[Sequence[np.ndarray | bytes | threading.Event]] = [()]
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            last[0] = next(parts, last[0])
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            with contextlib.suppress(OSError):
                for item in last[0]:
                    if isinstance(item, threading.Event):
                        while not (item.wait(0.02) or over.is_set()):
                            pass
                        continue
                    content = item if isinstance(item, bytes) else cv2.imencode(".jpg", item)[1].tobytes()
                    content = content[:2] + PADDING + content[2:]
                    head = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content)
                    self.wfile.write(head + content + b"\r\n")
                self.wfile.write(b"--next\r\n")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
