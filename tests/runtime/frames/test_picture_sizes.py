"""A picture's size is known by its header, in every format that is decoded, and a large one is refused before."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from aerocam.errors import MediaError, UsageError
from aerocam.geometry import Geometry
from aerocam.manifest import Preprocess
from aerocam.runtime.frames.picture_sizes import announced_sizes
from aerocam.runtime.frames.pictures import decode_picture, read_picture
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime

HIGH, WIDE = 61, 83


def coded(suffix: str, *flags: int) -> bytes:
    picture = noise((HIGH, WIDE)) if suffix not in (".pgm", ".pbm") else noise((HIGH, WIDE))[..., 0]
    if suffix in (".hdr", ".pfm"):
        picture = picture.astype(np.float32)
    if not cv2.haveImageWriter(f"a{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    return bytes(cv2.imencode(suffix, picture, flags)[1].tobytes())


def plain_png(wide: int, high: int) -> bytes:
    """Return a black PNG of 1 bit per pixel, some thousandth of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + (wide + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(high)) + packer.flush()
    head = struct.pack(">IIBBBBB", wide, high, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "suffix",
    [".png", ".jpg", ".bmp", ".tif", ".webp", ".jp2", ".ppm", ".pgm", ".pam", ".pfm", ".hdr", ".gif", ".avif", ".ras"],
)
def test_the_header_has_the_size_that_is_decoded(suffix: str) -> None:
    content = coded(suffix)
    assert announced_sizes(content) == [(WIDE, HIGH)]
    assert decode_picture(content, "a").shape == (HIGH, WIDE, 3)
    message = "more than 40496 bytes" if suffix == ".pfm" else "83x61 px, 5063 in all, at most 5062 are read; make it"
    with pytest.raises(MediaError, match=message):
        decode_picture(content, "a", max_pixels=5062)


def test_progressive_jpegs_lossless_webps_and_comments() -> None:
    assert announced_sizes(coded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == [(WIDE, HIGH)]
    for quality in (50, 101):
        assert announced_sizes(coded(".webp", cv2.IMWRITE_WEBP_QUALITY, quality)) == [(WIDE, HIGH)]
    assert announced_sizes(b"P5 # 9 9\n#\n 83\t61\n255\n") == [(WIDE, HIGH)]
    assert announced_sizes(b"whatever") == []


def test_all_pages_count_where_all_are_read(tmp_path: Path) -> None:
    cv2.imwritemulti(str(tmp_path / "a.tif"), [noise((HIGH, WIDE))[..., 0]] * 3)
    content = (tmp_path / "a.tif").read_bytes()
    assert announced_sizes(content) == [(WIDE, HIGH)] * 3
    assert read_picture(tmp_path / "a.tif", max_pixels=5063).shape == (HIGH, WIDE, 3)
    with pytest.raises(MediaError, match=r"83x61 px on 3 pages, 15189 in all, at most 5063"):
        read_picture(tmp_path / "a.tif", bands=True, max_pixels=5063)


def test_pages_that_name_each_other_end() -> None:
    tags = struct.pack("<H", 2) + struct.pack("<HHII", 256, 3, 1, 5) + struct.pack("<HHII", 257, 3, 1, 4)
    assert announced_sizes(b"II*\0" + struct.pack("<I", 8) + tags + struct.pack("<I", 8)) == [(5, 4)]


def test_strips_that_each_hold_the_whole_picture_are_cut_off() -> None:
    data, strips = zlib.compress(bytes(1 << 20)), 1000
    numbers = {256: 1024, 257: 1024, 258: 8, 259: 8, 277: 1, 284: 2}
    place = 8 + 2 + 12 * 8 + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(numbers.items())]
    entries[4] = struct.pack("<HHII", 277, 3, 1, 5)  # five bands
    entries += [struct.pack("<HHII", tag, 4, strips, place + 4 * strips * i) for i, tag in enumerate((273, 279))]
    at = place + 8 * strips
    body = struct.pack(f"<{strips}I", *[at] * strips) + struct.pack(f"<{strips}I", *[len(data)] * strips) + data
    content = b"II*\0" + struct.pack("<IH", 8, 8) + b"".join(entries) + bytes(4) + body
    tracemalloc.start()
    with pytest.raises(MediaError, match="bytes for 5 bands of 1024x1024 px"):
        decode_picture(content, "a.tif", bands=True)
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(20_000, 20_000), (40_000, 30_000)])
def test_more_pixels_than_the_limit_take_no_memory(size: tuple[int, int]) -> None:
    message = f"a.png: found {size[0]}x{size[1]} px, {size[0] * size[1]} in all, at most 100000000 are read"
    with pytest.raises(MediaError, match=re.escape(message)):
        decode_picture(plain_png(*size), "a.png")


def test_arrays_files_and_limits_that_cannot_be(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((10, 10, 5), np.uint8))
    assert decode_picture(file.getvalue(), "a.npy", bands=True, max_pixels=125).shape == (10, 10, 5)
    with pytest.raises(MediaError, match="500 numbers, at most 124 px of four"):
        decode_picture(file.getvalue(), "a.npy", bands=True, max_pixels=124)
    for bad in (np.array(["text"]), np.array([1 + 2j]), np.array([(1, 2.0)], "i4,f4")):
        file = io.BytesIO()
        np.save(file, bad)
        with pytest.raises(MediaError, match="not of numbers"):
            decode_picture(file.getvalue(), "a.npy")
    head = b"(" * 9000
    with pytest.raises(MediaError, match="what NumPy cannot read"):
        decode_picture(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head, "a.npy")
    (tmp_path / "a.png").write_bytes(bytes(8 * 100 + 1))
    with pytest.raises(MediaError, match="more than 800 bytes"):
        read_picture(tmp_path / "a.png", max_pixels=100)
    with pytest.raises(UsageError, match="`max_pixels=-1`: expected 1 or more"):
        read_picture(tmp_path / "a.png", max_pixels=-1)
    with pytest.raises(MediaError, match="cannot read it: embedded null byte"):
        read_picture("a\0.png")


def test_a_long_and_narrow_frame_is_not_enlarged_without_end() -> None:
    rule = Preprocess("x", (224, 224), resize="crop", short_side=256)
    assert Geometry.of(rule, (1, 1000)).resized == (256, 256_000)
    with pytest.raises(UsageError, match="it is 256000000x256, at most 100000000 px are made; cut the frame first"):
        Geometry.of(rule, (1, 1_000_000))
