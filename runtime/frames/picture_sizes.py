"""How many pixels a picture has, by the header of its file: known before memory is taken for them."""

from __future__ import annotations

import re
import struct

from aerocam.runtime.frames.tiff import page_sizes

Sizes = list[tuple[int, int]]
"""(width, height) in px, one per page."""

START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's markers with the size."""

NUMBER = rb"(?:\s|#[^\n]*\n)+(\d{1,10})"
PNM = re.compile(rb"P[1-6Ff]" + NUMBER + NUMBER)
PAM = re.compile(rb"^(WIDTH|HEIGHT)\s+(\d{1,10})", re.MULTILINE)
RADIANCE = re.compile(rb"^[-+]Y +(\d{1,10}) +[-+]X +(\d{1,10})", re.MULTILINE)

LONGEST_HEADER = 1 << 16
"""Bytes within which a header of text ends."""


def announced_sizes(content: bytes) -> Sizes:
    """Return the size of each page, (width, height) in px; empty for a format that is not known.

    Known is what OpenCV's wheels decode: AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PNM, Radiance, Sun, TIFF and WebP.

    Raises:
        ValueError: The header of a known format has no size.
    """
    try:
        return _sizes(content)
    except (IndexError, KeyError, OverflowError, TypeError, struct.error) as error:
        kind = "TIFF" if content.startswith((b"II", b"MM")) else "header"
        raise ValueError(f"a damaged {kind} ({error!r})") from error


def _sizes(content: bytes) -> Sizes:
    """See `announced_sizes`."""
    head = content[:LONGEST_HEADER]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return [struct.unpack_from(">II", head, 16)]
    if head.startswith(b"\xff\xd8"):
        return [_jpeg(content)]
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return page_sizes(content)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return [_webp(head)]
    if head.startswith((b"GIF87a", b"GIF89a")):
        return [struct.unpack_from("<HH", head, 6)]
    if head.startswith(b"BM"):
        wide, high = struct.unpack_from("<HH", head, 18) if head[14] == 12 else struct.unpack_from("<ii", head, 18)
        return [(abs(wide), abs(high))]
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        right, bottom, left, top = struct.unpack_from(">4I", content, content.index(b"\xff\x4f\xff\x51") + 8)
        return [(max(right - left, 0), max(bottom - top, 0))]
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return [max(struct.unpack_from(">II", content, found.end() + 4) for found in re.finditer(b"ispe", content))]
    if head.startswith(b"\x59\xa6\x6a\x95"):
        return [struct.unpack_from(">II", head, 4)]
    if head.startswith(b"P7"):
        sides = {found[1]: int(found[2]) for found in PAM.finditer(head)}
        return [(sides[b"WIDTH"], sides[b"HEIGHT"])]
    text = RADIANCE.search(head) if head.startswith(b"#?R") else PNM.match(head)
    return [(int(text[2]), int(text[1])) if head.startswith(b"#") else (int(text[1]), int(text[2]))] if text else []


def _jpeg(content: bytes) -> tuple[int, int]:
    """Return the size in a JPEG's first frame."""
    at = 2
    while True:
        at = content.index(b"\xff", at)
        while content[at] == 0xFF:
            at += 1
        if content[at] in START_OF_FRAME:
            high, wide = struct.unpack_from(">HH", content, at + 4)
            return wide, high
        alone = content[at] in (0x00, 0x01) or 0xD0 <= content[at] <= 0xD9
        at += 1 if alone else 1 + max(struct.unpack_from(">H", content, at + 1)[0], 2)


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    wide, high = struct.unpack_from("<HH", head, 26)
    return wide & 0x3FFF, high & 0x3FFF
