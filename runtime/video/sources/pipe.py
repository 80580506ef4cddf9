"""Reads standard input: JPEGs one behind the other (Motion JPEG), or uncompressed pictures."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

import numpy as np

from aerocam.errors import MediaError
from aerocam.runtime.frames.pictures import decode_picture
from aerocam.runtime.video.sources.address import RAW, Address
from aerocam.runtime.video.sources.protocol import DAMAGED, DEFAULT_FPS, Picture

CHUNK = 1 << 16
"""Bytes read at once, at most."""

LARGEST = 64 << 20
"""Bytes among which a JPEG must begin and end."""

BEGIN = b"\xff\xd8\xff"

MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends a scan: neither a stuffed byte nor a restart."""


class PipeReader:
    """Reads pictures from a file descriptor; see `Reader`. Its end is a proper one; a redirected file is not live."""

    count = 0
    fps = DEFAULT_FPS

    def __init__(self, address: Address, descriptor: int = 0) -> None:
        """Take the descriptor, which stays open.

        Args:
            address: `-` for Motion JPEG, `raw:640x480` for BGR, 8 bits each, of that width and height.
            descriptor: Where to read; standard input by default.
        """
        # not through sys.stdin: a thread that hangs with its lock taken would abort the process at its end
        self._descriptor, self._name = descriptor, address.name
        self.live = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        raw = RAW.fullmatch(address.text)
        self._pictures = self._raw(int(raw[2]), int(raw[1])) if raw else self._jpegs()

    def read(self) -> Picture | None:
        """Return the next picture."""
        return next(self._pictures, None)

    def close(self) -> None:
        """Do nothing: the descriptor is the process's."""

    def _raw(self, height: int, width: int) -> Iterator[Picture]:
        """Yield uncompressed pictures; a last one that is cut short is damaged."""
        size, content = 3 * height * width, bytearray()
        while chunk := os.read(self._descriptor, min(size - len(content), 16 * CHUNK)):
            content += chunk
            if len(content) == size:
                yield Picture(np.frombuffer(bytes(content), np.uint8).reshape(height, width, 3).copy())
                content.clear()
        if content:
            yield DAMAGED

    def _jpegs(self) -> Iterator[Picture]:
        """Yield the pictures of JPEGs; what lies between them, such as the heads of a multipart stream, is passed over.

        Raises:
            MediaError: The stream does not begin with one.
        """
        content, first = bytearray(), True
        while chunk := os.read(self._descriptor, CHUNK):
            content += chunk
            while (begin := content.find(BEGIN)) >= 0:
                del content[:begin]
                first = False
                if (end := end_of_jpeg(content)) is None:
                    break
                yield self._picture(bytes(content[:end]))
                del content[:end]
            if first and len(content) > CHUNK:
                break
            if len(content) > LARGEST:
                content.clear()
        if first:
            raise MediaError(
                f"{self._name}: standard input begins with {bytes(content[:8])!r}, expected Motion JPEG (as from"
                " ffmpeg -i IN -f mjpeg -), or BGR of a size that is given as raw:WIDTHxHEIGHT in place of -"
            )
        if content.startswith(BEGIN):
            yield DAMAGED

    def _picture(self, content: bytes) -> Picture:
        """Return a JPEG decoded."""
        try:
            return Picture(decode_picture(content, self._name))
        except MediaError:
            return DAMAGED


def end_of_jpeg(content: bytes | bytearray) -> int | None:
    """Return how many bytes the JPEG has that `content` begins with; None where its end is not there yet.

    Segments are stepped over by their length, as they may hold a JPEG themselves: a thumbnail. A JPEG that is cut short
    or makes no sense ends where the next one begins.
    """
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] not in b"\xd8\xd9":
        scan = content[at + 1] == 0xDA
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if scan:
            if (marker := MARKER.search(content, at)) is None:
                return None
            at = marker.start()
    if content[at : at + 2] == b"\xff\xd9":
        return at + 2
    if content[at : at + 2] == b"\xff\xd8":
        return at
    following = content.find(BEGIN, 2) if at + 4 <= len(content) else -1
    return following if following > 0 else None
